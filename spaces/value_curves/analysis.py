"""A decoded episode through one or two checkpoints, and the payload that the player draws.

The values are those of `valuecurve score` for the same frames: the same batches through the same code.
"""

import base64
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from decoding import Episode, Progress
from limits import VisitorError

from valuecurve.episodes import Camera, DatasetError, EpisodeDataset
from valuecurve.metrics import quantiles
from valuecurve.returns import dataset_targets
from valuecurve.scoring import Settings
from valuecurve.scoring.checkpoint import Checkpoint
from valuecurve.scoring.forward import Forward
from valuecurve.scoring.job import Job
from valuecurve.scoring.passes import score_frames, score_pairs
from valuecurve.scoring.pictures import Batch
from valuecurve.training import ConfigError

HORIZON_SECONDS, POSITIVE_FRACTION = 1.0, 0.3  # where the sliders stand at first, as in the demo
ALARM = -0.9  # of models that are trained to say -1 in a failure; a long way to go rarely looks like it
BATCH = 32  # frames, as `valuecurve score` has by default
ONE_AT_A_TIME = threading.Lock()  # on a CPU a second forward pass would only slow the first one down


@dataclass
class Scored:
    """What one checkpoint says of an episode of T frames; K bins."""

    name: str
    value: np.ndarray  # float32 [T]
    std: np.ndarray  # float32 [T]
    probabilities: np.ndarray  # float32 [T, K]
    v_min: float
    v_max: float
    scale_steps: float | None  # frames of this episode that one value unit stands for
    scale_seconds: float | None

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """10% and 90% quantiles, float64 [T] each."""
        low, high = quantiles(self.probabilities, [0.1, 0.9], self.v_min, self.v_max)
        return low, high

    @property
    def alarm(self) -> float | None:
        """The value below which a failure alarm is marked, and no time is told; None for other ranges."""
        return ALARM if (self.v_min, self.v_max) == (-1.0, 0.0) else None

    def seconds_to_success(self, success: bool | None) -> np.ndarray | None:
        """The expected seconds to success, float64 [T]; None where the scale is not known.

        NaN in a failure, and below the alarm: a value near the floor is no time.
        """
        if self.scale_seconds is None:
            return None
        seconds = (self.v_max - self.value.astype(np.float64)) * self.scale_seconds
        no_time = success is False or (self.value < self.alarm if self.alarm is not None else False)
        return np.where(no_time, np.nan, seconds)


def size_of(checkpoint: Checkpoint) -> tuple[int, str]:
    """What frames are resized to for a checkpoint."""
    return checkpoint.processor.image_size, checkpoint.processor.resample


def score(
    name: str, checkpoint: Checkpoint, episode: Episode, task: str, dtype: str, progress: Progress
) -> tuple[Scored, list[str]]:
    """Values of an episode, and notes on what the checkpoint could not be given.

    Raises:
        VisitorError: the episode and the checkpoint do not fit.
    """
    used, notes = match_cameras(checkpoint.processor.cameras, episode.cameras, name)
    dataset = as_dataset(episode, task, used)
    statistics, more = _state_statistics(checkpoint, episode, name)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = Settings(
        cameras=tuple(used),
        state=statistics is not None,
        statistics=statistics,
        scale=1.0,
        dtype=dtype,
        batch_size=BATCH,
        distribution=True,
    )
    try:
        with ONE_AT_A_TIME:
            values = _forward(checkpoint, Job(dataset, checkpoint, settings, device), episode, used, progress)
    except (ConfigError, DatasetError) as error:
        raise VisitorError(f"{name} cannot read this episode: {error}") from error
    config = checkpoint.model.config
    steps, seconds = _scale(checkpoint, episode, dataset.tasks[int(dataset.task_index[0])])
    scored = Scored(
        name=name,
        value=values["value"],
        std=values["value_std"],
        probabilities=values["distribution"],
        v_min=float(config.v_min),
        v_max=float(config.v_max),
        scale_steps=steps,
        scale_seconds=seconds,
    )
    return scored, notes + more


def _forward(
    checkpoint: Checkpoint, job: Job, episode: Episode, used: dict[str, int], progress: Progress
) -> dict[str, np.ndarray]:
    pictures = [episode.frames[size_of(checkpoint)][used[camera.name]] for camera in job.cameras]
    rows, done = job.parts[0].rows, 0

    def batches():
        for begin in range(0, len(rows), BATCH):
            some = rows[begin : begin + BATCH]
            images = np.stack([camera[some] for camera in pictures], axis=1)
            yield Batch(some, torch.from_numpy(images))

    def count(frames: int) -> None:
        nonlocal done
        done += frames
        progress(done / len(rows), f"The model looks at frame {min(done, len(rows))} of {len(rows)}")

    progress(0.0, f"The model looks at {len(rows)} frames")  # before the first pass: who has left needs none
    threads = torch.get_num_threads() if job.device.type == "cpu" else 1
    with Forward(checkpoint, job.device, job.dtype, threads, (), True) as forward:
        _, values = (score_pairs if job.pairs else score_frames)(forward, job, batches(), count).all()
    return values


def match_cameras(known: list[str], here: list[str], model: str) -> tuple[dict[str, int], list[str]]:
    """Which camera of the episode is which of the model's: by name, then by a part of it, then in order.

    Returns:
        {camera of the model: position in `here`}, and notes for the visitor.
    """
    if not known:
        return {name: i for i, name in enumerate(here)}, []
    lower, left, used = [name.lower() for name in here], list(range(len(here))), {}
    for same in (lambda a, b: a == b, lambda a, b: a in b):
        for camera in known:
            found = next((i for i in left if camera not in used and same(camera.lower(), lower[i])), None)
            if found is not None:
                used[camera] = found
                left.remove(found)
    guessed = {}
    for camera in known:
        if camera not in used and left:
            guessed[camera] = left.pop(0)
    used |= guessed
    notes = []
    if guessed:
        pairs = ", ".join(f"{here[i]} as “{camera}”" for camera, i in guessed.items())
        notes.append(f"{model} knows the cameras {', '.join(known)}, and was shown {pairs}.")
    if missing := [camera for camera in known if camera not in used]:
        notes.append(
            f"{model} usually sees the camera {', '.join(missing)} too: its values are a guess without."
        )
    if left:
        notes.append(f"{model} does not look at {', '.join(here[i] for i in left)}.")
    return {camera: used[camera] for camera in known if camera in used}, notes


def _state_statistics(checkpoint: Checkpoint, episode: Episode, name: str) -> tuple[str | None, list[str]]:
    """The key of the state statistics that fit the episode's state; None: the state is left out."""
    known = checkpoint.processor.state_statistics
    if not known:
        return None, []
    if episode.state is None:
        return None, [
            f"{name} usually reads the robot's state too: add it as CSV or Parquet for better values."
        ]
    wanted = {key: len(statistics["q01"]) for key, statistics in known.items()}
    fitting = [key for key, size in wanted.items() if size == episode.state.shape[1]]
    if episode.dataset in fitting:
        return episode.dataset, []
    if fitting:
        return fitting[0], []
    sizes = " or ".join(str(size) for size in sorted(set(wanted.values())))
    if episode.dataset is None:
        raise VisitorError(
            f"The state has {episode.state.shape[1]} columns, and {name} was trained with {sizes}: give "
            "those, one "
            "a joint, or leave the state out."
        )
    return None, [f"The state has another size than {name} was trained with ({sizes}), and was left out."]


def _scale(checkpoint: Checkpoint, episode: Episode, task: str) -> tuple[float | None, float | None]:
    """Frames of this episode, and seconds, that one value unit stands for; None where that is not known."""
    processor = checkpoint.processor
    steps = processor.scales.get(task)
    if steps is None or processor.frames_per_sample == 2:
        return None, None
    if not processor.fps:
        return float(steps), None
    seconds = float(steps) / processor.fps
    return seconds * episode.fps, seconds


def as_dataset(episode: Episode, task: str, cameras: dict[str, int] | list[str]) -> EpisodeDataset:
    """The episode as a dataset of one, in memory: what `Job` scores. `task` is for episodes without one."""
    tasks = list(episode.tasks.values()) or [task]
    place = {index: i for i, index in enumerate(episode.tasks)} or {0: 0}
    T = len(episode)
    columns: dict[str, object] = {
        "episode_index": np.zeros(T, np.int64),
        "frame_index": np.arange(T),
        "task_index": np.array([place[index] for index in episode.task_index.tolist()], np.int64),
    }
    state = episode.state
    if state is not None:
        flat = pa.array(state.astype(np.float32).reshape(-1))
        columns["observation.state"] = pa.FixedSizeListArray.from_arrays(flat, state.shape[1])
    keys = [f"observation.images.{name}" for name in cameras]
    return EpisodeDataset(
        root=Path("the episode"),
        key=episode.dataset or "upload",
        version="v3.0",
        fps=episode.fps,
        cameras={key: Camera(key, 0, 0, "video") for key in keys},
        state_key=None if state is None else "observation.state",
        state_names=[],
        tasks=tasks,
        frames=pa.table(columns),
        episodes=pa.table({"episode_index": [0], "length": [T]}),
        fingerprint="",
        info={},
        data_files=[Path("upload")],
        file_of_row=np.zeros(T, np.int32),
    )


# -- for the player ----------------------------------------------------------------------------------------


def target_of(episode: Episode, scored: Scored, task: str) -> np.ndarray | None:
    """Normalised returns of an episode whose outcome is known, float64 [T], as training makes them."""
    if episode.success is None or scored.scale_steps is None:
        return None
    targets, _ = dataset_targets(
        np.array([len(episode)]), np.array([episode.success]), [task], scale=scored.scale_steps, fail="floor"
    )
    return np.asarray(targets, np.float64)


def make_payload(identity: str, folder_url: str, episode: Episode, task: str, models: list[Scored]) -> dict:
    """What the player draws, as JSON holds it."""
    target = target_of(episode, models[0], task)
    return {
        "id": identity,
        "task": task,
        "dataset": episode.dataset,
        "episode": episode.episode,
        "fps": episode.fps,
        "frames": len(episode),
        "success": episode.success,
        "videos": [
            {"name": name, "url": f"{folder_url}/{file}"}
            for name, file in zip(episode.cameras, episode.videos, strict=True)
        ],
        "target": None if target is None else _rounded(target),
        "models": [_model(scored) for scored in models],
        "horizon": max(1, round(HORIZON_SECONDS * episode.fps)),
        "positive_fraction": POSITIVE_FRACTION,
        "alarm": models[0].alarm,
    }


def _model(scored: Scored) -> dict:
    low, high = scored.interval()
    largest = scored.probabilities.max(axis=1)
    heat = np.round(scored.probabilities / np.maximum(largest, 1e-12)[:, None] * 255).astype(np.uint8)
    return {
        "name": scored.name,
        "value": _rounded(scored.value),
        "lower": _rounded(low),
        "upper": _rounded(high),
        "std": _rounded(scored.std),
        "v_min": scored.v_min,
        "v_max": scored.v_max,
        "bins": scored.probabilities.shape[1],
        "scale_steps": scored.scale_steps,
        "scale_seconds": scored.scale_seconds,
        "heat": base64.b64encode(heat.tobytes()).decode(),
        "heat_max": _rounded(largest),
    }


def _rounded(array: np.ndarray) -> list[float]:
    return np.round(np.asarray(array, np.float64), 6).tolist()
