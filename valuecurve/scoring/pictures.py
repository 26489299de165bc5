"""Pictures of some rows of a dataset, decoded once and in order, resized, as batches over all cameras.

Every camera has a thread of its own, which decodes and resizes into a bounded queue (PyAV and torch release
Python's lock), so that memory does not depend on the length of an episode. An episode whose pictures are at
fault is named and left out; the others go on. What a batch holds depends on the rows and on the files alone,
never on how fast a thread was.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..episodes import Camera, DatasetError, EpisodeDataset
from ..episodes.images import decode_images, fits
from ..episodes.video import Wanted, decode_file, plan_files
from ..processing_value import resize_images

CHUNK = 16  # pictures that are resized, and handed on, at a time; fewer where they are large
QUEUE = 16  # chunks that a camera may be ahead: at most 38 MB at 224 pixels


@dataclass
class Part:
    """Whole episodes that are scored, and written, together."""

    number: int
    episodes: list[int]
    rows: np.ndarray  # int64 [n]: rows whose pictures are wanted, ascending; first and last of every episode


@dataclass
class Pictures:
    """Resized pictures of one camera: rows int64 [n], images uint8 [n, 3, S, S]."""

    rows: np.ndarray
    images: torch.Tensor


@dataclass
class Failed:
    """An episode whose pictures cannot be read, and why."""

    episode: int
    message: str


@dataclass
class Batch:
    """Consecutive wanted rows of a part: rows int64 [b], images uint8 [b, cameras, 3, S, S]."""

    rows: np.ndarray
    images: torch.Tensor


# -- one camera --------------------------------------------------------------------------------------------


@dataclass
class Stored:
    """Frames whose images lie in the data files, as `Wanted` is for frames of an mp4: `[n]` each."""

    rows: np.ndarray
    episodes: np.ndarray

    def only(self, some: np.ndarray) -> "Stored":
        return Stored(self.rows[some], self.episodes[some])


def read_camera(
    dataset: EpisodeDataset, camera: Camera, part: Part, size: int, resample: str, threads: int = 0
) -> Iterator[Pictures | Failed]:
    """The wanted rows of a part, in order; an episode that cannot be read is reported, and left out.

    `threads`: see `decode_file`.
    """
    keep = np.zeros(dataset.frames.num_rows, bool)
    keep[part.rows] = True
    sources = _sources(dataset, camera, part)
    dataset.ahead(dict.fromkeys(source.path for source in sources if isinstance(source, Wanted)))
    for source in sources:
        again = False
        while len(source.rows):
            last = -1
            kept = keep[source.rows]
            try:
                frames = _frames(dataset, camera, source, kept, again, threads)
                for pictures in _resized(frames, source.rows[kept], size, resample):
                    last = int(pictures.rows[-1])
                    yield pictures
                break
            except DatasetError as error:
                if error.episode is None:
                    raise
                # what is written down names no machine
                yield Failed(error.episode, str(error).replace(f"{dataset.root}/", ""))
                source = source.only((source.rows > last) & (source.episodes != error.episode))
                again = True


def _sources(dataset: EpisodeDataset, camera: Camera, part: Part) -> Sequence[Wanted | Stored]:
    """Where the pictures of a part lie, so that rows ascend from one source to the next."""
    if camera.kind == "image":
        rows = dataset.episode_rows(part.episodes)
        return [Stored(rows, dataset.episode_index[rows])]
    files = plan_files(dataset, camera, dataset.episode_positions(part.episodes))
    if np.all(np.diff(np.concatenate([wanted.rows for wanted in files])) > 0):
        return files
    pieces = [wanted.only(wanted.episodes == e) for wanted in files for e in np.unique(wanted.episodes)]
    return sorted(pieces, key=lambda wanted: int(wanted.rows[0]))  # episodes lie out of order: one by one


def _frames(
    dataset: EpisodeDataset,
    camera: Camera,
    source: Wanted | Stored,
    kept: np.ndarray,
    seek: bool,
    threads: int,
) -> Iterator[np.ndarray]:
    """The kept frames of a source, uint8 [H, W, 3]."""
    if isinstance(source, Wanted):
        source.check_is_there(dataset)
        with dataset.using(source.path):
            yield from decode_file(source, keep=kept, seek=seek, threads=threads)
        return
    keep = np.zeros(dataset.frames.num_rows, bool)
    keep[source.rows[kept]] = True
    positions = dataset.episode_positions(np.unique(source.episodes).tolist())
    for _, images in decode_images(dataset, camera, positions, keep):
        yield from images.transpose(0, 2, 3, 1)


def _resized(frames: Iterator[np.ndarray], rows: np.ndarray, size: int, resample: str) -> Iterator[Pictures]:
    """Frames of these rows, resized, in chunks; what came before an error is given before it is raised."""
    begin = 0
    for chunk in _chunks(frames):
        images = resize_images(torch.from_numpy(chunk).permute(0, 3, 1, 2), size, resample)
        yield Pictures(rows[begin : begin + len(images)], images)
        begin += len(images)


def _chunks(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames [H, W, 3] as chunks [n, H, W, 3] of equal size."""
    held: list[np.ndarray] = []
    failure = None
    while failure is None:
        try:
            frame = next(frames, None)
        except DatasetError as error:
            frame, failure = None, error
        if held and (frame is None or not fits(frame, held, CHUNK)):
            yield np.stack(held)
            held = []
        if frame is None:
            break
        held.append(frame)
    if failure is not None:
        raise failure


# -- all cameras -------------------------------------------------------------------------------------------


class CameraThreads:
    """Reads all cameras of one part after the other, each camera in its own thread, ahead of who takes it.

    `next_part(i)` gives the i-th part to read, or None when there is none left; it is called from every
    thread, and must give all of them the same. `decoder_threads`: of each camera, see `decode_file`.
    """

    def __init__(
        self,
        dataset: EpisodeDataset,
        cameras: Sequence[Camera],
        next_part: Callable[[int], Part | None],
        size: int,
        resample: str,
        decoder_threads: int = 0,
    ):
        self.dataset, self.cameras, self.next_part = dataset, cameras, next_part
        self.size, self.resample, self.decoder_threads = size, resample, decoder_threads
        self.queues = [queue.Queue(QUEUE) for _ in cameras]
        self.stopped = threading.Event()
        self.threads = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in zip(cameras, self.queues, strict=True)
        ]

    def __enter__(self) -> "CameraThreads":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def _read(self, camera: Camera, out: queue.Queue) -> None:
        torch.set_num_threads(1)  # of this thread: the cameras are read side by side
        try:
            number = 0
            while (part := self.next_part(number)) is not None:
                for item in read_camera(
                    self.dataset, camera, part, self.size, self.resample, self.decoder_threads
                ):
                    self._put(out, item)
                self._put(out, None)
                number += 1
        except _Stopped:
            pass
        except BaseException as error:  # raised where the pictures are taken
            self._put_last(out, error)

    def _put(self, out: queue.Queue, item: object) -> None:
        while not self.stopped.is_set():
            try:
                return out.put(item, timeout=0.2)
            except queue.Full:
                continue
        raise _Stopped

    def _put_last(self, out: queue.Queue, error: BaseException) -> None:
        try:
            self._put(out, error)
        except _Stopped:
            pass

    def batches(self, part: Part, batch_size: int, failed: dict[int, str]) -> Iterator[Batch]:
        """The part's rows in order, `batch_size` at a time; episodes that cannot be read go into `failed`.

        A batch that an episode drops out of is smaller. Rows of an episode may have been given before it
        turns out to be unreadable.
        """
        readers = [_Reader(out) for out in self.queues]
        todo = part.rows
        while len(todo):
            some = todo[:batch_size]
            for reader in readers:
                while (failure := reader.read_until(some[-1])) is not None:
                    failed.setdefault(failure.episode, failure.message)
                    some = some[self.dataset.episode_index[some] != failure.episode]
                    todo = todo[self.dataset.episode_index[todo] != failure.episode]
                    if not len(some):
                        break
                if not len(some):
                    break
            if not len(some):
                continue
            todo = todo[np.searchsorted(todo, some[-1], side="right") :]
            images = torch.empty((len(some), len(readers), 3, self.size, self.size), dtype=torch.uint8)
            for camera, reader in enumerate(readers):
                reader.take(some, images[:, camera])
            yield Batch(some, images)
        for reader in readers:
            reader.finish(failed)


class _Stopped(Exception):
    """The pictures are not wanted any more."""


class _Reader:
    """The pictures of one camera in one part, as they come out of its queue."""

    def __init__(self, out: queue.Queue):
        self.out = out
        self.held: list[Pictures] = []
        self.at_end = False

    def _next(self) -> Pictures | Failed | None:
        item = self.out.get()
        if isinstance(item, BaseException):
            raise item
        self.at_end = item is None
        return item

    def read_until(self, row: int) -> Failed | None:
        """Read on until `row` is held, or up to an episode that failed."""
        while not self.held or self.held[-1].rows[-1] < row:
            item = None if self.at_end else self._next()
            if isinstance(item, Failed):
                return item
            if item is None:
                raise RuntimeError(f"row {row} was not decoded")
            self.held.append(item)
        return None

    def take(self, rows: np.ndarray, out: torch.Tensor) -> None:
        """Pictures of held rows into `out`, uint8 [n, 3, S, S]; chunks that end with the last are let go."""
        for pictures in self.held:
            begin, end = np.searchsorted(rows, [pictures.rows[0], pictures.rows[-1] + 1]).tolist()
            places = np.searchsorted(pictures.rows, rows[begin:end])
            if len(places) == len(pictures.rows):  # a view: indexing would copy them once more
                out[begin:end] = pictures.images
            elif len(places):  # some, as where an episode between them failed for another camera
                out[begin:end] = pictures.images[torch.from_numpy(places)]
        self.held = [pictures for pictures in self.held if pictures.rows[-1] > rows[-1]]

    def finish(self, failed: dict[int, str]) -> None:
        """Read to the end of the part."""
        while not self.at_end:
            item = self._next()
            if isinstance(item, Failed):
                failed.setdefault(item.episode, item.message)
