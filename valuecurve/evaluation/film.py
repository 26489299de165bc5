"""Frames of a dataset for pictures and videos: only what is shown, in order, little at a time."""

import difflib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from ..episodes import Camera, DatasetError, EpisodeDataset
from ..episodes.images import decode_images
from ..episodes.video import decode_file, find_camera, plan_files
from .curves import thumbnail_frames

THUMBNAIL = 240  # pixels: the largest side of a frame of the film strip


def choose_cameras(dataset: EpisodeDataset, names: str | None, usual: list[str] | None) -> list[Camera]:
    """The cameras named ("top, wrist"), else the usual ones (those that were scored), else all.

    Raises:
        DatasetError: a camera that the dataset has not; with a suggestion.
    """
    here = [camera.name for camera in dataset.cameras.values()]
    wanted = [name.strip() for name in names.split(",")] if names else usual or here
    for name in wanted:
        if name not in here and name not in dataset.cameras:
            near = difflib.get_close_matches(name, here, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; cameras: {', '.join(here) or 'none'}"
            raise DatasetError(f"{dataset.root}: no camera {name!r}{hint}")
    return [find_camera(dataset, name) for name in wanted]


def read_frames(
    dataset: EpisodeDataset, camera: Camera, rows: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """(row, uint8 [3, H, W]) of some rows, ascending, one at a time; long gaps are jumped over."""
    positions = np.unique(np.searchsorted(dataset.starts, rows, side="right") - 1)
    if camera.kind == "image":
        keep = np.zeros(dataset.frames.num_rows, bool)
        keep[rows] = True
        for first, images in decode_images(dataset, camera, positions, keep):
            yield from ((first + i, image) for i, image in enumerate(images))
        return
    files = plan_files(dataset, camera, positions)
    files = [wanted.only(np.isin(wanted.rows, rows)) for wanted in files]
    for wanted in files:
        wanted.check_is_there(dataset)
    for wanted in files:
        with dataset.using(wanted.path):
            for row, image in zip(wanted.rows.tolist(), decode_file(wanted), strict=True):
                yield row, image.transpose(2, 0, 1)


def film_strips(
    dataset: EpisodeDataset,
    camera: Camera,
    episodes: Sequence[int],
    count: int,
    advance: Callable[[int], None] = lambda frames: None,
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Of each episode, `count` frames from the middle of their shares of the time.

    Returns:
        {episode: (thumbnails uint8 [n, 3, h, w], frame indices [n])}; only these frames are kept.
    """
    wanted: dict[int, np.ndarray] = {}
    for episode, position in zip(episodes, dataset.episode_positions(list(episodes)).tolist(), strict=True):
        frames = thumbnail_frames(int(dataset.lengths[position]), count)
        wanted[episode] = dataset.starts[position] + frames
    rows = np.unique(np.concatenate([*wanted.values(), np.zeros(0, np.int64)]))
    images: dict[int, np.ndarray] = {}
    for row, image in read_frames(dataset, camera, rows) if len(rows) else ():
        images[row] = shrink(image)
        advance(1)
    return {
        episode: (np.stack([images[row] for row in own.tolist()]), dataset.frame_index[own])
        for episode, own in wanted.items()
    }


def shrink(image: np.ndarray, side: int = THUMBNAIL) -> np.ndarray:
    """uint8 [3, H, W] with the larger side at most `side`."""
    height, width = image.shape[1:]
    factor = side / max(height, width)
    if factor >= 1:
        return np.ascontiguousarray(image)
    size = max(round(width * factor), 1), max(round(height * factor), 1)
    small = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).resize(
        size, Image.Resampling.LANCZOS
    )
    return np.asarray(small).transpose(2, 0, 1)
