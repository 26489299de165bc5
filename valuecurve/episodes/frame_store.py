"""The frame store: every used frame decoded once, resized to the model's size, uint8, memory-mapped.

One file per camera, named after all that its content depends on: dataset fingerprint, camera, size, resize,
decoder, and the rows held. While it is built it has a temporary name, and a journal beside it lists the
episodes that are safely on disk; a build that was killed continues there and ends byte-identical. It gets its
final name when it is whole, so a half-written store is never read. A lock makes a second builder wait.
"""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError
from valuecurve.episodes.video import decode_video, find_camera

FORMAT = 1  # part of the name: raise it when decoding or resizing changes
FLUSH_SECONDS = 2.0  # work lost at most by a kill


@dataclass
class FrameStore:
    """Frames of some rows of a dataset. R rows are stored, of the dataset's N."""

    size: int
    images: dict[str, np.memmap]  # by camera key: uint8 [R, 3, size, size], read-only
    rows: np.ndarray  # int64 [N]: dataset row -> store row, -1 where not stored

    @property
    def cameras(self) -> list[str]:
        """Camera keys."""
        return list(self.images)

    def gather(self, camera: str, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        """Frames of dataset rows `[n]`, in that order: uint8 [n, 3, size, size], a copy.

        Raises:
            DatasetError: a camera or a row that is not stored.
        """
        if camera not in self.images:
            raise DatasetError(f"no camera {camera!r} in the frame store; cameras: {', '.join(self.images)}")
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self.rows)):
            raise DatasetError(f"rows must be 0 … {len(self.rows) - 1}, got {rows.min()} … {rows.max()}")
        stored = self.rows[rows]
        if np.any(stored < 0):
            missing = rows[stored < 0]
            raise DatasetError(
                f"row {missing[0]} is not in the frame store ({len(missing)} of {len(rows)} rows)"
            )
        return self.images[camera][stored]


def build_frame_store(
    dataset: EpisodeDataset,
    size: int,
    resample: str = "bicubic",
    cameras: Sequence[str] | None = None,
    episodes: Sequence[int] | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    decoder: str = "pyav",
) -> FrameStore:
    """Open the frame store of a dataset, building first what is not there yet.

    Args:
        size: height and width of the stored frames, in pixels.
        resample: "bicubic" or "bilinear", the model's own.
        cameras: camera keys or names; all when None.
        episodes: episode indices; all when None.
        cache_dir: where stores are kept; $VALUECURVE_CACHE or ~/.cache/valuecurve/frames when None.
        progress: show a progress bar.
        decoder: see `decode_video`.

    Raises:
        DatasetError: what `decode_video` raises, or no room on the disk; what was written so far is kept and
            the next call continues there.
    """
    folder = _cache_folder(cache_dir) / dataset.fingerprint
    keys = [find_camera(dataset, name).key for name in (cameras if cameras is not None else dataset.cameras)]
    wanted = sorted({int(episode) for episode in episodes}) if episodes is not None else None
    stored = dataset.episode_rows(wanted)
    rows = np.full(dataset.frames.num_rows, -1, np.int64)
    rows[stored] = np.arange(len(stored))
    images = {}
    for key in dict.fromkeys(keys):
        build = _Build(dataset, key, size, resample, decoder, stored, rows, folder)
        images[key] = build.open(progress)
    return FrameStore(size, images, rows)


def _cache_folder(cache_dir: str | Path | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir)
    root = os.environ.get("VALUECURVE_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "valuecurve") / "frames"


class _Build:
    """One camera's file, while it is built."""

    def __init__(
        self,
        dataset: EpisodeDataset,
        camera: str,
        size: int,
        resample: str,
        decoder: str,
        stored: np.ndarray,
        rows: np.ndarray,
        folder: Path,
    ):
        self.dataset, self.camera, self.size, self.resample = dataset, camera, size, resample
        self.decoder, self.rows = decoder, rows
        self.episodes = np.unique(dataset.episode_index[stored]).tolist()
        self.shape = (len(stored), 3, size, size)
        self.bytes = int(np.prod(self.shape))
        content = [FORMAT, dataset.fingerprint, camera, size, resample, decoder]
        digest = hashlib.sha256(json.dumps(content).encode() + stored.astype("<i8").tobytes()).hexdigest()
        name = "".join(c if c.isalnum() or c in "._-" else "_" for c in camera)
        self.path = folder / f"{name}-{size}-{digest[:16]}.u8"
        self.partial = self.path.with_suffix(".u8.partial")
        self.journal = self.path.with_suffix(".journal")

    def open(self, progress: bool) -> np.memmap:
        """The finished file, built now if need be, as a read-only map."""
        if not self._finished():
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with _locked(self.path.with_suffix(".lock"), progress):
                    if not self._finished():
                        self._build(progress)
            except OSError as error:
                raise self._disk_error(error) from error
        if self.bytes == 0:
            raise DatasetError(
                f"{self.dataset.root}: no episode was asked for, so there is no frame to store"
            )
        return np.memmap(self.path, np.uint8, "r", shape=self.shape)

    def _finished(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size == self.bytes

    def _build(self, progress: bool) -> None:
        done = self._resume()
        todo = [episode for episode in self.episodes if episode not in done]
        with self.partial.open("r+b") as file, self.journal.open("a", encoding="utf-8") as journal:
            for finished in self._write_frames(file.fileno(), todo, progress):
                os.fsync(file.fileno())  # the frames first, then the note that they are there
                journal.write("".join(f"{episode}\n" for episode in finished))
                journal.flush()
                os.fsync(journal.fileno())
        os.replace(self.partial, self.path)
        self.journal.unlink(missing_ok=True)

    def _resume(self) -> set[int]:
        """Episodes that an earlier build finished; without one, makes the partial file and takes its room."""
        if self.partial.is_file() and self.partial.stat().st_size == self.bytes and self.journal.is_file():
            lines = self.journal.read_text(encoding="utf-8").split("\n")[:-1]  # the last one may be cut
            return {int(line) for line in lines if line.isdigit()}
        self.journal.unlink(missing_ok=True)
        self.partial.unlink(missing_ok=True)
        free = shutil.disk_usage(self.partial.parent).free
        if free < self.bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            with self.partial.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, self.bytes)
                file.truncate(self.bytes)
        except OSError:
            self.partial.unlink(missing_ok=True)  # no room: leave none of it taken
            raise
        self.journal.touch()
        return set()

    def _write_frames(self, file: int, episodes: list[int], progress: bool) -> Iterator[list[int]]:
        """Write the frames of the episodes; yields now and then the episodes that are complete since."""
        import torch  # here: torch and transformers take seconds to import, and only building needs them

        from valuecurve.processing_value import resize_images

        left = dict(zip(self.dataset.episode_ids.tolist(), self.dataset.lengths.tolist(), strict=True))
        complete: list[int] = []
        flushed = time.monotonic()
        total = sum(left[episode] for episode in episodes)
        with _bar(f"frame store, {self.camera}", total, progress) as advance:
            for first, images in (
                decode_video(self.dataset, self.camera, episodes, self.decoder) if episodes else ()
            ):
                resized = resize_images(torch.from_numpy(images), self.size, self.resample)
                _write_all(
                    file, resized.contiguous().numpy(), int(self.rows[first]) * self.bytes // self.shape[0]
                )
                for episode, count in _count(self.dataset.episode_index[first : first + len(images)]):
                    left[episode] -= count
                    complete += [episode] if left[episode] == 0 else []
                advance(len(images))
                if complete and time.monotonic() - flushed > FLUSH_SECONDS:
                    yield complete
                    complete, flushed = [], time.monotonic()
        yield complete

    def _disk_error(self, error: OSError) -> DatasetError:
        where = self.path.parent
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return DatasetError(f"the frame store cannot be written in {where}: {error}")
        free = shutil.disk_usage(where).free if where.exists() else 0
        return DatasetError(
            f"no room for the frame store of camera {self.camera}: {self.bytes} bytes needed "
            f"({self.shape[0]} frames of {self.size} px), {free} bytes free in {where}. Free some space, "
            "choose fewer cameras or a smaller size, or set VALUECURVE_CACHE to a larger disk"
        )


def _write_all(file: int, data: np.ndarray, offset: int) -> None:
    """pwrite until all is written: a full disk may take part of a write before it complains."""
    view = memoryview(data.reshape(-1))  # pyright: ignore[reportArgumentType]
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _count(episodes: np.ndarray) -> list[tuple[int, int]]:
    ids, counts = np.unique(episodes, return_counts=True)
    return list(zip(ids.tolist(), counts.tolist(), strict=True))


class _locked:
    """Hold a lock file; say so when another process builds the same store. A killed holder frees it."""

    def __init__(self, path: Path, talk: bool):
        self.lock, self.talk = FileLock(str(path)), talk

    def __enter__(self) -> None:
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            if self.talk:
                Console(stderr=True).print("another process builds this frame store; waiting for it")
            self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


class _bar:
    """A progress bar with frames per second; `with` gives the function that advances it."""

    def __init__(self, text: str, total: int, shown: bool):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.0f} frames/s"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=Console(stderr=True), disable=not shown or total == 0)
        self.task = self.progress.add_task(text, total=total, rate=0.0)

    def __enter__(self):
        self.began = time.monotonic()
        self.progress.start()
        return self.advance

    def advance(self, frames: int) -> None:
        done = self.progress.tasks[self.task].completed + frames
        self.progress.update(self.task, advance=frames, rate=done / max(time.monotonic() - self.began, 1e-6))

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
