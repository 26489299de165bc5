"""Overlay videos of scored episodes, into a folder: what `valuecurve video` does."""

import difflib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..episodes import Camera, DatasetError
from ..episodes.progress import frame_bar
from ..scoring.scores import writing
from .film import read_frames
from .scored import Scored
from .video import write_overlay
from .video_page import LAYOUTS

MOST_CAMERAS = 6


def write_videos(
    scored: Scored,
    output: Path,
    episodes: list[int],
    cameras: list[Camera],
    *,
    layout: str = "below",
    fps: float | None = None,
    dark: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Write `episode_003.mp4` (on dark paper `episode_003_dark.mp4`) … into a folder; their paths.

    Memory does not grow with an episode: every camera gives one frame at a time.

    Args:
        scored: the dataset and its scores.
        output: the folder; made where it is missing.
        episodes: episode indices, all of them scored.
        cameras: one to six.
        layout: "below" or "beside".
        fps: of the videos; None: that of the dataset.
        dark: on dark paper.
        progress: show a bar over the frames.

    Raises:
        DatasetError: an episode that is not scored, too many cameras or none, another layout, an fps that is
            not positive, a video that cannot be read, a folder that cannot be written.
    """
    if layout not in LAYOUTS:
        near = difflib.get_close_matches(layout, LAYOUTS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DatasetError(f"--layout must be {' or '.join(LAYOUTS)}, got {layout!r}{hint}")
    if fps is not None and not 0 < fps <= 1000 or fps is not None and not math.isfinite(fps):
        raise DatasetError(f"--fps must be above 0 and at most 1000, got {fps:g}")
    if not 1 <= len(cameras) <= MOST_CAMERAS:
        names = ", ".join(camera.name for camera in cameras) or "none"
        raise DatasetError(
            f"a video shows 1 to {MOST_CAMERAS} cameras, not {len(cameras)} ({names}): --cameras"
        )
    lengths = scored.view.lengths[scored.positions(episodes)]
    paths = []
    with frame_bar("frames", int(lengths.sum()), progress) as advance:
        for episode in episodes:
            path = output / f"episode_{episode:03d}{'_dark' if dark else ''}.mp4"
            curve = scored.curve(episode)
            frames = {camera.name: _images(scored, camera, episode) for camera in cameras}
            with writing(output, "--output"):
                write_overlay(curve, frames, path, fps, layout, dark, advance)
            paths.append(path)
    return paths


def _images(scored: Scored, camera: Camera, episode: int) -> Iterator[np.ndarray]:
    """The frames of one episode, uint8 [3, H, W], one at a time."""
    rows = scored.dataset.episode_rows([episode])
    return (image for _, image in read_frames(scored.dataset, camera, rows))
