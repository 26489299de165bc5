"""The page of an overlay video: where cameras, numbers, curve and key are, and the picture of one frame.

All sizes are pixels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageColor, ImageDraw, ImageFont

from .curves import Curve
from .figures import explanation
from .page import KEY_LINE, Entry, Page, key_height, text_width
from .panel import LONG, draw_target, draw_value, seconds_ticks, style_times, style_values, time_text
from .style import BAND_LEVELS, BAND_OPACITY, Theme, clean_text, color_of, fit_lines, font_file, outcome_text

LAYOUTS = ("below", "beside")
VIEW_HEIGHT = 384  # of one camera at most, when the curve is below
WIDEST, TALLEST = 1232, 600  # of all cameras, when the curve is below
WIDEST_BESIDE, TALLEST_BESIDE = 720, 540
NARROWEST = 480  # of the page's inside, so that the texts have room
MARGIN, GAP = 24, 12
HEADER, READOUT, PANEL = 66, 56, 196
PANEL_BESIDE = (520, 300)  # width, smallest height
KEY_SIZE, KEY_TOP = 9.0, 6  # points; between the panel and the key
VALUE_RIGHT, SECONDS_RIGHT = 144, 262  # where the two numbers end, from the panel's left
FONTS = (
    ("task", 20, True),
    ("outcome", 15, True),
    ("value", 28, True),
    ("seconds", 20, True),
    ("small", 15, False),
    ("camera", 13, False),
)

Box = tuple[int, int, int, int]  # left, top, width, height


class VideoPage:
    """The parts of a video frame that stay, and where the others go.

    Args:
        curve: the episode.
        shapes: (height, width) of each camera's frames, by name.
        layout: one of LAYOUTS.
        theme: the colours; matplotlib's settings are those of it.
    """

    def __init__(self, curve: Curve, shapes: Mapping[str, tuple[int, int]], layout: str, theme: Theme):
        self.curve, self.theme, self.color = curve, theme, color_of(curve, theme)
        self.seconds = curve.seconds_to_success() if curve.has_seconds else None
        self._place(list(shapes.values()), layout)  # with the key
        self.fonts = {name: _font(size, bold) for name, size, bold in FONTS}
        left, top, width, height = self.panel
        self.empty, self.full, self.points = draw_panels(curve, width, height, theme)
        self.dot = _dot(self.color, theme.paper)
        self.base = self._draw_base()
        self.labels = [self._label(name) for name in shapes] if len(shapes) > 1 else []

    def _place(self, shapes: list[tuple[int, int]], layout: str) -> None:
        """Sets the page's size, the boxes of the cameras and of the panel, and the key with its place."""
        if layout == "below":
            boxes, (width, height) = tile(shapes, WIDEST, TALLEST, VIEW_HEIGHT)
            inside = _even(max(width, NARROWEST))
            self.width = inside + 2 * MARGIN
            self.panel = (0, HEADER + height + READOUT, self.width, PANEL)
            self.key = draw_key(self.curve, inside, self.theme)
            self.key_place = MARGIN, self.panel[1] + PANEL + KEY_TOP
            self.height = _even(self.key_place[1] + self.key.height + MARGIN // 2)
            shift = (self.width - width) // 2, HEADER
        else:
            boxes, (width, height) = tile(shapes, WIDEST_BESIDE, TALLEST_BESIDE, TALLEST_BESIDE)
            wide, low = PANEL_BESIDE
            self.key = draw_key(self.curve, wide - 2 * MARGIN, self.theme)
            below = KEY_TOP + self.key.height - MARGIN // 2
            tall = max(height, low + READOUT + below)
            self.width = _even(MARGIN + width + wide)
            self.panel = (MARGIN + width, HEADER + READOUT, wide, tall - READOUT - below)
            self.key_place = 2 * MARGIN + width, self.panel[1] + self.panel[3] + KEY_TOP
            self.height = _even(HEADER + tall + MARGIN)
            shift = MARGIN, HEADER + (tall - height) // 2
        self.boxes = [(x + shift[0], y + shift[1], w, h) for x, y, w, h in boxes]

    def _draw_base(self) -> Image.Image:
        """Paper, header, the empty panel and the key."""
        base = Image.new("RGB", (self.width, self.height), self.theme.paper)
        left, top, _, _ = self.panel
        base.paste(self.empty, (left, top))
        base.paste(self.key, self.key_place)
        draw, room = ImageDraw.Draw(base), self.width - 2 * MARGIN
        lines = (
            (self.curve.task, "task", self.theme.ink, 30),
            (outcome_text(self.curve), "outcome", self.color, 53),
        )
        for text, font, color, baseline in lines:
            line = fit_lines(text, room, self.fonts[font].getlength)[0]
            draw.text((MARGIN, baseline), line, fill=color, font=self.fonts[font], anchor="ls")
        labels = [(MARGIN, "value")] + [(MARGIN + SECONDS_RIGHT + 8, "to success")] * (
            self.seconds is not None
        )
        for x, label in labels:
            place = (left + x, top - 16)
            draw.text(place, label, fill=self.theme.muted, font=self.fonts["small"], anchor="ls")
        return base

    def _label(self, name: str) -> Image.Image:
        """A camera's name on a shade, RGBA."""
        font = self.fonts["camera"]
        text = fit_lines(clean_text(name), 150, font.getlength)[0]
        label = Image.new("RGBA", (round(font.getlength(text)) + 12, 20), (0, 0, 0, 130))
        ImageDraw.Draw(label).text((6, 15), text, fill="white", font=font, anchor="ls")
        return label

    def draw(self, t: int, views: Sequence[np.ndarray]) -> np.ndarray:
        """The picture of frame t, uint8 [height, width, 3]; `views` are its frames, [3, H, W]."""
        page = self.base.copy()
        for i, (view, (left, top, width, height)) in enumerate(zip(views, self.boxes, strict=True)):
            image = Image.fromarray(np.ascontiguousarray(view.transpose(1, 2, 0)))
            size = (width, height)
            page.paste(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0), (left, top))
            if self.labels:
                label = self.labels[i]
                page.paste(label, (left, top + height - label.height), label)
        self._draw_readout(ImageDraw.Draw(page), t)
        left, top, _, height = self.panel
        x, y = (round(place) for place in self.points[t])
        page.paste(self.full.crop((0, 0, x, height)), (left, top))
        cursor = [(left + x, top + 6), (left + x, top + height - 30)]
        ImageDraw.Draw(page).line(cursor, fill=self.theme.muted, width=1)
        place = (left + x - self.dot.width // 2, top + y - self.dot.height // 2)
        page.paste(self.dot, place, self.dot)
        return np.asarray(page)

    def _draw_readout(self, draw: ImageDraw.ImageDraw, t: int) -> None:
        """The value now, the seconds that it stands for, and the time."""
        left, top, width, _ = self.panel
        baseline, fonts, curve = top - 16, self.fonts, self.curve
        value = f"{curve.value[t]:.2f}".replace("-", "−")
        place = (left + MARGIN + VALUE_RIGHT, baseline)
        draw.text(place, value, fill=self.color, font=fonts["value"], anchor="rs")
        if self.seconds is not None and curve.scale_seconds is not None:
            seconds = _moment(self.seconds[t], curve.scale_seconds * (curve.v_max - curve.v_min))
            place = (left + MARGIN + SECONDS_RIGHT, baseline)
            draw.text(place, seconds, fill=self.theme.ink, font=fonts["seconds"], anchor="rs")
        time = _moment(t / curve.fps, curve.seconds)
        place = (left + width - MARGIN, baseline)
        draw.text(place, time, fill=self.theme.muted, font=fonts["small"], anchor="rs")


def _moment(seconds: float, whole: float) -> str:
    return f"{seconds:.1f} s" if whole <= LONG else time_text(seconds, whole)


# --- tiles -----------------------------------------------------------------------------------------------


def tile(
    shapes: list[tuple[int, int]], widest: int, tallest: int, row: int
) -> tuple[list[Box], tuple[int, int]]:
    """Cameras in rows of one width, in their order, as large as fits: boxes, and the width and height of all.

    Args:
        shapes: (height, width) of each camera; shapes are kept, to a pixel.
        widest, tallest: of all cameras together.
        row: the largest height of a row.
    """
    aspects = [width / height for height, width in shapes]
    best: tuple[float, list[list[float]], float] = (0.0, [], 0.0)
    for count in range(1, len(shapes) + 1):
        rows = [chunk.tolist() for chunk in np.array_split(np.array(aspects), count)]
        width = _row_width(rows, widest, tallest, row)
        area = sum(_row_height(aspect, width) ** 2 * sum(aspect) for aspect in rows)
        if area > best[0] * 1.001:  # of equal ones that with fewer rows
            best = area, rows, width
    _, rows, width = best
    boxes, top = [], 0
    for aspect in rows:
        height = max(_even(int(_row_height(aspect, width))), 2)
        left = 0
        for i, ratio in enumerate(aspect):
            last = i == len(aspect) - 1 and len(rows) > 1
            wide = _even(int(width)) - left if last else _even(round(height * ratio))
            boxes.append((left, top, max(wide, 2), height))
            left += wide + GAP
        top += height + GAP
    return boxes, (max(left + wide for left, _, wide, _ in boxes), top - GAP)


def _row_width(rows: list[list[float]], widest: int, tallest: int, row: int) -> float:
    """The largest common width with which every row is at most `row` high, and all of them `tallest`."""
    gaps = [GAP * (len(aspects) - 1) for aspects in rows]
    sums = [sum(aspects) for aspects in rows]
    width = min([widest, *(row * total + gap for total, gap in zip(sums, gaps, strict=True))])
    inside = tallest - GAP * (len(rows) - 1)
    lost = sum(gap / total for total, gap in zip(sums, gaps, strict=True))
    return min(width, (inside + lost) / sum(1 / total for total in sums))


def _row_height(aspects: list[float], width: float) -> float:
    return (width - GAP * (len(aspects) - 1)) / sum(aspects)


def _even(pixels: int) -> int:
    """The next even number: yuv420p halves both sides."""
    return pixels + pixels % 2


def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font_file(bold)), size)


def _dot(color: str, rim_color: str, radius: int = 7, fine: int = 4) -> Image.Image:
    """The cursor's dot with a rim of paper, RGBA, drawn `fine` times larger for smooth edges."""
    size = 2 * radius + 1
    paper = ImageColor.getrgb(rim_color)[:3]
    large = Image.new("RGBA", (size * fine, size * fine), (*paper, 0))
    draw = ImageDraw.Draw(large)
    draw.ellipse((0, 0, size * fine - 1, size * fine - 1), fill=(*paper, 255))
    rim = 2 * fine
    draw.ellipse((rim, rim, size * fine - 1 - rim, size * fine - 1 - rim), fill=ImageColor.getrgb(color))
    return large.resize((size, size), Image.Resampling.LANCZOS)


# --- the key -------------------------------------------------------------------------------------------


def draw_key(curve: Curve, width: int, theme: Theme) -> Image.Image:
    """What the values mean, and what line, band and spans are; of this width."""
    room, entries = width / 100, key_entries(curve, theme)
    text = explanation([curve])
    lines = [text] if text_width(text, KEY_SIZE) <= room else text.split("  ", 1)
    page = Page(room, KEY_LINE * len(lines) + key_height(entries, room, KEY_SIZE) + 0.1, theme)
    page.figure.set_dpi(100)
    for i, line in enumerate(lines, start=1):
        page.text(0, KEY_LINE * i - 0.04, line, KEY_SIZE, color=theme.muted)
    page.key(0, KEY_LINE * (len(lines) + 1) + 0.02, room, entries, KEY_SIZE)
    return _image(FigureCanvasAgg(page.figure))


def key_entries(curve: Curve, theme: Theme) -> list[Entry]:
    """The words for what is drawn, for people who have read nothing else."""
    color = color_of(curve, theme)
    entries = [Entry("value", line=color)]
    if curve.band_name is not None:
        entries.append(Entry(curve.band_name, boxes=((color, 1 - (1 - BAND_OPACITY) ** len(BAND_LEVELS)),)))
    if curve.target is not None:
        entries.append(Entry("target, in hindsight", line=theme.muted, width=1.0, dashed=True))
    if curve.positive is not None:
        entries.append(Entry("labelled positive: better than usual", boxes=((theme.positive, 1.0),)))
    return entries


# --- the panel -------------------------------------------------------------------------------------------


def draw_panels(
    curve: Curve, width: int, height: int, theme: Theme
) -> tuple[Image.Image, Image.Image, np.ndarray]:
    """(empty panel, complete panel, places of the values [T, 2] in pixels from the panel's top left)."""
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    left, right, top, bottom = 62, MARGIN + (48 if curve.has_seconds else 8), 10, 30
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    )
    draw_target(axes, curve, linewidth=1.2, theme=theme)
    _style_panel(axes, curve, theme, height)
    empty = _image(canvas)
    draw_value(axes, curve, linewidth=2.1, theme=theme)
    places = axes.transData.transform(np.column_stack([curve.times, curve.value]))
    return empty, _image(canvas), np.column_stack([places[:, 0], height - places[:, 1]])


def _style_panel(axes: Axes, curve: Curve, theme: Theme, height: int) -> None:
    style_values(axes, curve, theme)
    style_times(axes, curve.seconds, 6)
    axes.tick_params(length=0, pad=6, labelsize=9.5)
    axes.grid(axis="y", color=theme.hairline, linewidth=0.8)
    if curve.has_seconds:
        for y, text in seconds_ticks(curve, 3 if height < 300 else 6):
            place = axes.get_yaxis_transform()
            axes.annotate(text, (1, y), (6, 0), xycoords=place, textcoords="offset points", va="center",
                          fontsize=9.5, color=theme.muted)  # fmt: skip


def _image(canvas: FigureCanvasAgg) -> Image.Image:
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
