"""`pipeline("value-estimation", model=…)`: an episode in, its value curve out.

    frames     uint8 [T, H, W, 3] or [T, 3, H, W], or a list of pictures: of the model's first camera
               {"top": frames, "wrist": frames}, or a list of {"top": picture, "wrist": picture}
    video      "episode.mp4", or {"top": "top.mp4", "wrist": "wrist.mp4"}
    dataset    "folder of a LeRobot dataset" (v3.0, v2.1), with episode=3 (or a list of numbers)

A list of episodes gives a list of curves. Videos and datasets are read in order, a batch at a time, so that
an episode may be of any length; they need PyAV, and datasets pyarrow. This file ships with every checkpoint.
It depends on torch, transformers and numpy only.
"""

import io
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Pipeline

logger = logging.getLogger(__name__)
INTERVAL = (0.1, 0.9)  # quantiles: the middle 80% of the distribution
BATCH = 16  # frames in one forward pass
Frame = tuple[float | None, dict[str, Any]]  # its second in the video, if known; {camera name: picture}


@dataclass
class Episode:
    """What a curve is made of: T frames (an iterator of them), and what is known of them."""

    frames: Iterable[Frame]
    task: str | Sequence[str] | None = None  # of the whole episode, or of each frame
    state: np.ndarray | None = None  # [T, D]
    fps: float | None = None  # frames a second, if the frames lie evenly


class ValuePipeline(Pipeline):
    """Value, interval and seconds to success of every frame of an episode.

    Args of a call, all by name but the first:
        inputs: an episode (see the top of this file), or a list of them.
        task: what the robot was told, one text, or one for each frame; of a list of episodes a list. Needed,
            but for datasets, which know it.
        state: [T, D] in the robot's own units, where the model was trained with it.
        statistics: key of the state statistics, where the model has several.
        episode: number of the episode in a dataset, or a list of them.
        fps: frames a second of frames that are given as arrays, for `time`.
        batch_size: frames in one forward pass.
        return_distribution: also give the whole distribution, [T, bins].

    Returns, for each episode, a dictionary of arrays [T]:
        value: in value units, the mean of the distribution. With a model of pairs: progress since the first
            frame.
        lower, upper: its 10% and 90% quantiles; std: its standard deviation; value units.
        seconds: to success; None where the model has no scale for the task.
        time: seconds since the first frame; None where it is not known.
        task: as it was used.

    Raises:
        ValueError: no task, no frame, a camera that the model does not know, cameras of different lengths,
            no such episode.
    """

    processor: Any  # a ValueProcessor
    _load_processor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False

    def _sanitize_parameters(self, **given):
        known = {"task", "state", "statistics", "episode", "fps", "return_distribution"}
        if unknown := sorted(set(given) - known):
            raise TypeError(
                f"value-estimation has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}."
            )
        read = {
            name: given[name] for name in ("task", "state", "statistics", "episode", "fps") if name in given
        }
        last = {name: given[name] for name in ("return_distribution",) if name in given}
        return read, {}, last

    def __call__(self, inputs, *, batch_size: int | None = None, num_workers=None, **given) -> Any:
        read, _, last = self._sanitize_parameters(**given)
        read, last = self._preprocess_params | read, self._postprocess_params | last
        size = batch_size or self._batch_size or BATCH
        statistics, fps = read.pop("statistics", None), read.pop("fps", None)
        several = is_several(inputs) or isinstance(read.get("episode"), list | tuple | range)
        wanted = _each(inputs, **read) if several else [Wanted(inputs, **read)]
        curves = [self._curve(self._open(one, fps), statistics, size, last) for one in wanted]
        return curves if several else curves[0]

    def _open(self, wanted: "Wanted", fps: float | None) -> Episode:
        cameras, with_state = self.processor.cameras, bool(self.processor.state_statistics)
        episode = open_episode(wanted.inputs, cameras, wanted.episode, with_state)
        episode.task = wanted.task if wanted.task is not None else episode.task
        episode.state = wanted.state if wanted.state is not None else episode.state
        episode.fps = fps or episode.fps
        if episode.task is None:
            raise ValueError("a value is about a task: say what the robot was told, task='push the puck'.")
        return episode

    def _curve(self, episode: Episode, statistics: str | None, size: int, last: dict) -> dict[str, Any]:
        outputs, times = [], []
        first: Frame | None = None
        for batch in _batches(episode.frames, size):
            first = first or batch[0]
            outputs.append(self.forward(self.preprocess(batch, episode, len(times), first, statistics)))
            times += [seconds for seconds, _ in batch]
        if not outputs:
            raise ValueError("the episode has no frame.")
        for name, given in (("state", episode.state), ("task", episode.task)):
            if given is not None and not isinstance(given, str) and len(given) != len(times):
                raise ValueError(f"{len(times)} frames, but {name} is given for {len(given)}.")
        logits = torch.cat([output["logits"] for output in outputs])
        values = torch.cat([output["value"] for output in outputs])
        return self.postprocess({"logits": logits, "value": values}, episode, times, **last)

    def preprocess(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, frames: list[Frame], episode: Episode, start: int, first: Frame, statistics: str | None = None
    ) -> dict[str, torch.Tensor]:
        """Frames from number `start` on, as a batch of the model's; pairs are compared with the `first`."""
        rows = slice(start, start + len(frames))
        task: Any = episode.task
        tasks = [task] * len(frames) if isinstance(task, str) else list(task[rows])
        state = None if episode.state is None else np.asarray(episode.state)[rows]
        for name, given in (("task", tasks), ("state", state)):
            if given is not None and len(given) < len(frames):
                raise ValueError(f"there are more frames than {start + len(given)}, and no {name} for them.")
        pairs = self.processor.frames_per_sample == 2
        batch = self.processor(
            images=[pictures for _, pictures in frames],
            task=tasks,
            state=state,
            dataset=statistics,
            reference_images=[first[1]] * len(frames) if pairs else None,
        )
        return dict(batch)

    def _forward(self, model_inputs):  # pyright: ignore[reportIncompatibleMethodOverride]
        output = self.model(**model_inputs)
        return {"logits": output.logits.float(), "value": output.value.float()}

    def postprocess(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, model_outputs, episode: Episode, times: list, return_distribution: bool = False
    ) -> dict[str, Any]:
        """The curve of an episode from its logits [T, bins] and values [T]."""
        config: Any = self.model.config
        p_TK = model_outputs["logits"].softmax(-1).double().numpy()
        value = model_outputs["value"].numpy().copy()
        centers = np.linspace(config.v_min, config.v_max, config.num_bins)
        std = np.sqrt((p_TK * (centers - (p_TK @ centers)[:, None]) ** 2).sum(-1))
        lower, upper = quantiles(p_TK, INTERVAL, centers)
        if config.frames_per_sample == 2:
            value[0] = 0.0  # progress since the first frame
        curve = {"value": value, "lower": lower, "upper": upper, "std": std}
        curve = {name: array.astype(np.float32) for name, array in curve.items()}
        curve |= {"seconds": self._seconds(value, episode.task), "time": _time(times, episode.fps)}
        curve["task"] = episode.task
        if return_distribution:
            curve["distribution"] = p_TK.astype(np.float32)
        return curve

    def save_pretrained(self, save_directory, **kwargs):
        """As `Pipeline.save_pretrained`, with the whole processor rather than its tokenizer alone."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)

    def _seconds(self, value: np.ndarray, task) -> np.ndarray | None:
        if not self.processor.scales or not self.processor.fps:
            return None
        try:
            return self.processor.decode_values(value, task)["seconds"].astype(np.float32)
        except ValueError as error:  # a task that is not of the training: how long it takes is not known
            logger.warning("seconds to success are not known: %s", error)
            return None


def quantiles(p_TK: np.ndarray, levels: Sequence[float], centers: np.ndarray) -> np.ndarray:
    """Quantiles [n, T] of distributions [T, K]; the mass of a bin lies evenly over its width.

    The same as `valuecurve.metrics.quantiles`, which this file cannot import.
    """
    F_TK = np.cumsum(p_TK, axis=1)
    F_TK /= F_TK[:, -1:]
    width = centers[1] - centers[0]
    found = []
    for level in levels:
        k_T = np.argmax(F_TK >= level, axis=1)
        after = F_TK[np.arange(len(F_TK)), k_T]
        before = np.where(k_T > 0, F_TK[np.arange(len(F_TK)), np.maximum(k_T - 1, 0)], 0.0)
        found.append(centers[k_T] + width * ((level - before) / np.maximum(after - before, 1e-12) - 0.5))
    return np.clip(found, centers[0], centers[-1])


def _time(times: list[float | None], fps: float | None) -> np.ndarray | None:
    if times and times[0] is not None:
        return np.asarray(times, np.float64) - times[0]
    return np.arange(len(times)) / fps if fps else None


# --- what an input is ------------------------------------------------------------------------------------


def is_place(inputs) -> bool:
    return isinstance(inputs, str | Path)


def is_several(inputs) -> bool:
    """Whether a list holds episodes, rather than the pictures of one."""
    if not isinstance(inputs, list | tuple) or not inputs:
        return False
    first = inputs[0]
    if isinstance(first, Mapping):
        first = next(iter(first.values()), None)
    return is_place(first) or isinstance(first, list | tuple) or getattr(first, "ndim", 0) == 4


@dataclass
class Wanted:
    """One episode of a call, as it was named."""

    inputs: Any
    episode: int | None = None
    task: Any = None
    state: Any = None


def _each(inputs, episode=None, task=None, state=None) -> list[Wanted]:
    """The episodes of a call for several."""
    if isinstance(episode, list | tuple | range) and not is_several(inputs):
        inputs = [inputs] * len(episode)
    count = len(inputs)
    numbers = episode if isinstance(episode, list | tuple | range) else [episode] * count
    tasks = [task] * count if task is None or isinstance(task, str) else task
    states = [None] * count if state is None else state
    for name, given in (("episode", numbers), ("task", tasks), ("state", states)):
        if len(given) != count:
            raise ValueError(f"{count} episodes, but {name} is given for {len(given)}.")
    return [Wanted(*one) for one in zip(inputs, numbers, tasks, states, strict=True)]


def open_episode(inputs, cameras: list[str], number: int | None = None, with_state: bool = False) -> Episode:
    """An episode from any of the inputs that there are. `cameras`: those of the model, in its order."""
    if is_place(inputs) and Path(inputs).is_dir():
        return dataset_episode(Path(inputs), number, cameras, with_state)
    if number is not None:
        raise ValueError(f"episode={number} is of a dataset: there is no folder {str(inputs)[:80]!r}.")
    if isinstance(inputs, Mapping):
        return Episode(_together({name: _pictures(given) for name, given in inputs.items()}))
    if isinstance(inputs, list | tuple) and inputs and isinstance(inputs[0], Mapping):
        return Episode((None, dict(frame)) for frame in inputs)
    if len(cameras) > 1:
        logger.warning("read as camera %r of %s: name cameras as {%r: …}.", cameras[0], cameras, cameras[0])
    name = cameras[0] if cameras else "camera"
    return Episode(_together({name: _pictures(inputs)}))


def _pictures(given) -> Iterator[tuple[float | None, Any]]:
    """(seconds, picture) of every frame of a camera."""
    if is_place(given):
        if not Path(given).is_file():
            raise ValueError(f"there is no video {str(given)!r}.")
        return video_frames(Path(given))
    if hasattr(given, "convert") or getattr(given, "ndim", 4) == 3:
        given = [given]  # one picture
    return ((None, picture) for picture in given)


def _together(cameras: Mapping[str, Iterator[tuple[float | None, Any]]]) -> Iterator[Frame]:
    """The pictures of all cameras frame by frame; cameras of different lengths are an error."""
    for number, pictures in enumerate(itertools.zip_longest(*cameras.values())):
        if None in pictures:
            ended = [name for name, picture in zip(cameras, pictures, strict=True) if picture is None]
            raise ValueError(f"camera {ended[0]!r} ends after {number} frames, before the others.")
        yield pictures[0][0], {name: picture for name, (_, picture) in zip(cameras, pictures, strict=True)}


def _batches(frames: Iterable[Frame], size: int) -> Iterator[list[Frame]]:
    frames = iter(frames)
    while batch := list(itertools.islice(frames, size)):
        yield batch


def video_frames(
    path: Path, start: float = 0.0, most: int | None = None, fps: float = 0.0
) -> Iterator[tuple]:
    """(seconds, uint8 [H, W, 3]) of a video's frames in order; `most` of them from `start` seconds on."""
    try:
        import av
    except ImportError as error:
        raise ImportError("reading videos needs PyAV: pip install av") from error
    earliest = start - 0.5 / fps if fps else 0.0
    try:
        with av.open(str(path)) as container:
            if start:
                container.seek(int(max(start - 1.0, 0.0) * av.time_base))
            wanted = (f for f in container.decode(video=0) if float(f.time or 0.0) >= earliest)
            for frame in itertools.islice(wanted, most):
                yield float(frame.time or 0.0), frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path.name} cannot be read as a video: {error}") from error


# --- LeRobot datasets ------------------------------------------------------------------------------------


def dataset_episode(root: Path, number: int | None, cameras: list[str], with_state: bool) -> Episode:
    """An episode of a LeRobot dataset in a folder, v3.0 or v2.1: those of the model's cameras that it has."""
    if not (root / "meta" / "info.json").is_file():
        raise ValueError(f"{root.name} is no LeRobot dataset: it has no meta/info.json.")
    if number is None:
        raise ValueError(f"{root.name} is a dataset: say which episode, episode=0.")
    info = json.loads((root / "meta" / "info.json").read_text(encoding="utf-8"))
    row, tasks = _episode_row(root, info, number), _tasks(root, info)
    keys = [key for key, value in info["features"].items() if value["dtype"] in ("video", "image")]
    known = {name: key for name in cameras for key in keys if key.removeprefix("observation.images.") == name}
    if not known:
        raise ValueError(f"{root.name} has the cameras {keys}, the model was trained on {cameras}.")
    stored = {name: key for name, key in known.items() if info["features"][key]["dtype"] == "image"}
    with_state = with_state and "observation.state" in info["features"]
    columns = [*stored.values(), *(["observation.state"] if with_state else [])]
    table = _table(_path(root, info, row, "data_path", "data"), columns, number)
    pictures = {name: _stored(table[key]) for name, key in stored.items()}
    fps, length = float(info["fps"]), int(row["length"])
    for name, key in known.items():
        if name not in stored:
            path = _path(root, info, row, "video_path", f"videos/{key}", key)
            pictures[name] = video_frames(path, row.get(f"videos/{key}/from_timestamp") or 0.0, length, fps)
    return Episode(
        frames=_together({name: pictures[name] for name in known}),
        task=[tasks[index] for index in table["task_index"].to_pylist()],
        state=np.asarray(table["observation.state"].to_pylist()) if with_state else None,
        fps=fps,
    )


def _parquet():
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError("reading datasets needs pyarrow: pip install pyarrow") from error
    return parquet


def _old(info: dict) -> bool:
    return str(info["codebase_version"]).startswith("v2")


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _episode_row(root: Path, info: dict, number: int) -> dict:
    if _old(info):
        rows = _lines(root / "meta" / "episodes.jsonl")
    else:
        tables = [
            _parquet().read_table(path) for path in sorted((root / "meta/episodes").glob("*/*.parquet"))
        ]
        wanted = ("episode_index", "length", "data/", "videos/")
        tables = [t.select([n for n in t.column_names if n.startswith(wanted)]) for t in tables]
        rows = [row for table in tables for row in table.to_pylist()]
    for row in rows:
        if row["episode_index"] == number:
            return row
    raise ValueError(f"{root.name} has {len(rows)} episodes, and none with the number {number}.")


def _tasks(root: Path, info: dict) -> dict[int, str]:
    if _old(info):
        return {row["task_index"]: row["task"] for row in _lines(root / "meta" / "tasks.jsonl")}
    rows = _parquet().read_table(root / "meta" / "tasks.parquet").to_pylist()
    return {row["task_index"]: row.get("task", row.get("__index_level_0__")) for row in rows}


def _path(root: Path, info: dict, row: dict, template: str, prefix: str, key: str = "") -> Path:
    number, chunk_size = row["episode_index"], info.get("chunks_size") or 1000
    fields = {"episode_index": number, "episode_chunk": number // chunk_size, "video_key": key}
    if not _old(info):
        fields |= {name: row[f"{prefix}/{name}"] for name in ("chunk_index", "file_index")}
    path = root / info[template].format(**fields)
    # by its name: in a cache of the Hub the files themselves are links to somewhere else
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
        raise ValueError(f"{root.name}: the path {info[template]!r} leaves the folder of the dataset.")
    return path


def _table(path: Path, columns: list[str], number: int):
    """The frames of an episode, in order."""
    wanted = ["episode_index", "frame_index", "task_index", *columns]
    table = _parquet().read_table(path, columns=wanted, filters=[("episode_index", "==", number)])
    return table.sort_by("frame_index")


def _stored(column) -> Iterator[tuple[None, Any]]:
    """Pictures that lie in the data files."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading pictures needs Pillow: pip install pillow") from error
    for value in column:
        yield None, Image.open(io.BytesIO(value["bytes"].as_py())).convert("RGB")
