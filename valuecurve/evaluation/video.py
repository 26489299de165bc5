"""An episode as a video: its cameras above its value curve, which grows as the robot moves.

The curve is drawn twice before the first frame, once empty and once complete; a video frame is the complete
one up to now, the empty one after it, a cursor and three texts. Frames stream from the caller's iterators
to the encoder, so memory does not grow with the episode.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image, ImageColor, ImageDraw, ImageFont

from .curves import Curve
from .panel import draw_target, draw_value
from .style import HAIRLINE, INK, MUTED, PAPER, RC, color_of, fit_lines, font_file, outcome_text

VIEW_HEIGHT, WIDEST = 384, 1280  # pixels: a camera's height, lowered where all of them would be too wide
NARROWEST = 480  # so that the texts have room beside a single small camera
MARGIN, GAP = 24, 12
HEADER, READOUT, PANEL = 66, 56, 196
VALUE_RIGHT, SECONDS_RIGHT = 168, 274  # where the two numbers end
BT709 = 1  # the colour matrix that players assume, as the number H.264 gives it
OPTIONS = {"crf": "20", "preset": "veryfast"}


def write_overlay(curve: Curve, frames, path, fps: float | None = None) -> Path:
    """Write the overlay video of one episode: mp4, H.264, yuv420p, one video frame for each of its T frames.

    Args:
        curve: the episode; its thumbnails are not used.
        frames: uint8 [T, 3, H, W] RGB of one camera, or such arrays by camera name, shown side by side. In
            place of an array, an iterator of frames [3, H, W] or chunks [n, 3, H, W] does.
        path: the .mp4; written under a temporary name first.
        fps: frames a second of the video; by default those of the episode.

    Returns:
        The path.

    Raises:
        ValueError: a camera has fewer or more frames than the curve, or something other than RGB frames.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cameras = frames if isinstance(frames, Mapping) else {"camera": frames}
    if not cameras:
        raise ValueError("write_overlay needs the frames of at least one camera.")
    pictures = _compose(curve, cameras)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _encode(pictures, temporary, fps or curve.fps)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _encode(pictures: Iterator[np.ndarray], path: Path, fps: float) -> None:
    """Encode uint8 [height, width, 3] pictures of even size as they come."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=OPTIONS)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        for i, picture in enumerate(pictures):
            if i == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode())


# --- the cameras -------------------------------------------------------------------------------------


def _compose(curve: Curve, cameras: Mapping[str, Iterable]) -> Iterator[np.ndarray]:
    """The video's pictures, uint8 [height, width, 3], T of them."""
    streams = {name: _single_frames(name, source) for name, source in cameras.items()}
    page = None
    for t in range(len(curve)):
        views = []
        for name, stream in streams.items():
            view = next(stream, None)
            if view is None:
                raise ValueError(f"Camera {name!r} has {t} frames, but the curve has {len(curve)}.")
            views.append(view)
        page = page or _Page(curve, [view.shape[1:] for view in views])
        yield page.draw(t, views)
    for name, stream in streams.items():
        if next(stream, None) is not None:
            raise ValueError(f"Camera {name!r} has more frames than the curve, which has {len(curve)}.")


def _single_frames(name: str, source: Iterable) -> Iterator[np.ndarray]:
    """Frames [3, H, W], from an array or an iterator of frames or of chunks of frames."""
    for item in source:
        item = np.asarray(item)
        if item.dtype != np.uint8 or item.ndim not in (3, 4) or item.shape[-3] != 3:
            raise ValueError(f"Camera {name!r}: need uint8 [3, H, W], not {item.dtype} {list(item.shape)}.")
        yield from item[None] if item.ndim == 3 else item


# --- the page ----------------------------------------------------------------------------------------


class _Page:
    """The parts of a video frame that stay, and where the others go. All sizes are pixels."""

    def __init__(self, curve: Curve, shapes: list[tuple[int, int]]) -> None:
        self.curve, self.color = curve, color_of(curve)
        self.seconds = curve.seconds_to_success() if curve.has_seconds else None
        self.sizes = _view_sizes(shapes)  # (width, height) of each camera
        views_width = sum(width for width, _ in self.sizes) + GAP * (len(self.sizes) - 1)
        self.width = _even(max(views_width, NARROWEST) + 2 * MARGIN)
        self.views_left = (self.width - views_width) // 2
        self.panel_top = HEADER + self.sizes[0][1] + READOUT
        self.height = _even(self.panel_top + PANEL)
        self.fonts = {name: _font(size, bold) for name, size, bold in FONTS}
        self.empty, self.full, self.points = _draw_panels(curve, self.width, PANEL)
        self.dot = _dot(self.color)
        self.base = self._draw_base()

    def _draw_base(self) -> Image.Image:
        """Paper, header and the empty panel."""
        base = Image.new("RGB", (self.width, self.height), PAPER)
        base.paste(self.empty, (0, self.panel_top))
        draw, room = ImageDraw.Draw(base), self.width - 2 * MARGIN
        lines = ((self.curve.task, "task", INK, 30), (outcome_text(self.curve), "outcome", self.color, 53))
        for text, font, color, baseline in lines:
            line = fit_lines(text, room, self.fonts[font].getlength)[0]
            draw.text((MARGIN, baseline), line, fill=color, font=self.fonts[font], anchor="ls")
        labels = [(MARGIN, "value")] + [(SECONDS_RIGHT + 8, "to success")] * (self.seconds is not None)
        for x, label in labels:
            draw.text((x, self.panel_top - 16), label, fill=MUTED, font=self.fonts["small"], anchor="ls")
        return base

    def draw(self, t: int, views: list[np.ndarray]) -> np.ndarray:
        """The picture of frame t, uint8 [height, width, 3]."""
        page = self.base.copy()
        left = self.views_left
        for view, size in zip(views, self.sizes, strict=True):
            image = Image.fromarray(np.ascontiguousarray(view.transpose(1, 2, 0)))
            page.paste(image.resize(size, Image.Resampling.BICUBIC), (left, HEADER))
            left += size[0] + GAP
        self._draw_readout(ImageDraw.Draw(page), t)
        x, y = self.points[t]
        page.paste(self.full.crop((0, 0, round(x), PANEL)), (0, self.panel_top))
        x, y = round(x), self.panel_top + round(y)
        cursor = [(x, self.panel_top + 6), (x, self.panel_top + PANEL - 30)]
        ImageDraw.Draw(page).line(cursor, fill=MUTED, width=1)
        page.paste(self.dot, (x - self.dot.width // 2, y - self.dot.height // 2), self.dot)
        return np.asarray(page)

    def _draw_readout(self, draw: ImageDraw.ImageDraw, t: int) -> None:
        """The value now, the seconds that it stands for, and the time."""
        baseline, fonts = self.panel_top - 16, self.fonts
        value = f"{self.curve.value[t]:.2f}".replace("-", "−")
        draw.text((VALUE_RIGHT, baseline), value, fill=self.color, font=fonts["value"], anchor="rs")
        if self.seconds is not None:
            seconds = f"{self.seconds[t]:.1f} s"
            draw.text((SECONDS_RIGHT, baseline), seconds, fill=INK, font=fonts["seconds"], anchor="rs")
        time = f"{t / self.curve.fps:.1f} s"
        draw.text((self.width - MARGIN, baseline), time, fill=MUTED, font=fonts["small"], anchor="rs")


FONTS = (
    ("task", 20, True),
    ("outcome", 15, True),
    ("value", 28, True),
    ("seconds", 20, True),
    ("small", 15, False),
)


def _view_sizes(shapes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(width, height) of each camera's view: one height for all, shapes kept, no wider than `WIDEST`."""
    aspects = [width / height for height, width in shapes]
    room = WIDEST - 2 * MARGIN - GAP * (len(shapes) - 1)
    height = _even(int(min(VIEW_HEIGHT, room / sum(aspects))))
    return [(_even(round(height * aspect)), height) for aspect in aspects]


def _even(pixels: int) -> int:
    """The next even number: yuv420p halves both sides."""
    return pixels + pixels % 2


def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_file(bold)), size)


def _dot(color: str, radius: int = 7, fine: int = 4) -> Image.Image:
    """The cursor's dot with a white rim, RGBA, drawn `fine` times larger for smooth edges."""
    size = 2 * radius + 1
    large = Image.new("RGBA", (size * fine, size * fine), (255, 255, 255, 0))
    draw = ImageDraw.Draw(large)
    draw.ellipse((0, 0, size * fine - 1, size * fine - 1), fill=(255, 255, 255, 255))
    rim = 2 * fine
    draw.ellipse((rim, rim, size * fine - 1 - rim, size * fine - 1 - rim), fill=ImageColor.getrgb(color))
    return large.resize((size, size), Image.Resampling.LANCZOS)


# --- the panel ---------------------------------------------------------------------------------------


def _draw_panels(curve: Curve, width: int, height: int) -> tuple[Image.Image, Image.Image, np.ndarray]:
    """(empty panel, complete panel, places of the values [T, 2] in pixels from the panel's top left)."""
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        canvas = FigureCanvasAgg(figure)
        left, right, top, bottom = 62, MARGIN + (44 if curve.has_seconds else 8), 10, 30
        axes = figure.add_axes(
            (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
        )
        draw_target(axes, curve, linewidth=1.2)
        _style_panel(axes, curve)
        empty = _image(canvas)
        draw_value(axes, curve, linewidth=2.1)
        places = axes.transData.transform(np.column_stack([curve.times, curve.value]))
        return empty, _image(canvas), np.column_stack([places[:, 0], height - places[:, 1]])


def _style_panel(axes: Axes, curve: Curve) -> None:
    span = curve.v_max - curve.v_min
    axes.set_yticks([curve.v_min, curve.v_min + span / 2, curve.v_max])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}".replace("-", "−")))
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} s"))
    axes.tick_params(length=0, pad=6, labelsize=9.5)
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if curve.has_seconds:
        assert curve.scale_seconds is not None
        seconds = np.array(MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(0, curve.scale_seconds * span))
        for second in seconds[(seconds >= 0) & (seconds <= curve.scale_seconds * span)]:
            y = curve.v_max - second / curve.scale_seconds
            axes.annotate(f"{second:g} s", (1, y), (6, 0), xycoords=axes.get_yaxis_transform(),
                          textcoords="offset points", va="center", fontsize=9.5, color=MUTED)  # fmt: skip


def _image(canvas: FigureCanvasAgg) -> Image.Image:
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
