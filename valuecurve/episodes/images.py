"""Cameras whose images are stored in the parquet data files (LeRobot's dtype "image")."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import Camera, DatasetError, inside, open_parquet, unreadable

CHUNK = 64  # frames per chunk at most; fewer where they are large:
CHUNK_BYTES = 1 << 22  # four of 480x640. Copied together they are resized faster, but only while in a cache

Chunk = tuple[int, np.ndarray]  # first row, uint8 [n, 3, H, W]


def decode_images(
    dataset: EpisodeDataset, camera: Camera, positions: np.ndarray, keep: np.ndarray | None = None
) -> Iterator[Chunk]:
    """Images stored in the data files, as LeRobot's dtype "image": {"bytes", "path"} in every row.

    `keep` is a bool mask of the dataset's rows `[N]`: the frames to give. All when None.
    """
    wanted = np.zeros(len(dataset.episode_ids), bool)
    wanted[positions] = True
    rows_wanted = np.repeat(wanted, dataset.lengths) & (True if keep is None else keep)
    seen = 0
    for number, path in enumerate(dataset.data_files):
        if not rows_wanted[dataset.file_of_row == number].any():
            continue
        for batch in _image_batches(path, camera):
            rows = _rows(dataset, batch)
            keep = np.flatnonzero(rows_wanted[rows])
            images = [
                _image(dataset, int(rows[i]), camera, batch.column(camera.key)[i]) for i in keep.tolist()
            ]
            seen += len(images)
            yield from _image_chunks(rows[keep], images)
    if seen != rows_wanted.sum():
        raise DatasetError(
            f"{dataset.root}: camera {camera.key}: {seen} images for {rows_wanted.sum()} frames"
        )


def _image_batches(path: Path, camera: Camera) -> Iterator[pa.RecordBatch]:
    file = open_parquet(path)
    try:
        if camera.key not in file.schema_arrow.names:
            raise DatasetError(f"{path}: the column {camera.key!r} is missing")
        yield from file.iter_batches(CHUNK, columns=["episode_index", "frame_index", camera.key])
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    finally:
        file.close()


def _rows(dataset: EpisodeDataset, batch: pa.RecordBatch) -> np.ndarray:
    episode = batch.column("episode_index").to_numpy(zero_copy_only=False)
    frame = batch.column("frame_index").to_numpy(zero_copy_only=False)
    return dataset.starts[np.searchsorted(dataset.episode_ids, episode)] + frame


def _image(dataset: EpisodeDataset, row: int, camera: Camera, cell: pa.Scalar) -> np.ndarray:
    """One image, uint8 [H, W, 3]."""
    episode = int(dataset.episode_index[row])
    content = cell.as_py()
    if isinstance(content, dict):
        data, name = content.get("bytes"), content.get("path")
        if data is None and name:
            path = inside(dataset.root, "{name}", {"name": name})
            with dataset.using(path):
                data = path.read_bytes() if path.is_file() else None
        content = data
    if not content:
        raise DatasetError(f"{dataset.where(row)}: camera {camera.key} holds no image", episode)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise DatasetError(
            f"{dataset.where(row)}: camera {camera.key}: the image cannot be read "
            f"({len(content)} bytes, {type(error).__name__})",
            episode,
        ) from error


def _image_chunks(rows: np.ndarray, images: list[np.ndarray]) -> Iterator[Chunk]:
    """Runs of consecutive rows and equal size."""
    begin = 0
    for i in range(1, len(images) + 1):
        if i == len(images) or rows[i] != rows[i - 1] + 1 or images[i].shape != images[i - 1].shape:
            yield int(rows[begin]), stack_images(images[begin:i])
            begin = i


def fits(image: np.ndarray, held: list[np.ndarray], most: int = CHUNK) -> bool:
    """Whether a picture [H, W, 3] goes into the same chunk as those that are held."""
    count = len(held) + 1
    same = not held or image.shape == held[0].shape
    return same and count <= most and (not held or count * image.nbytes <= CHUNK_BYTES)


def stack_images(images: list[np.ndarray]) -> np.ndarray:
    """[H, W, 3] pictures as one array [n, 3, H, W]: a view, channels stay last in memory."""
    return np.stack(images).transpose(0, 3, 1, 2)
