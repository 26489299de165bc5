"""Outcomes: which episodes succeeded, and where that was read.

First that exists: the column the user named; the sidecar `values/outcomes.parquet` (outcome_file.py); per
frame `next.success` (any true), `is_success`; per episode `success`, `episode_success`; the sign of the last
`next.reward` / `reward`. Nothing becomes a success or a failure silently: unknown words, empty cells and NaN
are errors that name the episodes, and what looks odd is told in `warnings`.
"""

import difflib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError
from valuecurve.episodes.outcome_file import (
    FAILURE_WORDS,
    SUCCESS_WORDS,
    outcome_file,
    read_outcomes,
)

FRAME_COLUMNS = ("next.success", "is_success")
EPISODE_COLUMNS = ("success", "episode_success")
REWARD_COLUMNS = ("next.reward", "reward")
NAME_IT = "--outcome-column; training: --data.outcome_column"
ASSUME_IT = "--assume-outcome success; training: --data.assume_outcome success"
ASSUMED = ("success", "failure")


@dataclass
class Outcomes:
    """`success` is bool [E] in the order of `dataset.episodes`; `source` says where it was read.

    `warnings` say why these may not be the outcomes that were meant: all are equal; dense rewards.
    """

    success: np.ndarray
    source: str
    warnings: list[str] = field(default_factory=list)


def resolve_outcomes(
    dataset: EpisodeDataset,
    column: str | None = None,
    assume: str | None = None,
    values: str | Path | None = None,
) -> Outcomes:
    """Outcome of every episode.

    Args:
        dataset: an open dataset.
        column: a column of the frames or of the episodes to read instead of anything else.
        assume: "success" or "failure": what to take for episodes that have no outcome.
        values: the folder of sidecars, where `outcomes.parquet` may lie; DATASET/values when None.

    Raises:
        DatasetError: no outcome column, or cells that are empty, NaN or no outcome; names the episodes.
    """
    check_assumed(assume)
    if column is None and (beside := read_outcomes(dataset, values)) is not None:
        where = outcome_file(dataset, values)
        source = f"{where.parent.name}/{where.name}"
        return Outcomes(beside, source, _all_equal(dataset, beside, source))
    found = _source(dataset, column)
    if found is None:
        if assume is None:
            raise _no_outcome(dataset)
        return Outcomes(np.full(len(dataset.episode_ids), assume == "success"), "assumed")
    name, per_frame = found
    if not per_frame:
        outcome, source = _codes(dataset, dataset.episodes[name], name, False), f"{name} (episode metadata)"
    elif name.split(".")[-1] in REWARD_COLUMNS:
        outcome, source = _last_reward(dataset, name), f"{name} (last frame > 0)"
    else:
        outcome, source = _any_true(dataset, name), f"{name} (any frame)"
    outcomes = _complete(dataset, outcome, source, name, assume)
    unnamed_reward = column is None and name in REWARD_COLUMNS
    dense = _dense(dataset, name, source) if unnamed_reward else []
    outcomes.warnings = dense or _all_equal(dataset, outcomes.success, source)
    return outcomes


def check_assumed(assume: str | None) -> None:
    """Raises DatasetError when `assume`, which every command calls --assume-outcome, is no outcome."""
    if assume is not None and assume not in ASSUMED:
        near = difflib.get_close_matches(assume, ASSUMED, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DatasetError(f"--assume-outcome must be success or failure, got {assume!r}{hint}")


def _all_equal(dataset: EpisodeDataset, success: np.ndarray, source: str) -> list[str]:
    """A warning where nothing can be learnt about failing, or about succeeding."""
    if len(success) < 2 or success.any() != success.all():
        return []
    what = "successes" if success.all() else "failures"
    return [
        f"{dataset.root}: all {len(success)} episodes are {what}, read from {source}. If they are not, name "
        f"the column that tells them apart ({NAME_IT}), or give outcomes of your own: valuecurve "
        "relabel-outcomes"
    ]


def _dense(dataset: EpisodeDataset, name: str, source: str) -> list[str]:
    """A warning where the rewards before the last frames vary: their sign there may not be the outcome."""
    rewards = dataset.frames[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    before = np.delete(rewards, dataset.starts + dataset.lengths - 1)
    if len(before) == 0 or not np.nanmin(before) < np.nanmax(before):
        return []
    good = int((rewards[dataset.starts + dataset.lengths - 1] > 0).sum())
    return [
        f"{dataset.root}: outcomes are read from {source}, but {name} is a dense reward: before the last "
        f"frames it varies from {np.nanmin(before):g} to {np.nanmax(before):g}. So {good} of "
        f"{len(dataset.lengths)} episodes count as successes. Name the outcome column ({NAME_IT}), or give "
        "outcomes of your own: valuecurve relabel-outcomes"
    ]


def _source(dataset: EpisodeDataset, column: str | None) -> tuple[str, bool] | None:
    """(column, whether it is per frame) of the first source that exists."""
    frames, episodes = dataset.frames.column_names, dataset.episodes.column_names
    if column is not None:
        if column in frames or column in episodes:
            return column, column in frames
        near = difflib.get_close_matches(column, [*frames, *episodes], n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"columns: {', '.join(frames)}"
        raise DatasetError(f"{dataset.root}: there is no outcome column {column!r}; {hint}")
    ordered = (
        *((name, True) for name in FRAME_COLUMNS if name in frames),
        *((name, False) for name in EPISODE_COLUMNS if name in episodes),
        *((name, True) for name in REWARD_COLUMNS if name in frames),
    )
    return next(iter(ordered), None)


# Outcome codes: 1 success, 0 failure.
EMPTY = -1  # null or NaN
UNKNOWN = -2  # a cell that says nothing known


def _any_true(dataset: EpisodeDataset, name: str) -> np.ndarray:
    """Success where any frame is true; empty where no frame is filled in; partly empty is an error."""
    codes = _codes(dataset, dataset.frames[name], name, True)
    filled = np.add.reduceat((codes >= 0).astype(np.int64), dataset.starts)
    partly = (filled > 0) & (filled < dataset.lengths)
    if partly.any():
        row = int(np.flatnonzero((codes < 0) & np.repeat(partly, dataset.lengths))[0])
        raise DatasetError(
            f"{dataset.where(row)}: {name} is empty, {_episodes(dataset, partly)} are only partly filled in"
        )
    return np.maximum.reduceat(codes, dataset.starts)


def _last_reward(dataset: EpisodeDataset, name: str) -> np.ndarray:
    column = dataset.frames[name]
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise DatasetError(f"{dataset.root}: {name} must hold numbers, got {column.type}")
    last = column.cast(pa.float64()).to_numpy(zero_copy_only=False)[dataset.starts + dataset.lengths - 1]
    return np.where(np.isnan(last), EMPTY, (last > 0).astype(np.int64))


def _codes(dataset: EpisodeDataset, column: pa.ChunkedArray, name: str, per_frame: bool) -> np.ndarray:
    """Codes of all cells; only the distinct cells are looked at one by one."""
    if pa.types.is_nested(column.type):
        raise DatasetError(f"{dataset.root}: {name} holds {column.type}, expected one outcome per row")
    parts, unknown = [], []
    for chunk in column.dictionary_encode("encode").chunks:
        values = chunk.dictionary.to_pylist()  # type: ignore[attr-defined]
        table = [_code(value) for value in values]
        unknown += [value for value, code in zip(values, table, strict=True) if code == UNKNOWN]
        parts.append(np.array(table, np.int64)[chunk.indices.to_numpy(zero_copy_only=False)])
    codes = np.concatenate(parts)
    if unknown:
        bad = codes == UNKNOWN
        bad = np.logical_or.reduceat(bad, dataset.starts) if per_frame else bad
        raise DatasetError(
            f"{dataset.root}: {name} is {', '.join(map(repr, dict.fromkeys(unknown)))[:200]} in "
            f"{_episodes(dataset, bad)}; expected true/false, 1/0, success/failure"
        )
    return codes


def _code(value: object) -> int:
    """The code of one cell."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return EMPTY
    if isinstance(value, bool | int | float):
        return int(value) if value in (0, 1) else UNKNOWN
    word = str(value).strip().lower()
    return 1 if word in SUCCESS_WORDS else 0 if word in FAILURE_WORDS else UNKNOWN


def _complete(
    dataset: EpisodeDataset, outcome: np.ndarray, source: str, name: str, assume: str | None
) -> Outcomes:
    empty = outcome < 0
    if empty.any() and assume is None:
        raise DatasetError(
            f"{dataset.root}: {name} is empty (null or NaN) in {_episodes(dataset, empty)}; fill it in, name "
            f"another column ({NAME_IT}), or state what to assume ({ASSUME_IT})"
        )
    if empty.any():
        source += f"; {int(empty.sum())} episodes assumed {assume}"
    return Outcomes(np.where(empty, assume == "success", outcome > 0), source)


def _no_outcome(dataset: EpisodeDataset) -> DatasetError:
    looked = ", ".join((*FRAME_COLUMNS, *EPISODE_COLUMNS, *REWARD_COLUMNS))
    everything = np.ones(len(dataset.episode_ids), bool)
    return DatasetError(
        f"{dataset.root}: no outcome for {_episodes(dataset, everything)}: none of {looked} exists. Name "
        f"the column that holds it ({NAME_IT}), give outcomes of your own "
        f"(valuecurve relabel-outcomes), or state what to assume ({ASSUME_IT})"
    )


def _episodes(dataset: EpisodeDataset, mask: np.ndarray) -> str:
    ids = dataset.episode_ids[mask].tolist()
    text = ", ".join(map(str, ids[:10])) + (f" … ({len(ids)} in all)" if len(ids) > 10 else "")
    return f"episode{'s' if len(ids) > 1 else ''} {text}"
