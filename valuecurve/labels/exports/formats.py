"""What each format makes of a label set: new columns, new tasks, further files.

    lerobot   advantage, value, indicator as features; the indicator in the task text of every frame
    kai0      relative_advantage, absolute_value, absolute_advantage; a task_index for every class of a task
    evo-rl    complementary_info.{value,advantage,acp_indicator}_<tag>
    rabc      sarm_progress.parquet: index, episode_index, frame_index, progress_sparse
    opentau   meta/advantages.json: "episode_index,timestamp" -> advantage above its threshold
    parquet   data/train-*.parquet: the labels alone, flat

Sources: LeRobot 0.6 (datasets/, rewards/sarm/rabc.py), OpenDriveLab/kai0 (stage_advantage/annotation),
MINT-SJTU/Evo-RL (scripts/lerobot_value_infer.py, rl/acp_hook.py), TensorAuto/OpenTau (datasets/utils.py,
policies/pi0).
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import)

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from valuecurve.advantages import dataset_progress_difference, indicator_text
from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError
from valuecurve.labels.exports.changes import Changes, Kept
from valuecurve.labels.label_set import LabelSet

DATASETS = ("lerobot", "kai0", "evo-rl")  # rewrite the tables
SIDECARS = ("rabc", "opentau")  # the dataset as it is, and one file more
FORMATS = (*DATASETS, *SIDECARS, "parquet")
TEMPLATES = {"lerobot": "default", "kai0": "kai0", "parquet": "default"}  # others write no text
CHUNK = 50  # frames that kai0 looks ahead, where the labels have no horizon
ROWS = 1_000_000  # rows of one file of the flat format


def changes_of(format: str, kept: Kept, labels: LabelSet, tag: str, template: str) -> Changes:
    """What a format changes in the tables; `labels` has every frame of the kept episodes."""
    if format == "lerobot":
        return lerobot(kept, labels, template)
    if format == "kai0":
        return kai0(kept, labels, template)
    return evo_rl(labels, tag) if format == "evo-rl" else Changes()


def write_sidecar(format: str, dataset: EpisodeDataset, labels: LabelSet, target: Path) -> Path:
    """Write the file of a format of SIDECARS below `target` and return it."""
    return write_rabc(labels, target) if format == "rabc" else write_opentau(dataset, labels, target)


# -- datasets ----------------------------------------------------------------------------------------------


def lerobot(kept: Kept, labels: LabelSet, template: str) -> Changes:
    """A negative and a positive task for each task: task_index = 2 * task + positive."""
    return Changes(
        columns={"advantage": labels.advantage, "value": labels.value, "indicator": labels.positive},
        task_index=2 * labels.task_index + labels.positive,
        tasks=[indicator_text(task, flag, template) for task in kept.dataset.tasks for flag in (False, True)],
    )


def kai0(kept: Kept, labels: LabelSet, template: str) -> Changes:
    """kai0's three columns, and its classes: negative and positive, or the slices of the label set.

    The n classes of task k are the tasks k * n … k * n + n - 1: 0 and 1 for the first task. A checkpoint that
    compares two frames predicts the three columns itself. For others they follow from the values as kai0
    defines them: the progress at a frame, and how far it is further on at the frame `horizon` later.
    """
    slices = labels.settings.get("slices") if labels.slice is not None else None
    names: list[bool | int] = list(range(slices)) if slices else [False, True]
    classes = labels.slice if slices and labels.slice is not None else labels.positive
    return Changes(
        columns=_kai0_columns(labels, kept.lengths),
        task_index=len(names) * labels.task_index + classes,
        tasks=[indicator_text(task, name, template) for task in kept.dataset.tasks for name in names],
    )


def _kai0_columns(labels: LabelSet, lengths: np.ndarray) -> dict[str, np.ndarray]:
    own = {"relative_advantage": "relative", "absolute_value": "absolute_value"}
    own["absolute_advantage"] = "absolute_advantage"
    if set(own.values()) <= set(labels.table.column_names):
        return {name: labels.table[column].to_numpy() for name, column in own.items()}
    horizon = labels.settings.get("horizon") or CHUNK
    difference = dataset_progress_difference(progress(labels), lengths, horizon).astype(np.float32)
    return {
        "relative_advantage": difference,
        "absolute_value": progress(labels),
        "absolute_advantage": np.clip(difference, -1, 1),
    }


def evo_rl(labels: LabelSet, tag: str) -> Changes:
    """Evo-RL's columns under a tag; its hook wants the indicator as the integers 0 and 1."""
    columns = {
        "value": labels.value,
        "advantage": labels.advantage,
        "acp_indicator": labels.positive.astype(np.int64),
    }
    return Changes({f"complementary_info.{name}_{tag}": values for name, values in columns.items()})


# -- sidecars ----------------------------------------------------------------------------------------------


def progress(labels: LabelSet) -> np.ndarray:
    """Progress of every labelled frame in [0, 1], float32 `[n]`: 1 is success.

    What a pairwise checkpoint predicted as `absolute_value`; for others the value, from v_min … v_max.
    """
    if "absolute_value" in labels.table.column_names:
        return labels.table["absolute_value"].to_numpy()
    scores = labels.manifest["scores"]
    low, high = scores["v_min"], scores["v_max"]
    return np.clip((labels.value - low) / (high - low), 0, 1).astype(np.float32)


def write_rabc(labels: LabelSet, target: Path) -> Path:
    """LeRobot's sidecar for reward-aligned behaviour cloning, where its training looks for it."""
    columns = {name: labels.table[name] for name in ("index", "episode_index", "frame_index")}
    table = pa.table({**columns, "progress_sparse": progress(labels)}).sort_by("index")
    model = str(labels.manifest["scores"]["model"])
    path = target / "sarm_progress.parquet"
    pq.write_table(table.replace_schema_metadata({"reward_model_path": model}), path)
    return path


def write_opentau(dataset: EpisodeDataset, labels: LabelSet, target: Path) -> Path:
    """OpenTau's advantages, for `advantage_threshold: 0`.

    Its reader looks up (episode_index, timestamp), the timestamp as the float that a float32 tensor holds,
    and takes the advantage, rounded to bfloat16, for positive when it is at least the one threshold of the
    configuration. So each number is the advantage minus the threshold of its frame's task and stage, which
    keeps its sign when rounded; frames that are positive without reaching the threshold are 0.
    """
    if "timestamp" not in dataset.frames.column_names:
        raise DatasetError(
            f"{dataset.root}: OpenTau finds advantages by timestamp, and there is no such column"
        )
    seconds = dataset.frames["timestamp"].to_numpy()[labels.rows].astype(np.float32).astype(np.float64)
    new = np.diff(labels.episode_index, prepend=-1) != 0
    if not (new | (np.diff(seconds, prepend=0) > 0)).all():
        raise DatasetError(
            f"{dataset.root}: timestamps do not grow within an episode, OpenTau cannot tell frames"
        )
    margin = above_threshold(labels)
    path = target / "meta/advantages.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, len(margin), ROWS):
            rows = slice(start, start + ROWS)
            texts = [
                pa.array(values[rows]).cast(pa.string()) for values in (labels.episode_index, seconds, margin)
            ]
            lines = pc.binary_join_element_wise('    "', texts[0], ",", texts[1], '": ', texts[2], "")
            file.write(("{\n" if start == 0 else ",\n") + ",\n".join(lines.to_pylist()))
        file.write("\n}\n")
    return path


def write_flat(dataset: EpisodeDataset, labels: LabelSet, template: str, target: Path) -> list[Path]:
    """The labels with task and prompt of every frame as texts, where `datasets.load_dataset` finds them."""
    count = len(labels.rows)
    parts = max(1, -(-count // ROWS))
    paths = []
    texts = [[indicator_text(task, flag, template) for flag in (False, True)] for task in dataset.tasks]
    tasks, prompts = pa.array(dataset.tasks, pa.string()), pa.array(sum(texts, []), pa.string())
    for part in range(parts):
        rows = slice(part * ROWS, min((part + 1) * ROWS, count))
        task = labels.task_index[rows]
        table = labels.table.slice(rows.start, rows.stop - rows.start).replace_schema_metadata(None)
        if "timestamp" in dataset.frames.column_names:
            table = table.add_column(3, "timestamp", dataset.frames["timestamp"].take(labels.rows[rows]))
        table = table.append_column("task", tasks.take(pa.array(task)))
        table = table.append_column("prompt", prompts.take(pa.array(2 * task + labels.positive[rows])))
        path = target / f"data/train-{part:05d}-of-{parts:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd")
        paths.append(path)
    return paths


def above_threshold(labels: LabelSet) -> np.ndarray:
    """Advantage minus the lowest one that made a frame of its group positive, `[n]`: >= 0 iff positive."""
    stage = labels.stage if labels.stage is not None else np.zeros(len(labels.rows), np.int64)
    task = labels.task_index if labels.settings["scope"] == "task" else 0
    group = task * (int(stage.max()) + 1) + stage
    advantage = labels.advantage.astype(np.float64)
    earned = labels.positive & np.logical_not(labels.intervention)
    threshold = np.full(int(group.max()) + 1, np.inf)
    np.minimum.at(threshold, group[earned], advantage[earned])
    highest = np.full(len(threshold), -np.inf)
    negative = np.logical_not(labels.positive)
    np.maximum.at(highest, group[negative], advantage[negative])
    threshold = np.where(np.isfinite(threshold), threshold, highest)
    margin = advantage - np.where(np.isfinite(threshold), threshold, 0.0)[group]
    return np.where(labels.positive, np.maximum(margin, 0.0), np.minimum(margin, -1e-6))
