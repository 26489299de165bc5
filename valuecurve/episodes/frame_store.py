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
from io import FileIO
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from rich.console import Console

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError
from valuecurve.episodes.progress import frame_bar
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

    def __getstate__(self) -> dict:
        """Pickle the places of the files, not their content: data loader workers map them again."""
        files = {key: (str(images.filename), images.shape) for key, images in self.images.items()}
        return {"size": self.size, "rows": self.rows, "files": files}

    def __setstate__(self, state: dict) -> None:
        self.size, self.rows = state["size"], state["rows"]
        self.images = {
            k: np.memmap(f, np.uint8, "r", shape=shape) for k, (f, shape) in state["files"].items()
        }

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
    if not len(stored) or not keys:
        raise DatasetError(f"{dataset.root}: no episode or no camera was asked for: nothing to store")
    builds = [
        _Build(dataset, key, size, resample, decoder, stored, rows, folder) for key in dict.fromkeys(keys)
    ]
    _check_room(builds)
    return FrameStore(size, {build.camera: build.open(progress) for build in builds}, rows)


def _cache_folder(cache_dir: str | Path | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir)
    root = os.environ.get("VALUECURVE_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "valuecurve") / "frames"


@dataclass
class _Build:
    """One camera's file, while it is built."""

    dataset: EpisodeDataset
    camera: str
    size: int
    resample: str
    decoder: str
    stored: np.ndarray  # int64 [R], dataset rows
    rows: np.ndarray  # int64 [N], dataset row -> store row
    folder: Path

    def __post_init__(self) -> None:
        self.shape = (len(self.stored), 3, self.size, self.size)
        self.bytes = int(np.prod(self.shape))
        content = [FORMAT, self.dataset.fingerprint, self.camera, self.size, self.resample, self.decoder]
        digest = hashlib.sha256(json.dumps(content).encode() + self.stored.astype("<i8").tobytes())
        name = "".join(c if c.isalnum() or c in "._-" else "_" for c in self.camera)
        self.path = self.folder / f"{name}-{self.size}-{digest.hexdigest()[:16]}.u8"
        self.partial = self.path.with_suffix(".u8.partial")
        self.journal = self.path.with_suffix(".journal")

    def open(self, progress: bool) -> np.memmap:
        """The finished file, built now if need be, as a read-only map."""
        if not self.finished():
            try:
                with _locked(self.path.with_suffix(".lock"), progress):
                    if not self.finished():
                        self._build(progress)
            except OSError as error:
                raise _disk_error([self], error) from error
        return np.memmap(self.path, np.uint8, "r", shape=self.shape)

    def finished(self) -> bool:
        """Whether the whole file is there."""
        return self.path.is_file() and self.path.stat().st_size == self.bytes

    def room(self) -> int:
        """Bytes that are still to be taken from the disk."""
        return 0 if self.finished() or self._started() else self.bytes

    def _started(self) -> bool:
        return self.partial.is_file() and self.partial.stat().st_size == self.bytes and self.journal.is_file()

    def _build(self, progress: bool) -> None:
        done = self._resume()
        episodes = np.unique(self.dataset.episode_index[self.stored]).tolist()
        todo = [episode for episode in episodes if episode not in done]
        with self.partial.open("r+b", buffering=0) as file, self.journal.open("a") as journal:
            for finished in self._write_frames(file, todo, progress) if todo else ():
                os.fsync(file.fileno())  # the frames first, then the note that they are there
                journal.write("".join(f"{episode}\n" for episode in finished))
                journal.flush()
                os.fsync(journal.fileno())
        os.replace(self.partial, self.path)
        self.journal.unlink(missing_ok=True)

    def _resume(self) -> set[int]:
        """Episodes that an earlier build finished; without one, makes the partial file and takes its room."""
        if self._started():
            lines = self.journal.read_text().split("\n")[:-1]  # a kill may have cut the last one
            self._write_journal(lines)
            return {int(line) for line in lines}
        self.journal.unlink(missing_ok=True)
        self.partial.unlink(missing_ok=True)
        try:
            with self.partial.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, self.bytes)
                file.truncate(self.bytes)
        except OSError:
            self.partial.unlink(missing_ok=True)  # no room: leave none of it taken
            raise
        self._write_journal([])
        return set()

    def _write_journal(self, lines: list[str]) -> None:
        temporary = self.journal.with_suffix(".journal.tmp")
        temporary.write_text("".join(f"{line}\n" for line in lines))
        os.replace(temporary, self.journal)

    def _write_frames(self, file: FileIO, episodes: list[int], progress: bool) -> Iterator[list[int]]:
        """Write the frames of the episodes; yields now and then the episodes that are complete since."""
        import torch  # here: torch and transformers take seconds to import, and only building needs them

        from valuecurve.processing_value import resize_images

        dataset = self.dataset
        left = dict(zip(dataset.episode_ids.tolist(), dataset.lengths.tolist(), strict=True))
        complete: list[int] = []
        flushed = time.monotonic()
        total = sum(left[episode] for episode in episodes)
        name = self.camera.removeprefix("observation.images.")
        with frame_bar(f"frame store, {name}", total, progress) as advance:
            for first, images in decode_video(dataset, self.camera, episodes, self.decoder):
                resized = resize_images(torch.from_numpy(images), self.size, self.resample)
                file.seek(int(self.rows[first]) * 3 * self.size**2)
                _write_all(file, resized.contiguous().numpy())
                for episode, count in _count(dataset.episode_index[first : first + len(images)]):
                    left[episode] -= count
                    complete += [episode] if left[episode] == 0 else []
                advance(len(images))
                if complete and time.monotonic() - flushed > FLUSH_SECONDS:
                    yield complete
                    complete, flushed = [], time.monotonic()
        yield complete


def _check_room(builds: list[_Build]) -> None:
    """Make the folder, and see that all cameras fit before the first frame is decoded."""
    try:
        builds[0].folder.mkdir(parents=True, exist_ok=True)
        if sum(build.room() for build in builds) > shutil.disk_usage(builds[0].folder).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise _disk_error(builds, error) from error


def _disk_error(builds: list[_Build], error: OSError) -> DatasetError:
    folder, missing = builds[0].folder, [build for build in builds if not build.finished()]
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return DatasetError(f"the frame store cannot be written in {folder}: {error}")
    free = shutil.disk_usage(folder).free if folder.exists() else 0
    cameras = ", ".join(build.camera for build in missing)
    return DatasetError(
        f"no room for the frame store of {cameras}: {sum(build.bytes for build in missing)} bytes needed "
        f"({builds[0].shape[0]} frames of {builds[0].size} px each), {free} bytes free in {folder}. Free "
        "some space, choose fewer cameras or a smaller size, or set VALUECURVE_CACHE to a larger disk"
    )


def _write_all(file: FileIO, data: np.ndarray) -> None:
    """Write until all is written: a full disk may take a part before it complains."""
    view = memoryview(data.reshape(-1))  # pyright: ignore[reportArgumentType]
    while view:
        view = view[file.write(view) :]


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
