"""Sequential decoding: every needed frame of a camera exactly once, in file order.

A random seek costs about ten times as much per frame. A v3.0 mp4 holds many episodes: each file is opened
once, read from the earliest needed episode on, and a seek is made only over long unneeded stretches.
Frames are matched by time: frame k of an episode is the one at from_timestamp + k / fps, to within half a
frame. A file that is missing, damaged or too short is a DatasetError that names file, episode and camera.

Two decoders give the same frames: PyAV, and torchcodec for those who have it. PyAV is the default even then:
read in order on two CPU cores it was 2 to 4 times as fast at 640x480 (h264, torchcodec 0.13; equal at
128x128), and what is stored should not depend on what else is installed. Images in parquet: images.py.
"""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.images import CHUNK, Chunk, decode_images, fits, stack_images
from valuecurve.episodes.layout import Camera, DatasetError, unreadable

DECODERS = ("pyav", "torchcodec")
SKIP = 300  # unneeded frames worth a seek: more than one default h264 group of pictures (250)
AHEAD = 4  # files of a dataset of the Hub that are fetched while one is decoded
# PyAV 17 and later split every conversion over the cores: at 128x128 that costs four times the conversion
ONE_THREAD: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}
SEEK_MARGIN = 20  # frames: containers index by decoding time, up to 16 reordered frames before display time


def decode_video(
    dataset: EpisodeDataset, camera_key: str, episodes: list[int] | None = None, decoder: str = "pyav"
) -> Iterator[Chunk]:
    """Decode one camera for the given episodes (all when None).

    Args:
        camera_key: full feature key, or the camera's short name.
        episodes: episode indices.
        decoder: "pyav" or "torchcodec" (an ImportError without it).

    Yields:
        (first row, RGB uint8 [n, 3, H, W]): n <= 64 frames of consecutive rows, each wanted row once. The
        array may be a view with channels last in memory, which is what the resize is fastest on.

    Raises:
        DatasetError: unknown camera; file missing, not decodable, cut short, or with fewer frames than the
            table. Missing files are found before anything is decoded.
    """
    if decoder not in DECODERS:
        raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}")
    camera = find_camera(dataset, camera_key)
    positions = np.unique(dataset.episode_positions(episodes))
    if camera.kind == "image":
        yield from decode_images(dataset, camera, positions)
        return
    files = plan_files(dataset, camera, positions)
    for wanted in files:
        wanted.check_is_there(dataset)
    for number, wanted in enumerate(files):
        with dataset.using(wanted.path):
            dataset.ahead(later.path for later in files[number + 1 : number + 1 + AHEAD])
            yield from _chunks(wanted, decode_file(wanted, decoder))


def find_camera(dataset: EpisodeDataset, name: str) -> Camera:
    """Camera by full key or short name."""
    for camera in dataset.cameras.values():
        if name in (camera.key, camera.name):
            return camera
    raise DatasetError(f"{dataset.root}: no camera {name!r}; cameras: {', '.join(dataset.cameras) or 'none'}")


# -- mp4 files ---------------------------------------------------------------------------------------------


@dataclass
class Wanted:
    """The frames wanted of one mp4, in the order in which they lie in it. n frames."""

    path: Path
    camera: Camera
    fps: float
    seconds: np.ndarray  # float64 [n] ascending
    rows: np.ndarray  # int64 [n]
    episodes: np.ndarray  # int64 [n]
    frames: np.ndarray  # int64 [n] frame_index

    def only(self, some: np.ndarray) -> "Wanted":
        """The same with some of its frames, a bool mask `[n]`."""
        return replace(
            self,
            seconds=self.seconds[some],
            rows=self.rows[some],
            episodes=self.episodes[some],
            frames=self.frames[some],
        )

    def check_is_there(self, dataset: EpisodeDataset) -> None:
        """Raises DatasetError when the file is missing, here and on the Hub."""
        if dataset.size(self.path) < 0:
            first, *more = np.unique(self.episodes).tolist()
            raise DatasetError(
                f"{self.path} is missing: the video of camera {self.camera.key} for episode {first}"
                + (f" and {len(more)} more" if more else ""),
                first,
            )

    def short(self, have: int, reason: str) -> DatasetError:
        """The error for a file that ends, or has a hole, at the `have`-th wanted frame."""
        episode, frame = self.episodes[have], self.frames[have]
        length = int((self.episodes == episode).sum())
        return DatasetError(
            f"{self.path}: camera {self.camera.key}, episode {episode}: frame {frame} of {length} "
            f"(at {self.seconds[have]:.3f} s) is not in the video, which gave {have} of the {len(self.rows)} "
            f"frames of the table; {reason}. Copy the file again, or leave the episode out",
            int(episode),
        )

    def broken(self, have: int, error: Exception) -> DatasetError:
        """The error for a file that cannot be decoded any further."""
        episode = self.episodes[min(have, len(self.episodes) - 1)]
        return DatasetError(
            f"{self.path}: camera {self.camera.key}, episode {episode}: cannot be decoded after {have} of "
            f"{len(self.rows)} frames: {error}. The file is truncated or damaged: copy it again",
            int(episode),
        )


def plan_files(dataset: EpisodeDataset, camera: Camera, positions: np.ndarray) -> list[Wanted]:
    """What to read from which mp4 for the episodes at these positions, files in the order of their first row.

    Raises:
        DatasetError: episodes that overlap in a file. Whether the files are there is not looked at.
    """
    paths, from_seconds = dataset.video_files(camera.key)
    by_file: dict[Path, list[int]] = {}
    for position in positions.tolist():
        by_file.setdefault(paths[position], []).append(position)
    files = []
    for path, used in by_file.items():
        order = np.array(used)[np.argsort(from_seconds[used], kind="stable")]
        lengths = dataset.lengths[order]
        frames = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        wanted = Wanted(
            path=path,
            camera=camera,
            fps=dataset.fps,
            seconds=np.repeat(from_seconds[order], lengths) + frames / dataset.fps,
            rows=np.repeat(dataset.starts[order], lengths) + frames,
            episodes=np.repeat(dataset.episode_ids[order], lengths),
            frames=frames,
        )
        _check_overlap(wanted)
        files.append(wanted)
    return files


def _check_overlap(wanted: Wanted) -> None:
    steps = np.diff(wanted.seconds)
    if np.any(steps <= 0.5 / wanted.fps):
        at = int(np.argmin(steps)) + 1
        raise DatasetError(
            f"{wanted.path}: camera {wanted.camera.key}: episode {wanted.episodes[at]} begins at "
            f"{wanted.seconds[at]:.3f} s, before episode {wanted.episodes[at - 1]} ends: "
            "from_timestamp in the episode table is wrong",
            int(wanted.episodes[at]),
        )


def _chunks(wanted: Wanted, images: Iterator[np.ndarray]) -> Iterator[Chunk]:
    """Group frames [H, W, 3] into chunks of consecutive rows."""
    held: list[np.ndarray] = []
    first = have = 0
    for image in images:
        if held and (not fits(image, held) or wanted.rows[have] != wanted.rows[have - 1] + 1):
            yield int(wanted.rows[first]), stack_images(held)
            held, first = [], have
        held.append(image)
        have += 1
    if held:
        yield int(wanted.rows[first]), stack_images(held)


def decode_file(
    wanted: Wanted,
    decoder: str = "pyav",
    keep: np.ndarray | None = None,
    seek: bool = False,
    threads: int = 0,
) -> Iterator[np.ndarray]:
    """The wanted frames of one file, uint8 [H, W, 3] RGB, in order.

    Args:
        keep: bool `[n]`: the frames to give; the others are passed over, which costs less. All when None.
        seek: jump to the first wanted frame, even over a short stretch (which may be damaged).
        threads: of the decoder; 0: as many as there are cores. One for each frame costs up to 30% more CPU
            than one alone.

    Raises:
        DatasetError: as `decode_video`; its `episode` is the one at fault.
    """
    keep = np.ones(len(wanted.rows), bool) if keep is None else keep
    decode = _decode_torchcodec if decoder == "torchcodec" else _decode_pyav
    return decode(wanted, keep, seek, threads)


def _decode_pyav(wanted: Wanted, keep: np.ndarray, seek: bool, threads: int) -> Iterator[np.ndarray]:
    have = 0
    to_rgb = VideoReformatter()
    try:
        with av.open(str(wanted.path)) as container:
            stream = _video_stream(container)
            if stream is None:
                raise wanted.broken(0, ValueError("it holds no video stream"))
            stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
            for frame in _matching_frames(container, stream, wanted, seek):
                if keep[have]:
                    yield to_rgb.reformat(frame, format="rgb24", **ONE_THREAD).to_ndarray()
                have += 1
    except (av.FFmpegError, OSError) as error:
        raise wanted.broken(have, error) from error


def _video_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream; damaged files may announce one of no known codec."""
    return next((s for s in container.streams.video if s.codec_context is not None), None)


def _matching_frames(
    container: InputContainer, stream: VideoStream, wanted: Wanted, seek: bool
) -> Iterator[av.VideoFrame]:
    """The decoded frame for every wanted one, matched by time; seeks over long unneeded stretches."""
    tolerance = 0.5 / wanted.fps + 1e-9
    gaps = np.diff(wanted.seconds, prepend=0.0)
    jumps: list[int] = np.flatnonzero(gaps > SKIP / wanted.fps).tolist()
    jumps += [0] if seek and wanted.seconds[0] > 0 else []
    for begin, end in itertools.pairwise(sorted({0, *jumps, len(wanted.rows)})):
        if begin in jumps:
            target = wanted.seconds[begin] - SEEK_MARGIN / wanted.fps
            container.seek(int(target / (stream.time_base or 1)), stream=stream)
        have, last, seen = begin, None, 0
        for frame in container.decode(stream):
            last, seen = float(frame.time or 0.0), seen + 1
            if last < wanted.seconds[have] - tolerance:
                continue
            if last > wanted.seconds[have] + tolerance:
                raise wanted.short(have, f"the next frame is at {last:.3f} s")
            if frame.is_corrupt:
                raise wanted.broken(have, ValueError(f"the frame at {last:.3f} s is damaged"))
            yield frame
            have += 1
            if have == end:
                break
        else:
            ends = f"its last frame is at {last:.3f} s ({seen} frames read)" if seen else "it holds no frame"
            raise wanted.short(have, ends)


def _decode_torchcodec(wanted: Wanted, keep: np.ndarray, seek: bool, threads: int) -> Iterator[np.ndarray]:
    """As `_decode_pyav`, by torchcodec: what is shown half a frame after a wanted time is nearest to it."""
    from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]

    half = 0.5 / wanted.fps
    have = 0
    try:
        decoder = VideoDecoder(str(wanted.path), dimension_order="NHWC", num_ffmpeg_threads=threads)
        end = decoder.metadata.end_stream_seconds or 0.0
        inside_video = int(np.searchsorted(wanted.seconds, end - half, side="left"))
        for start in range(0, inside_video, CHUNK):
            seconds = wanted.seconds[start : min(start + CHUNK, inside_video)]
            batch = decoder.get_frames_played_at((seconds + half * 0.998).tolist())
            for image, shown in zip(batch.data.numpy(), batch.pts_seconds.tolist(), strict=True):
                if abs(shown - wanted.seconds[have]) > half + 1e-9:
                    raise wanted.short(have, f"the frame there is at {shown:.3f} s")
                if keep[have]:
                    yield image
                have += 1
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        if isinstance(error, DatasetError):
            raise
        raise wanted.broken(have, error) from error
    if have < len(wanted.rows):
        raise wanted.short(have, f"it ends at {end:.3f} s ({len(decoder)} frames)")


# -- headers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """What an mp4 announces: nothing is decoded."""

    frames: int
    seconds: float  # end of the last frame
    fps: float
    height: int
    width: int


def probe(path: Path, file: BinaryIO | None = None) -> Probe:
    """Read the header of an mp4; missing, unreadable, or cut short behind its header is a DatasetError.

    `file` is the same, opened by somebody else, where it does not lie at `path`.
    """
    if file is None:
        if not path.is_file():
            raise DatasetError(f"{path} is missing")
        with path.open("rb") as own:
            return probe(path, own)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with av.open(file, "r") as container:
            stream = _video_stream(container)
            if stream is None:
                raise DatasetError(f"{path} ({size} bytes) holds no video stream")
            end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
            if end > size:
                raise DatasetError(f"{path} is cut short: {size} bytes, its index needs {end}")
            seconds = float(((stream.start_time or 0) + (stream.duration or 0)) * (stream.time_base or 0))
            fps = float(stream.average_rate or 0)
            return Probe(stream.frames, seconds, fps, stream.height, stream.width)
    except (av.FFmpegError, OSError) as error:
        raise unreadable(path, error, size) from error
