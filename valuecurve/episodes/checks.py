"""What can be wrong with a dataset that could be read: errors (unusable) and warnings (worth knowing).

Each finding is one sentence that names file, episode and frame. Frames are never looped over in Python.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from valuecurve.episodes.dataset import EpisodeDataset

SHOWN = 20  # findings of one kind that are listed one by one


def find_errors(dataset: EpisodeDataset) -> list[str]:
    """Everything that makes the table unusable, the most basic first; empty when it is fine."""
    if dataset.frames.num_rows == 0:
        return [f"{dataset.root}: the data files hold no frame"]
    return [
        *_episode_errors(dataset),
        *_frame_index_errors(dataset),
        *_task_errors(dataset),
        *_state_errors(dataset),
    ]


def find_warnings(dataset: EpisodeDataset) -> list[str]:
    """What is usable and still deserves a look."""
    warnings = []
    for name, found in (
        ("total_episodes", dataset.episodes.num_rows),
        ("total_frames", dataset.frames.num_rows),
    ):
        declared = dataset.info.get(name)
        if declared is not None and declared != found:
            warnings.append(f"meta/info.json declares {name} = {declared}, found {found}")
    used = np.unique(dataset.task_index)
    unused = sorted(set(range(len(dataset.tasks))) - set(used.tolist()))
    warnings += _listed(
        [f"task {i} is used by no frame: {dataset.tasks[i]!r:.80}" for i in unused], "such tasks"
    )
    doubled = [task for task, count in Counter(dataset.tasks).items() if count > 1]
    warnings += [f"the task text {task!r:.80} is listed more than once" for task in doubled[:SHOWN]]
    single = dataset.episode_ids[dataset.lengths == 1].tolist()
    if single:
        warnings.append(f"episodes of one frame: {_numbers(single)}")
    return warnings + _timestamp_warnings(dataset)


def _episode_errors(dataset: EpisodeDataset) -> list[str]:
    """Frames of each episode in the data files against the episode table."""
    found, counts = np.unique(dataset.episode_index, return_counts=True)
    errors = []
    missing = np.setdiff1d(dataset.episode_ids, found)
    if len(missing):
        errors.append(
            f"{dataset.root}: no frames for episode {_numbers(missing.tolist())} of the episode table"
        )
    strange = np.setdiff1d(found, dataset.episode_ids)
    if len(strange):
        row = int(np.flatnonzero(np.isin(dataset.episode_index, strange))[0])
        errors.append(
            f"{dataset.where(row)}: episode {_numbers(strange.tolist())} is not in the episode table"
        )
    both, left, right = np.intersect1d(dataset.episode_ids, found, return_indices=True)
    wrong = np.flatnonzero(dataset.lengths[left] != counts[right])
    firsts = np.searchsorted(dataset.episode_index, both[wrong])
    return errors + _listed(
        [
            f"{dataset.data_files[dataset.file_of_row[row]]}: episode {both[i]} has {counts[right][i]} "
            f"frames, the episode table says {dataset.lengths[left][i]}"
            for i, row in zip(wrong, firsts, strict=True)
        ],
        "episodes of another length",
    )


def _frame_index_errors(dataset: EpisodeDataset) -> list[str]:
    """frame_index must be 0 ... L-1 in every episode: no frame twice, none missing."""
    episode, frame = dataset.episode_index, dataset.frame_index
    new = np.concatenate([[True], np.diff(episode) != 0])
    expected = np.where(new, 0, np.concatenate([[0], frame[:-1] + 1]))
    rows = np.flatnonzero(frame != expected)
    errors = []
    for row in rows[:SHOWN]:
        twice = not new[row] and frame[row] == frame[row - 1]
        what = "is there twice" if twice else f"comes where frame {expected[row]} should be"
        errors.append(f"{dataset.where(row)}: the frame {what}; frame_index must be 0 … length-1")
    return errors + _more(len(rows), "frames out of order")


def _task_errors(dataset: EpisodeDataset) -> list[str]:
    task = dataset.task_index
    rows = _first_of_episodes(dataset, np.logical_or(task < 0, task >= len(dataset.tasks)))
    return _listed(
        [
            f"{dataset.where(row)}: task_index {task[row]} is unknown, "
            f"meta/tasks lists 0 … {len(dataset.tasks) - 1}"
            for row in rows
        ],
        "episodes with unknown tasks",
    )


def _state_errors(dataset: EpisodeDataset) -> list[str]:
    if dataset.state_key is None:
        return []
    finite = np.isfinite(dataset.states)
    rows = _first_of_episodes(dataset, np.logical_not(finite.all(axis=1)))
    errors = []
    for row in rows:
        dimension = int(np.flatnonzero(~finite[row])[0])
        name = dataset.state_names[dimension]
        errors.append(
            f"{dataset.where(row)}: {dataset.state_key} is {dataset.states[row, dimension]} "
            f"in dimension {dimension} ({name}); repair or remove the episode"
        )
    return _listed(errors, "episodes with such states")


def _timestamp_warnings(dataset: EpisodeDataset) -> list[str]:
    """Frames are taken to be frame_index / fps seconds into the episode; a column that differs is shown."""
    if "timestamp" not in dataset.frames.column_names:
        return []
    kind = dataset.frames["timestamp"].type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return [f"timestamp holds {kind}, not numbers; frame_index / fps is used"]
    seconds = dataset.frames["timestamp"].to_numpy(zero_copy_only=False).astype(np.float64)
    rows = np.flatnonzero(~(np.abs(seconds - dataset.frame_index / dataset.fps) <= 0.5 / dataset.fps))
    if not len(rows):
        return []
    return [
        f"{dataset.where(rows[0])}: timestamp {seconds[rows[0]]:.4f} s is not frame_index / fps "
        f"({len(rows)} such frames); frame_index / fps is used"
    ]


def _first_of_episodes(dataset: EpisodeDataset, bad: np.ndarray) -> np.ndarray:
    """First bad row of every episode that has one."""
    rows = np.flatnonzero(bad)
    return rows[np.unique(dataset.episode_index[rows], return_index=True)[1]]


def _listed(findings: list[str], what: str) -> list[str]:
    return findings[:SHOWN] + _more(len(findings), what)


def _more(count: int, what: str) -> list[str]:
    return [f"… and {count - SHOWN} more {what}"] if count > SHOWN else []


def _numbers(numbers: list[int]) -> str:
    """1, 2, 3 … of many numbers."""
    text = ", ".join(map(str, numbers[:10]))
    return f"{text} and {len(numbers) - 10} more" if len(numbers) > 10 else text
