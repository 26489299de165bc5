"""An episode out of what a visitor sent: videos, a zip, or a dataset. Runs in the decoding process only.

What is too large is refused before anything is decoded: archives by their directory and while they are
unpacked, videos by their header and by their packets, datasets by their tables.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from archives import STATE_ENDINGS, VIDEO_ENDINGS, unpack
from limits import Limits, VisitorError
from states import read_state
from videos import WAYS_OUT, Plan, check_length, check_size, nearest, plan_video, video_frames

from valuecurve.episodes import decode_video, open_dataset, resolve_outcomes
from valuecurve.episodes.hub_errors import is_unreachable
from valuecurve.episodes.layout import DatasetError, is_hub_id, read_episode_table, read_info
from valuecurve.episodes.video import probe


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


def open_source(request: dict, work: Path, limits: Limits) -> Source:
    """The episode of a request: its "dataset", or its "files" (a zip, or videos), with its "state" file.

    Raises:
        VisitorError, DatasetError: what is wrong, in words.
    """
    episode, state = int(request["episode"]), request["state"]
    if request["dataset"]:
        source = from_hub(request["dataset"], episode, limits)
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


# -- videos ------------------------------------------------------------------------------------------------


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


# -- datasets ----------------------------------------------------------------------------------------------


def from_hub(name: str, episode: int, limits: Limits) -> Source:
    """An episode of a dataset of the Hub, or of a folder of the app's own; errors in words for visitors."""
    try:
        if is_hub_id(name):
            name = _of_bounded_size(name, limits)
        return from_dataset(name, episode, limits)
    except DatasetError as error:
        message = re.sub(r" \(and there is no folder .*\)$", "", str(error))
        if " is gated" in message:
            message = f"{name} asks for its conditions to be accepted first, so it cannot be shown here."
        elif "has no dataset" in message:
            message = f"There is no public dataset {name} on the Hub: check how it is spelt."
        elif error.__cause__ is not None and is_unreachable(error.__cause__):
            message = (
                f"The Hub does not answer at the moment, so {name} cannot be fetched. Try again in a few "
                "minutes, or upload the episode as a video or a zip."
            )
        raise VisitorError(message[:1].upper() + message[1:]) from error


def _of_bounded_size(name: str, limits: Limits) -> str:
    """The dataset pinned to its commit; refused by its list of files where its tables are too large."""
    from valuecurve.episodes.hub_dataset import open_hub  # here: uploads do not wait for the Hub's client

    hub = open_hub(name)
    tables = sum(size for path, size in hub.sizes.items() if path.startswith(("meta/", "data/")))
    if tables > limits.unpacked_mb * 1e6:
        raise VisitorError(
            f"The tables of {hub.repo} have {tables / 1e6:,.0f} MB, and at most {limits.unpacked_mb:.0f} MB "
            "are fetched: upload the episode instead."
        )
    return f"{hub.repo}@{hub.revision}"


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
