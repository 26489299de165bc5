"""Scores -> label table: which advantages, which groups, which frames are positive. Nothing is written.

`make_labels` reads outcomes and named columns of the dataset, hands arrays to `valuecurve.advantages`, and
returns the table that `write_labels` writes. Left out: printing (summary.py), pictures (evaluation).
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from valuecurve import __version__, advantages
from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError
from valuecurve.episodes.outcomes import Outcomes, resolve_outcomes
from valuecurve.episodes.resampling import select
from valuecurve.labels.columns import flag_column, number_column
from valuecurve.labels.label_set import OPTIONAL_COLUMNS
from valuecurve.labels.rewards import time_after_failure, value_rewards
from valuecurve.labels.settings import HORIZON, LabelSettings
from valuecurve.labels.thresholds import tag_name, thresholds_of
from valuecurve.returns import dataset_returns, task_scales
from valuecurve.scoring.scores import Scores


@dataclass
class Labelling:
    """n labelled frames, before they are written."""

    table: pa.Table  # [n], the columns of a label set
    settings: dict  # manifest["labels"]
    dataset: EpisodeDataset  # the scored episodes alone: its rows are those of the table
    outcomes: Outcomes | None  # of its episodes; None where mode "progress" found none, and needs none
    group: np.ndarray  # int64 [n]: what has a threshold in common
    groups: list[str]  # names of the groups


def make_labels(
    dataset: EpisodeDataset,
    scores: Scores,
    settings: LabelSettings = LabelSettings(),  # noqa: B008 (frozen)
    values: str | Path | None = None,
) -> Labelling:
    """Advantages and indicators of all scored frames.

    Args:
        dataset: the dataset.
        scores: of all or some of its episodes, as `read_scores` gives them.
        settings: how to label.
        values: the folder of sidecars, where outcomes may lie; DATASET/values when None.

    Raises:
        DatasetError: no outcomes, a column that is not there or not filled in, a task that the model has no
            scale for, a horizon longer than every episode, scores of pairs in a mode that needs returns.
    """
    view = _scored_episodes(dataset, scores)
    horizon = _horizon(view, scores, settings)
    outcomes = _outcomes(view, settings, values)
    if settings.mode == "progress":
        returns, a_t = None, _progress_advantage(view, scores, settings, horizon)
    else:
        assert outcomes is not None
        returns, a_t = _return_advantage(view, scores, settings, horizon, outcomes)
    a_t = _as_stored(view, a_t)
    stage = _stage(view, settings)
    group, names = _groups(view, settings, stage)
    about = settings.described() | {"horizon": None if settings.mode == "full" else horizon}
    if settings.mode == "progress":
        about["progress"] = _progress_source(scores, settings)
    else:
        about["fail"], about["fail_penalty"] = settings.failure(scores.manifest["scores"])
    if settings.thresholds is None:
        levels = advantages.thresholds(a_t, group, settings.positive_fraction)
    else:
        weights = scores.manifest["scores"].get("weights")
        levels, source = _thresholds_of(Path(settings.thresholds), about, weights, group, names)
        about |= source
    positive = advantages.indicators(a_t, group, levels)
    column = settings.interventions
    intervention = (
        np.zeros(len(a_t), bool) if column is None else flag_column(view, column, "--interventions")
    )
    always = intervention | settings.all_positive
    index = view.frames["index"] if "index" in view.frames.column_names else pa.array(scores.rows)
    columns: dict = {
        "index": index,
        "episode_index": view.episode_index,
        "frame_index": view.frame_index,
        "task_index": view.task_index,
        "value": scores.value,
        "value_std": scores.value_std,
        "return": pa.nulls(len(a_t), pa.float32()) if returns is None else returns.astype(np.float32),
        "advantage": a_t,
        "positive": positive | always,
        "intervention": intervention,
    }
    if stage is not None:
        columns["stage"] = stage
    if settings.slices:
        classes = advantages.n_slices(a_t, settings.slices, group)
        columns["slice"] = np.where(always, settings.slices - 1, classes).astype(classes.dtype)
    columns |= {name: array for name, array in scores.columns.items() if name in OPTIONAL_COLUMNS}
    about |= {
        "thresholds": {names[code]: level for code, level in levels.items()},
        "outcomes": outcomes.source if outcomes else None,
        "versions": {"valuecurve": __version__},
    }
    return Labelling(pa.table(columns), about, view, outcomes, group, names)


def _as_stored(view: EpisodeDataset, a_t: np.ndarray) -> np.ndarray:
    """Advantages as float32 `[n]`, as they are stored: the file gives the same labels again."""
    with np.errstate(over="ignore"):
        stored = a_t.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(stored))
    if len(wrong):
        raise DatasetError(
            f"{view.where(int(wrong[0]))}: an advantage of {a_t[wrong[0]]:.3g} value units cannot be stored "
            f"({len(wrong)} such frames): check rewards, --fail-penalty and --scale"
        )
    return stored


@dataclass
class Part:
    """The labelled frames of one task, or of one stage of it."""

    task: str
    stage: int | None
    rows: np.ndarray  # int64 [m], of the labelling's table
    threshold: float  # of the group that they belong to

    @property
    def name(self) -> str:
        return self.task if self.stage is None else f"{self.task} (stage {self.stage})"


def parts_of(labelling: Labelling) -> list[Part]:
    """The frames task by task and stage by stage, whatever the thresholds have in common."""
    view, table = labelling.dataset, labelling.table
    task = np.array([view.tasks.index(text) for text in view.tasks])[view.task_index]
    stages = labelling.settings["stages"] or 1
    code = task * stages + (table["stage"].to_numpy() if "stage" in table.column_names else 0)
    order = np.argsort(code, kind="stable")
    present, starts = np.unique(code[order], return_index=True)
    parts = []
    for number, rows in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
        threshold = labelling.settings["thresholds"][labelling.groups[labelling.group[rows[0]]]]
        stage = number % stages if labelling.settings["stages"] else None
        parts.append(Part(view.tasks[number // stages], stage, rows, threshold))
    return parts


def is_pairwise(scores: Scores) -> bool:
    """Whether the scores are of a model of pairs of frames, which measures progress."""
    return "relative" in scores.columns


def _scored_episodes(dataset: EpisodeDataset, scores: Scores) -> EpisodeDataset:
    """The dataset with the scored episodes alone. Every one must be scored whole."""
    rows = scores.rows
    if len(rows) == 0:
        raise DatasetError(f"{scores.folder} holds no scored episode: there is nothing to label")
    if len(rows) == dataset.frames.num_rows:
        return dataset
    episodes, counts = np.unique(dataset.episode_index[rows], return_counts=True)
    short = counts != dataset.lengths[dataset.episode_positions(episodes.tolist())]
    if short.any():
        raise DatasetError(
            f"{scores.folder}: not every frame of episode {int(episodes[short][0])} is scored; score it again"
        )
    return select(dataset, episodes.tolist())[0]


def _horizon(view: EpisodeDataset, scores: Scores, settings: LabelSettings) -> int:
    """In frames, shorter than the longest episode; of scores of pairs that are used as they are, theirs."""
    fixed = _is_difference_already(scores, settings)
    own = scores.manifest["scores"].get("horizon") if fixed else None
    horizon = settings.horizon if settings.horizon is not None else own or HORIZON
    if settings.horizon_seconds is not None:
        horizon = max(round(min(settings.horizon_seconds * view.fps, 1e9)), 1)
    if fixed and own and horizon != own:
        raise DatasetError(
            f"{scores.folder}: {_progress_source(scores, settings)} was scored over {own} frames, not "
            f"{horizon}; label with --horizon {own}, or with --progress absolute_value"
        )
    longest = int(view.lengths.max())
    if settings.mode != "full" and not fixed and horizon >= longest:
        raise DatasetError(
            f"{view.root}: a horizon of {horizon} frames is longer than every episode (the longest has "
            f"{longest} frames): no frame would see a later value. Choose a shorter --horizon, or --mode full"
        )
    return horizon


def _outcomes(view: EpisodeDataset, settings: LabelSettings, values: str | Path | None) -> Outcomes | None:
    """Mode "progress" shows outcomes where there are any; the others need them."""
    named = settings.outcome_column or settings.assume_outcome
    try:
        return resolve_outcomes(view, settings.outcome_column, settings.assume_outcome, values)
    except DatasetError:
        if settings.mode == "progress" and not named:
            return None
        raise


# -- advantages --------------------------------------------------------------------------------------------


def _return_advantage(
    view: EpisodeDataset, scores: Scores, settings: LabelSettings, horizon: int, outcomes: Outcomes
) -> tuple[np.ndarray, np.ndarray]:
    """Returns and advantages of modes "n_step" and "full", float64 `[n]` each, value units."""
    about, column = scores.manifest["scores"], settings.reward_column
    if is_pairwise(scores):
        raise DatasetError(
            f"{scores.folder} holds scores of pairs of frames: they measure progress, not returns. Use "
            "--mode progress"
        )
    scale, (fail, fail_penalty) = episode_scales(view, settings.scale, about), settings.failure(about)
    rewards = value_rewards(
        view.lengths,
        outcomes.success,
        scale,
        fail=fail,
        fail_penalty=fail_penalty * _rate(view, about),
        rewards=None if column is None else number_column(view, column, "--reward-column"),
        v_min=about["v_min"],
    )
    returns = dataset_returns(rewards, view.lengths)
    if settings.mode == "full":
        return returns, advantages.full_episode(returns, scores.value)
    a_t = advantages.dataset_n_step(rewards, scores.value, view.lengths, horizon)
    if fail == "floor" and column is None:  # a column does not say what frames after the last would earn
        a_t -= time_after_failure(view.lengths, outcomes.success, scale, horizon)
    return returns, a_t


def episode_scales(view: EpisodeDataset, scale: str | float, about: dict | None = None) -> np.ndarray:
    """Frames that one value unit stands for, of each episode, float64 `[E]`.

    Args:
        view: the dataset.
        scale: "checkpoint" (steps of `about`, at the frame rate of its model), "task_max" (longest episode
            of the task here), "episode" (each one's own length) or a number of frames.
        about: manifest["scores"]. A model trained with scale "episode" has no scales, and needs none.

    Raises:
        DatasetError: a task that the model has no scale for.
    """
    tasks = [view.tasks[index] for index in view.episode_tasks]
    if scale == "checkpoint" and about is not None and about["scales"]:
        known = about["scales"]
        unknown = [number for number, task in enumerate(tasks) if task not in known]
        if unknown:
            task, episode = tasks[unknown[0]], view.episode_ids[unknown[0]]
            near = difflib.get_close_matches(task, known, n=1)
            hint = f"; the nearest it knows is {near[0]!r}" if near else ""
            raise DatasetError(
                f"{view.root}, episode {episode}: the model has no scale for the task {task!r}{hint}. Its "
                "values mean little there: leave these episodes out when scoring, or name a --scale"
            )
        return np.array([known[task] for task in tasks]) * _rate(view, about)
    if scale in ("episode", "checkpoint"):
        return np.maximum(view.lengths - 1, 1).astype(np.float64)
    if scale == "task_max":
        longest = task_scales(view.lengths, tasks)
        return np.array([longest[task] for task in tasks])
    return np.full(len(tasks), float(scale))


def _rate(view: EpisodeDataset, about: dict) -> float:
    """Frames here in one step of the model, by their frame rates; 1 where the model does not tell its own."""
    return view.fps / (about["fps"] or view.fps)


def _progress_source(scores: Scores, settings: LabelSettings) -> str:
    """What mode "progress" reads."""
    return settings.progress or ("absolute_value" if is_pairwise(scores) else "value")


def _is_difference_already(scores: Scores, settings: LabelSettings) -> bool:
    return settings.mode == "progress" and _progress_source(scores, settings) in (
        "relative",
        "absolute_advantage",
    )


def _progress_advantage(
    view: EpisodeDataset, scores: Scores, settings: LabelSettings, horizon: int
) -> np.ndarray:
    """Advantages of mode "progress", float64 `[n]`: of the scores, or of a column of the dataset."""
    source = _progress_source(scores, settings)
    pairs = ("relative", "absolute_value", "absolute_advantage")
    if source in pairs and source not in scores.columns:
        raise DatasetError(
            f"{scores.folder} has no {source}: its model reads single frames. Use --progress value"
        )
    if _is_difference_already(scores, settings):
        return scores.columns[source].astype(np.float64)
    if source == "value":
        progress = scores.value
    else:
        progress = scores.columns[source] if source in pairs else number_column(view, source, "--progress")
    return advantages.dataset_progress_difference(progress, view.lengths, horizon)


# -- groups ------------------------------------------------------------------------------------------------


def _thresholds_of(
    folder: Path, about: dict, weights: str | None, group: np.ndarray, names: list[str]
) -> tuple[dict[int, float], dict]:
    """The thresholds of another tag by group, and what the manifest says of them."""
    levels, fraction = thresholds_of(folder, about, weights, [names[code] for code in np.unique(group)])
    source = {"positive_fraction": fraction, "thresholds_of": tag_name(folder)}
    return {names.index(name): level for name, level in levels.items()}, source


def _stage(view: EpisodeDataset, settings: LabelSettings) -> np.ndarray | None:
    """int32 `[n]`, by a column of progress, or by the share of the episode that has passed, t / T."""
    if settings.stages is None:
        return None
    if settings.stage_column is not None:
        progress = number_column(view, settings.stage_column, "--stage-column")
    else:
        progress = view.frame_index / np.repeat(np.maximum(view.lengths - 1, 1), view.lengths)
    return advantages.stages(progress, settings.stages)


def _groups(
    view: EpisodeDataset, settings: LabelSettings, stage: np.ndarray | None
) -> tuple[np.ndarray, list[str]]:
    """The group of each frame, int64 `[n]`, and the groups' names: by the frame's own task and its stage."""
    if settings.scope == "task":
        names = list(dict.fromkeys(view.tasks))  # a text that is listed twice is one task
        group = np.array([names.index(task) for task in view.tasks])[view.task_index]
    else:
        names, group = ["all"], np.zeros(len(view.task_index), np.int64)
    if stage is None or settings.stages is None:
        return group, names
    names = [f"{name} (stage {number})" for name in names for number in range(settings.stages)]
    return group * settings.stages + stage, names
