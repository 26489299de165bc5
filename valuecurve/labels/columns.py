"""Columns of a dataset that labels are made with: numbers and flags, one per frame, none missing."""

import difflib

import numpy as np
import pyarrow as pa

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError


def number_column(dataset: EpisodeDataset, name: str, option: str) -> np.ndarray:
    """A column of finite numbers, float64 `[N]`. `option` is what named it, for messages."""
    column = _column(dataset, name, option)
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise DatasetError(f"{dataset.root}: {option} {name!r} must hold numbers, it holds {kind}")
    numbers = column.to_numpy().astype(np.float64)
    _check(dataset, name, np.isfinite(numbers), "empty or not a number")
    return numbers


def flag_column(dataset: EpisodeDataset, name: str, option: str) -> np.ndarray:
    """A column of true or false (or 1 and 0), bool `[N]`."""
    column = _column(dataset, name, option)
    kind = column.type
    if not (pa.types.is_boolean(kind) or pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise DatasetError(f"{dataset.root}: {option} {name!r} must hold true or false, it holds {kind}")
    numbers = column.cast(pa.float64()).to_numpy()
    _check(dataset, name, np.isin(numbers, (0.0, 1.0)), "neither true nor false")
    return numbers == 1.0


def _column(dataset: EpisodeDataset, name: str, option: str) -> pa.ChunkedArray:
    names = dataset.frames.column_names
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"columns: {', '.join(names)}"
        raise DatasetError(f"{dataset.root}: {option} names {name!r}, there is no such column; {hint}")
    return dataset.frames[name]


def _check(dataset: EpisodeDataset, name: str, fine: np.ndarray, what: str) -> None:
    wrong = np.flatnonzero(~fine)
    if len(wrong):
        row = int(wrong[0])
        cell = dataset.frames[name][row].as_py()
        raise DatasetError(
            f"{dataset.where(row)}: {name} is {cell}: {what} ({len(wrong)} such frames); fill it in"
        )
