"""Value targets alone, from outcomes, as a sidecar: what a model of one's own may be trained on (seed 2)."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from valuecurve import __version__
from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError
from valuecurve.episodes.outcomes import resolve_outcomes
from valuecurve.labels.columns import number_column
from valuecurve.labels.settings import LabelSettings
from valuecurve.returns import dataset_targets
from valuecurve.scoring.scores import tag_folder, write_part

FILE = "targets.parquet"


def make_targets(
    dataset: EpisodeDataset, settings: LabelSettings, values: str | Path | None = None
) -> tuple[pa.Table, dict]:
    """Targets of all frames, as training makes them: v_t = clip(G_t / scale, -1, 0).

    Args:
        dataset: the dataset.
        settings: outcomes, rewards, what a failure costs, scale ("checkpoint", the default, stands for
            "task_max" here: there is no checkpoint).
        values: the folder of sidecars, where outcomes may lie.

    Returns:
        index, episode_index, frame_index, task_index, target (float32, value units) `[N]`; how it was made.

    Raises:
        DatasetError: no outcomes, a reward that is not there, a setting that only labels have.
    """
    if idle := settings.without_effect():
        raise DatasetError(
            f"{idle[0]} means nothing with --targets-only, which makes no labels: leave it out"
        )
    outcomes = resolve_outcomes(dataset, settings.outcome_column, settings.assume_outcome, values)
    tasks = [dataset.tasks[index] for index in dataset.episode_tasks]
    column = settings.reward_column
    fail, fail_penalty = settings.failure()
    targets, scales = dataset_targets(
        dataset.lengths,
        outcomes.success,
        tasks,
        scale="task_max" if settings.scale == "checkpoint" else settings.scale,
        fail=fail,
        fail_penalty=fail_penalty,
        rewards=None if column is None else number_column(dataset, column, "--reward-column"),
    )
    frames = dataset.frames
    has_index = "index" in frames.column_names
    table = pa.table(
        {
            "index": frames["index"] if has_index else pa.array(np.arange(len(targets))),
            "episode_index": dataset.episode_index,
            "frame_index": dataset.frame_index,
            "task_index": dataset.task_index,
            "target": targets,
        }
    )
    about = {
        "scales": scales,
        "fail": fail,
        "fail_penalty": fail_penalty,
        "reward_column": column,
        "outcomes": outcomes.source,
        "fingerprint": dataset.fingerprint,
        "versions": {"valuecurve": __version__},
    }
    return table, about


def write_targets(
    dataset: EpisodeDataset, tag: str, table: pa.Table, about: dict, values: str | Path | None = None
) -> Path:
    """Write V/T/targets.parquet; `about` is in its metadata, under "targets". Raises DatasetError."""
    path = tag_folder(dataset, tag, values) / FILE
    metadata = {"targets": json.dumps(about, sort_keys=True, ensure_ascii=False)}
    write_part(path, table.replace_schema_metadata(metadata))
    return path
