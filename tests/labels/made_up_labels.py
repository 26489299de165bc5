"""Labels without a model: values, advantages and indicators by a formula, written as the real ones."""

import numpy as np
import pyarrow as pa

from valuecurve.episodes import EpisodeDataset
from valuecurve.labels.label_set import LabelSet, write_labels
from valuecurve.scoring import tag_folder, write_manifest


def made_up_labels(
    dataset: EpisodeDataset,
    tag: str = "v1",
    values=None,
    episodes: list[int] | None = None,
    slices: int | None = None,
    pairwise: bool = False,
    interventions: bool = False,
    scope: str = "task",
) -> LabelSet:
    """About a third of the frames of every task positive; with `interventions`, also frame 1 of episodes."""
    rows = dataset.episode_rows(episodes)
    random = np.random.default_rng(7)
    task, frame = dataset.task_index[rows], dataset.frame_index[rows]
    value = (-random.random(len(rows))).astype(np.float32)
    advantage = (random.normal(size=len(rows)) / 10 + task).astype(np.float32)
    groups = task if scope == "task" else np.zeros_like(task)
    thresholds = {int(g): float(np.quantile(advantage[groups == g], 0.7)) for g in np.unique(groups)}
    intervention = (frame == 1) & interventions
    level = np.array([thresholds[int(g)] for g in groups])
    columns = {
        "index": dataset.frames["index"].to_numpy()[rows],
        "episode_index": dataset.episode_index[rows],
        "frame_index": frame,
        "task_index": task,
        "value": value,
        "value_std": np.full(len(rows), 0.1, np.float32),
        "return": np.full(len(rows), -0.5, np.float32),
        "advantage": advantage,
        "positive": (advantage >= level) | intervention,
        "intervention": intervention,
    }
    if slices:
        columns["slice"] = random.integers(0, slices, len(rows)).astype(np.int32)
    if pairwise:
        for name in ("relative", "absolute_value", "absolute_advantage"):
            columns[name] = random.random(len(rows)).astype(np.float32)
    scores = {
        "model": "made/up",
        "v_min": -1.0,
        "v_max": 0.0,
        "fps": dataset.fps,
        "episodes": "all" if episodes is None else episodes,
        "complete": True,
        "parts": 1,
        "columns": ["index", "episode_index", "frame_index", "value", "value_std"],
        "failed_episodes": {},
        "scales": {},
    }
    about = {"key": dataset.key, "fingerprint": dataset.fingerprint}
    about |= {"frames": dataset.frames.num_rows, "episodes": len(dataset.episode_ids)}
    manifest = {"format": 1, "dataset": about, "scores": scores}
    write_manifest(tag_folder(dataset, tag, values), manifest)
    settings = {"mode": "n_step", "horizon": 3, "positive_fraction": 0.3, "scope": scope, "slices": slices}
    return write_labels(dataset, tag, pa.table(columns), settings, values)
