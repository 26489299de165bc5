"""What is evaluated: which episodes, whether the model was trained on them, and their targets.

Episodes come from the split that training left beside the checkpoint (split.py); targets are made as
training makes them, with the scales of the checkpoint. Left out: the model (passes.py), and metrics
(evaluating.py).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download

from ..episodes import EpisodeDataset, Outcomes, resolve_outcomes, select
from ..labels.columns import number_column
from ..labels.making import episode_scales
from ..labels.settings import LabelSettings
from ..returns import dataset_targets
from ..scoring import Checkpoint, Settings
from ..scoring.checkpoint import NEEDED
from ..scoring.job import Job
from ..training import ConfigError
from .split import Split, check_split, episodes_of_split


@dataclass(frozen=True)
class EvaluationSettings:
    """What to evaluate on, and how; the defaults are those of `valuecurve evaluate`."""

    split: str = "test"
    episodes: str | list[int] | None = None  # of the split; all of it when None
    probes: bool = True
    fail: str | None = None  # "floor" | "penalty"; None: as the model was trained
    fail_penalty: float | None = None  # steps of the model, for "penalty"; None: as it was trained
    outcome_column: str | None = None
    assume_outcome: str | None = None
    reward_column: str | None = None  # dense rewards, in steps
    values: str | Path | None = None  # folder of sidecars, where outcomes may lie
    cameras: tuple[str, ...] = ()
    state: bool = True
    statistics: str | None = None
    scale: float | None = None  # steps, for tasks that the checkpoint does not know
    dtype: str = "auto"
    batch_size: int = 64
    resamples: int = 1000  # of the episodes, for the confidence intervals
    horizon: int | None = None  # frames ahead of the labels in the pictures, as of `valuecurve label`
    horizon_seconds: float | None = None  # instead of `horizon`
    positive_fraction: float = 0.3  # of these labels

    def check(self) -> None:
        """Raises ConfigError or DatasetError when a setting is out of range."""
        check_split(self.split)
        self.labels()
        if self.resamples < 1:
            raise ConfigError(f"--resamples must be 1 or more, got {self.resamples}")
        self.scoring().check()

    def labels(self, pairs: bool = False) -> LabelSettings:
        """Those of `valuecurve label`, with these outcomes and this cost of a failure."""
        return LabelSettings(
            mode="progress" if pairs else "n_step",
            horizon=self.horizon,
            horizon_seconds=self.horizon_seconds,
            positive_fraction=self.positive_fraction,
            fail=self.fail,
            fail_penalty=self.fail_penalty,
            outcome_column=self.outcome_column,
            assume_outcome=self.assume_outcome,
            reward_column=None if pairs else self.reward_column,
        )

    def scoring(self, episodes: list[int] | None = None) -> Settings:
        """The same for the scoring room."""
        return Settings(
            episodes=episodes,
            distribution=True,
            batch_size=self.batch_size,
            dtype=self.dtype,
            cameras=self.cameras,
            state=self.state,
            statistics=self.statistics,
            scale=self.scale,
        )


@dataclass
class Frames:
    """Whole episodes with their targets, in dataset order. n frames, E episodes."""

    view: EpisodeDataset  # these episodes alone
    rows: np.ndarray  # int64 [n], in the dataset as it is on disk
    outcomes: Outcomes  # of the E episodes
    targets: np.ndarray  # float32 [n], value units

    @property
    def success(self) -> np.ndarray:
        """Outcome of every frame's episode, bool [n]."""
        return np.repeat(self.outcomes.success, self.view.lengths)


@dataclass
class Subject:
    """The episodes to evaluate on, and those to fit baselines on."""

    job: Job
    settings: EvaluationSettings
    split: Split
    evaluated: Frames
    training: Frames | None  # the training episodes of this dataset, where they are known

    @property
    def trained(self) -> int | None:
        """How many of the evaluated episodes the model was trained on; None where that is not known."""
        if self.split.sets is not None:
            return len(set(self.job.episodes) & set(self.split.sets["train"]))
        return 0 if self.split.is_other_data else None


def checkpoint_folder(place: str, revision: str | None = None) -> Path:
    """The folder of a loaded checkpoint: itself, or the snapshot of a model of the Hub that is there now."""
    if Path(place).is_dir():
        return Path(place)
    return Path(snapshot_download(place, revision=revision, allow_patterns=NEEDED, local_files_only=True))


# -- episodes and targets ----------------------------------------------------------------------------------


def prepare_subject(
    checkpoint: Checkpoint,
    dataset: EpisodeDataset,
    settings: EvaluationSettings,
    split: Split,
    device: torch.device | None = None,
) -> Subject:
    """Choose the episodes and make their targets.

    Raises:
        ConfigError, DatasetError: settings that cannot be; no split where one is asked for; a checkpoint and
            a dataset that do not fit (camera, state, task without a scale); episodes without an outcome.
    """
    settings.check()
    chosen = episodes_of_split(dataset, settings.split, split, settings.episodes)
    job = Job(dataset, checkpoint, settings.scoring(chosen), device or torch.device("cpu"))
    evaluated = _frames(job, chosen, settings)
    training = _frames(job, split.sets["train"], settings) if split.sets else None
    return Subject(job, settings, split, evaluated, training)


def _frames(job: Job, episodes: list[int], settings: EvaluationSettings) -> Frames:
    view, rows = select(job.dataset, episodes)
    outcomes = resolve_outcomes(view, settings.outcome_column, settings.assume_outcome, settings.values)
    return Frames(view, rows, outcomes, make_targets(view, outcomes, job, settings))


def make_targets(
    view: EpisodeDataset, outcomes: Outcomes, job: Job, settings: EvaluationSettings
) -> np.ndarray:
    """Targets float32 [n] of a view, in value units, as training makes them.

    v_t = clip(G_t / scale, -1, 0) with the checkpoint's scale of the task, at this dataset's frame rate; for
    a model of pairs of frames v_t - v_0: it compares each frame with the first of its episode.

    Raises:
        DatasetError: a task that the checkpoint has no scale for.
    """
    about, column = scores_about(job), settings.reward_column
    fail, fail_penalty = settings.labels().failure(about)
    scales = episode_scales(view, "checkpoint", about)
    targets, _ = dataset_targets(
        view.lengths,
        outcomes.success,
        np.arange(len(scales)),
        scale=dict(enumerate(scales.tolist())),
        fail=fail,
        fail_penalty=fail_penalty * view.fps / about["fps"],
        rewards=None if column is None else number_column(view, column, "--reward-column"),
    )
    return targets - np.repeat(targets[view.starts], view.lengths) if job.pairs else targets


def scores_about(job: Job) -> dict:
    """manifest["scores"] of what is evaluated, with the scales of all tasks that the checkpoint knows."""
    about, processor = job.manifest()["scores"], job.checkpoint.processor
    return about | {"scales": {**job.scales, **processor.scales}, "fps": processor.fps or job.dataset.fps}
