"""An episode as a video: its cameras above or beside its value curve, which grows as the robot moves.

The curve is drawn twice before the first frame, once empty and once complete; a video frame is the complete
one up to now, the empty one after it, a cursor and three texts (video_page.py). Frames stream from the
caller's iterators to the encoder, so memory does not grow with the episode.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import matplotlib
import numpy as np

from .curves import Curve
from .style import rc, theme_of
from .video_page import LAYOUTS, VideoPage

BT709 = 1  # the colour matrix that players assume, as the number H.264 gives it
OPTIONS = {"crf": "20", "preset": "veryfast"}


def write_overlay(
    curve: Curve,
    frames,
    path,
    fps: float | None = None,
    layout: str = "below",
    dark: bool = False,
    advance: Callable[[int], None] = lambda frames: None,
) -> Path:
    """Write the overlay video of one episode: mp4, H.264, yuv420p, one video frame for each of its T frames.

    Args:
        curve: the episode; its thumbnails are not used.
        frames: uint8 [T, 3, H, W] RGB of one camera, or such arrays by camera name, tiled. In place of an
            array, an iterator of frames [3, H, W] or chunks [n, 3, H, W] does.
        path: the .mp4; written under a temporary name first.
        fps: frames a second of the video; by default those of the episode.
        layout: the curve "below" the cameras, or "beside" them.
        dark: on dark paper.
        advance: called with 1 after every frame.

    Returns:
        The path.

    Raises:
        ValueError: a camera has fewer or more frames than the curve, or something other than RGB frames;
            another layout.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cameras = frames if isinstance(frames, Mapping) else {"camera": frames}
    if not cameras:
        raise ValueError("write_overlay needs the frames of at least one camera.")
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be {' or '.join(LAYOUTS)}, not {layout!r}.")
    pictures = _compose(curve, cameras, layout, dark)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _encode(pictures, temporary, fps or curve.fps, advance)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _encode(pictures: Iterator[np.ndarray], path: Path, fps: float, advance: Callable[[int], None]) -> None:
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
            advance(1)
        container.mux(stream.encode())


def _compose(curve: Curve, cameras: Mapping[str, Iterable], layout: str, dark: bool) -> Iterator[np.ndarray]:
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
        if page is None:
            shapes = {name: view.shape[1:] for name, view in zip(streams, views, strict=True)}
            with matplotlib.rc_context(rc(theme_of(dark))):
                page = VideoPage(curve, shapes, layout, theme_of(dark))
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
