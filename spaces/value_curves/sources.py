"""An episode out of what a visitor sent: videos, a zip, or a dataset. Runs in the decoding process only.

What is too large is refused before anything is decoded: archives by their directory and while they are
unpacked, videos by their header and by their packets, datasets by their tables.
"""

import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
from limits import Limits, VisitorError
from states import read_state

from valuecurve.episodes import decode_video, open_dataset, resolve_outcomes
from valuecurve.episodes.layout import DatasetError, read_episode_table, read_info
from valuecurve.episodes.video import probe

# ffmpeg's names: playlists (which may name other files and addresses) are not among them
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"
VIDEO_ENDINGS = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".3gp"}
STATE_ENDINGS = {".csv", ".parquet"}
UNPACKED_ENDINGS = VIDEO_ENDINGS | STATE_ENDINGS | {".json", ".jsonl", ".png", ".jpg", ".jpeg"}
WAYS_OUT = "MP4, MOV, WebM, MKV and AVI can be read"
BOMB = 200  # times smaller than its contents: no video compresses so far


@dataclass
class Source:
    """An episode of T frames that is ready to be decoded."""

    cameras: list[str]
    fps: float
    tasks: list[str]  # empty: the visitor's text is the task
    task_index: np.ndarray  # int64 [T]
    frames: Callable[[int], Iterator[np.ndarray]]  # T frames of a camera, uint8 [H, W, 3]
    state: np.ndarray | None = None  # float64 [T, D]
    success: bool | None = None
    dataset: str | None = None
    episode: int | None = None
    episodes: int = 1  # of the dataset
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.task_index)


def guard_ffmpeg() -> None:
    """From now on this process opens plain video files only, whatever a file says it is."""
    real: Any = av.open

    def open_video(file, mode="r", **options):
        if mode == "r":
            allowed = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
            options["options"] = {**(options.get("options") or {}), **allowed}
        return real(file, mode, **options)

    av.open = open_video


def open_source(request: dict, work: Path, limits: Limits) -> Source:
    """The episode of a request: its "dataset", or its "files" (a zip, or videos), with its "state" file.

    Raises:
        VisitorError, DatasetError: what is wrong, in words.
    """
    episode, state = int(request["episode"]), request["state"]
    if request["dataset"]:
        source = from_dataset(request["dataset"], episode, limits)
        source.dataset = request["name"] or request["dataset"].split("@")[0].split("/")[-1]
        return source
    files = [Path(path) for path in request["files"]]
    zips = [path for path in files if path.suffix.lower() == ".zip"]
    if not zips:
        return from_videos(files, Path(state) if state else None, request["fps"], limits)
    if len(files) > 1:
        raise VisitorError("A zip must be uploaded alone: put all files of the episode into it.")
    folder = unpack(zips[0], work / "unpacked", limits)
    roots = sorted(
        (path.parent.parent for path in folder.rglob("meta/info.json")), key=lambda p: len(p.parts)
    )
    if roots:
        source = from_dataset(roots[0], episode, limits)
        source.dataset = zips[0].stem
        return source
    inside = sorted(path for path in folder.rglob("*") if path.is_file())
    videos = [path for path in inside if path.suffix.lower() in VIDEO_ENDINGS]
    tables = [path for path in inside if path.suffix.lower() in STATE_ENDINGS]
    if not videos:
        raise VisitorError(
            f"{zips[0].name} holds neither a LeRobot dataset (no meta/info.json) nor a video ({WAYS_OUT})."
        )
    table = Path(state) if state else tables[0] if len(tables) == 1 else None
    return from_videos(videos, table, request["fps"], limits)


# -- archives ----------------------------------------------------------------------------------------------


def unpack(archive: Path, folder: Path, limits: Limits) -> Path:
    """The files of a zip that an episode may need, in `folder`. No link, no path outwards, no bomb."""
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            check_entries(archive, entries, limits)
            left = int(limits.unpacked_mb * 1e6)
            for entry in entries:
                if PurePosixPath(entry.filename).suffix.lower() in UNPACKED_ENDINGS:
                    left -= _unpack_one(opened, entry, folder, left, limits)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, OSError) as error:
        raise VisitorError(
            f"{archive.name} is no zip that can be unpacked ({error}). Zip the folder again, and upload that."
        ) from error
    return folder


def check_entries(archive: Path, entries: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Refuse an archive by its directory alone. Raises VisitorError."""
    if len(entries) > limits.unpacked_files:
        raise VisitorError(
            f"{archive.name} holds {len(entries)} files, at most {limits.unpacked_files:.0f} are unpacked: "
            "zip "
            "the episode alone, or name the dataset of the Hub."
        )
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
            raise VisitorError(
                f"{archive.name} holds a file that would land outside of its folder "
                f"({entry.filename[:80]!r}): "
                "zip the folder itself, with plain names."
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise VisitorError(
                f"{archive.name} holds a link ({entry.filename[:80]!r}) instead of a file: zip the files "
                "themselves (zip follows links unless told not to)."
            )
        if entry.flag_bits & 1:
            raise VisitorError(f"{archive.name} has a password: zip it without one.")
        if entry.file_size > 1e6 and entry.file_size > BOMB * max(entry.compress_size, 1):
            raise VisitorError(
                f"{archive.name} is not unpacked: {entry.filename[:80]!r} would become "
                f"{entry.file_size / 1e6:.0f} MB, {BOMB} times its size or more."
            )
    total = sum(entry.file_size for entry in entries)
    if total > limits.unpacked_mb * 1e6:
        raise VisitorError(
            f"{archive.name} would unpack to {total / 1e6:.0f} MB, at most {limits.unpacked_mb:.0f} MB are "
            "allowed: zip the episode alone, or name the dataset of the Hub."
        )


def _unpack_one(
    opened: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, left: int, limits: Limits
) -> int:
    """Write one file, counting what really comes out; bytes written."""
    target = folder.joinpath(*PurePosixPath(entry.filename.replace("\\", "/")).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, target.open("xb") as file:
        while block := source.read(1 << 20):
            written += len(block)
            if written > left:
                raise VisitorError(
                    f"{Path(opened.filename or '').name} unpacks to more than {limits.unpacked_mb:.0f} MB, "
                    "and "
                    "to more than it says: it is damaged, or a trap."
                )
            file.write(block)
    return written


# -- videos ------------------------------------------------------------------------------------------------


@dataclass
class Plan:
    """A video that has been looked at, not decoded: the time of each of its n frames, ascending."""

    path: Path
    times: np.ndarray  # float64 [n], seconds since its first frame
    fps: float
    regular: bool  # whether frame k lies within half a frame of k / fps


def from_videos(files: list[Path], state: Path | None, fps: float | None, limits: Limits) -> Source:
    """One video per camera; the first sets the clock, and the others are read at its times."""
    if not files:
        raise VisitorError("Nothing was uploaded: choose a video for each camera, or a zip.")
    if len(files) > limits.cameras:
        raise VisitorError(f"{len(files)} videos were given, at most {limits.cameras:.0f} cameras are read.")
    plans = [plan_video(path, fps, limits) for path in files]
    first = plans[0]
    if first.regular:
        picks = [np.arange(len(first.times))]
        rate = first.fps
    else:
        rate = round(min(max(first.fps, 1.0), 60.0), 2)
        picks = [nearest(first.times, np.arange(int(first.times[-1] * rate) + 1) / rate)]
    clock = np.arange(len(picks[0])) / rate
    for plan in plans[1:]:
        _check_same_length(first, plan)
        same = plan.regular and first.regular and len(plan.times) == len(first.times)
        picks.append(picks[0] if same else nearest(plan.times, clock))
    table = None
    if state is not None:
        table = read_state(state, limits)
        if len(table) == len(first.times):
            table = table[picks[0]]
        if len(table) != len(clock):
            raise VisitorError(
                f"{state.name} has {len(table)} rows, but {first.path.name} has {len(first.times)} frames: "
                "the state needs one row a frame."
            )
    return Source(
        cameras=_names(files),
        fps=rate,
        tasks=[],
        task_index=np.zeros(len(clock), np.int64),
        frames=lambda camera: video_frames(plans[camera], picks[camera]),
        state=table,
    )


def _names(files: list[Path]) -> list[str]:
    """File names without their ending, each once."""
    names: list[str] = []
    for path in files:
        name, number = path.stem[:60] or "video", 2
        while name in names:
            name, number = f"{path.stem[:60]} {number}", number + 1
        names.append(name)
    return names


def _check_same_length(first: Plan, other: Plan) -> None:
    lasts = [plan.times[-1] + 1 / plan.fps for plan in (first, other)]
    if abs(lasts[0] - lasts[1]) > max(0.5, 0.05 * max(lasts)):
        raise VisitorError(
            f"{first.path.name} lasts {lasts[0]:.1f} s and {other.path.name} {lasts[1]:.1f} s: the videos of "
            "one episode must show the same time."
        )


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For every wanted time the frame that is nearest to it, int64."""
    after = np.searchsorted(times, wanted).clip(1, max(len(times) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)


def plan_video(path: Path, fps: float | None, limits: Limits) -> Plan:
    """Look at a video's header and packets; nothing is decoded.

    Raises:
        VisitorError: no video, or one that is too long or too large.
    """
    try:
        with av.open(str(path)) as container:
            stream = next((s for s in container.streams.video if s.codec_context is not None), None)
            if stream is None:
                raise VisitorError(f"{path.name} holds no moving picture: {WAYS_OUT}.")
            seconds = float((stream.duration or 0) * (stream.time_base or 0))
            check_size(path.name, stream.width, stream.height, limits)
            check_length(path.name, stream.frames, seconds, limits)
            stamps = _time_stamps(path, container, stream, limits)
            announced = float(stream.average_rate or 0)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VisitorError(f"{path.name} is not a video that can be read: {WAYS_OUT}.") from error
    return _plan(path, stamps, fps, announced, limits)


def _time_stamps(path: Path, container, stream, limits: Limits) -> list[float | None]:
    stamps = []
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard:
            continue
        stamp = packet.pts if packet.pts is not None else packet.dts
        stamps.append(None if stamp is None else float(stamp * packet.time_base))
        check_length(path.name, len(stamps), 0.0, limits)
    return stamps


def _plan(
    path: Path, stamps: list[float | None], fps: float | None, announced: float, limits: Limits
) -> Plan:
    n = len(stamps)
    if n < 2:
        raise VisitorError(f"{path.name} has {n} frames: an episode is a video of at least 2.")
    known = sorted(stamp for stamp in stamps if stamp is not None)
    if fps:
        return Plan(path, np.arange(n) / fps, fps, True)
    if len(known) < n or known[-1] <= known[0]:
        rate = announced if 0.1 <= announced <= 240 else 0.0
        if not rate:
            raise VisitorError(
                f"{path.name} does not say how many frames a second it has: fill in “Frames a second”."
            )
        return Plan(path, np.arange(n) / rate, rate, True)
    times = np.array(known) - known[0]
    check_length(path.name, n, times[-1], limits)
    rate = (n - 1) / times[-1]
    rate = announced if announced and abs(announced / rate - 1) < 0.01 else rate
    regular = bool(np.abs(times - np.arange(n) / rate).max() < 0.5 / rate) and 0.1 <= rate <= 240
    return Plan(path, times, rate, regular)


def check_size(name: str, width: int, height: int, limits: Limits) -> None:
    """Raises VisitorError for pictures that are too large."""
    if width * height > limits.pixels:
        raise VisitorError(
            f"{name} is {width} × {height} pixels, and at most {limits.pixels / 1e6:.1f} million are read: "
            "make it "
            "smaller (a model looks at a few hundred pixels a side)."
        )
    if width < 16 or height < 16:
        raise VisitorError(f"{name} is {width} × {height} pixels: that is too small to see a robot.")


def check_length(name: str, frames: int, seconds: float, limits: Limits) -> None:
    """Raises VisitorError for episodes that are too long."""
    if frames > limits.frames:
        raise VisitorError(
            f"{name} has {frames:,} frames or more, and at most {limits.frames:,.0f} are read: cut it to one "
            "episode, or lower its frame rate (10 a second are plenty)."
        )
    if seconds > limits.seconds:
        raise VisitorError(
            f"{name} lasts {seconds:,.0f} s, and at most {limits.seconds:,.0f} s are read: cut it to one "
            "episode."
        )


def video_frames(plan: Plan, pick: np.ndarray) -> Iterator[np.ndarray]:
    """The picked frames (ascending, may repeat) of a video, uint8 [H, W, 3], turned as a phone held it."""
    given, count, last = 0, 0, None
    try:
        with av.open(str(plan.path)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "FRAME", 2
            for number, frame in enumerate(container.decode(stream)):
                count = number + 1
                if given == len(pick):
                    break
                if pick[given] > number:
                    continue
                image = frame.to_ndarray(format="rgb24")
                last = np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))
                while given < len(pick) and pick[given] == number:
                    yield last
                    given += 1
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VisitorError(
            f"{plan.path.name} is damaged: it could be read up to frame {count} of {len(plan.times)}. "
            "Export it "
            "again, for example as MP4 (H.264)."
        ) from error
    missing = len(pick) - given
    if last is None or missing > max(2, 0.02 * len(pick)):
        raise VisitorError(
            f"{plan.path.name} announces {len(plan.times)} frames and holds {count}: it is cut short. "
            "Export it "
            "again."
        )
    for _ in range(missing):  # the very last ones, which some encoders announce and never write
        yield last


# -- datasets ----------------------------------------------------------------------------------------------


def from_dataset(place: str | Path, episode: int, limits: Limits) -> Source:
    """One episode of a LeRobot dataset: a folder, or `org/name@revision` of the Hub."""
    if isinstance(place, Path):
        info = read_info(place)
        _check_table(
            read_episode_table(place, info["codebase_version"])["length"].to_numpy(), episode, limits
        )
    dataset = open_dataset(place)
    ids = dataset.episode_ids
    if episode not in ids:
        raise VisitorError(
            f"There is no episode {episode}: the dataset has {len(ids)} episodes, {ids[0]} to {ids[-1]}."
        )
    rows = dataset.episode_rows([episode])
    check_length(f"Episode {episode}", len(rows), len(rows) / dataset.fps, limits)
    cameras = list(dataset.cameras.values())
    if not cameras:
        raise VisitorError("The dataset has no camera: a value curve is read from pictures.")
    notes = []
    if len(cameras) > limits.cameras:
        cameras = cameras[: int(limits.cameras)]
        notes.append(f"Only the first {len(cameras)} cameras of the dataset are read.")
    position = int(dataset.episode_positions([episode])[0])
    for camera in cameras:
        check_size(f"Camera {camera.name}", max(camera.width, 16), max(camera.height, 16), limits)
        if camera.kind == "video":
            path = dataset.video_files(camera.key)[0][position]
            if path.is_file():  # what the file says counts, not what the dataset says
                seen = probe(path)
                check_size(f"Camera {camera.name}", seen.width, seen.height, limits)

    def frames(number: int) -> Iterator[np.ndarray]:
        for _, chunk in decode_video(dataset, cameras[number].key, [episode]):
            yield from chunk.transpose(0, 2, 3, 1)

    return Source(
        cameras=[camera.name for camera in cameras],
        fps=dataset.fps,
        tasks=list(dataset.tasks),
        task_index=dataset.task_index[rows],
        frames=frames,
        state=dataset.states[rows] if dataset.state_key else None,
        success=_outcome(dataset, position),
        episode=episode,
        episodes=len(ids),
        notes=notes,
    )


def _check_table(lengths: np.ndarray, episode: int, limits: Limits) -> None:
    """Refuse a dataset by its episode table, before its frames are read."""
    if lengths.sum() > 200 * limits.frames:
        raise VisitorError(
            f"The dataset has {lengths.sum():,} frames: upload the episode alone, or name a dataset of the "
            "Hub."
        )


def _outcome(dataset, position: int) -> bool | None:
    """Whether the episode ended in success; None where nothing says so."""
    try:
        return bool(resolve_outcomes(dataset).success[position])
    except DatasetError:
        return None
