"""Scores of a made-up model for a dataset, written as the scoring room writes them (no model is run)."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.scoring.scores import FORMAT, part_path, tag_folder, write_manifest, write_part


def write_scores(
    dataset: EpisodeDataset,
    tag: str,
    value: np.ndarray,
    columns: dict[str, np.ndarray] | None = None,
    values: str | Path | None = None,
    episodes: list[int] | None = None,
    **scores,
) -> Path:
    """Scores of some episodes (all when None); `value` and `columns` are `[n]`. Returns the tag's folder."""
    folder, rows = tag_folder(dataset, tag, values), dataset.episode_rows(episodes)
    columns = {"value": value, "value_std": np.full(len(rows), 0.1), **(columns or {})}
    table = {
        name: dataset.frames[name].take(pa.array(rows)) for name in ("index", "episode_index", "frame_index")
    }
    table |= {name: pa.array(np.asarray(array, np.float32)) for name, array in columns.items()}
    half = len(rows) // 2
    write_part(part_path(folder, 0), pa.table(table).slice(0, half))
    write_part(part_path(folder, 1), pa.table(table).slice(half))
    longest = {task: 1 for task in dataset.tasks}
    for index, length in zip(dataset.episode_tasks.tolist(), dataset.lengths.tolist(), strict=True):
        longest[dataset.tasks[index]] = max(longest[dataset.tasks[index]], length - 1)
    made_of = {
        "key": dataset.key,
        "fingerprint": dataset.fingerprint,
        "frames": dataset.frames.num_rows,
        "episodes": len(dataset.episode_ids),
    }
    about = {
        "model": "tiny",
        "revision": None,
        "weights": "0" * 64,
        "fps": dataset.fps,
        "scales": {task: float(steps) for task, steps in longest.items()},
        "v_min": -1.0,
        "v_max": 0.0,
        "num_bins": 201,
        "every": 1,
        "columns": list(table),
        "quantile_levels": None,
        "episodes": "all" if episodes is None else sorted(episodes),
        "failed_episodes": {},
        "complete": True,
        "parts": 2,
        "versions": {},
    }
    write_manifest(folder, {"format": FORMAT, "dataset": made_of, "scores": {**about, **scores}})
    return folder


def noisy_values(dataset: EpisodeDataset, success: np.ndarray, seed: int = 0) -> np.ndarray:
    """Values that rise to 0 in successes and fall to -1 in failures, with noise: float32 `[N]`."""
    generator = np.random.default_rng(seed)
    lengths = dataset.lengths
    left = np.repeat(lengths, lengths) - 1 - dataset.frame_index
    longest = np.repeat(np.maximum(lengths - 1, 1), lengths)
    good = -left / longest
    bad = -0.4 - 0.6 * dataset.frame_index / longest
    value = np.where(np.repeat(success, lengths), good, bad) + generator.normal(0, 0.05, len(left))
    return np.clip(value, -1, 0).astype(np.float32)
