"""The robot's state as a visitor sends it: a CSV or Parquet with a row a frame. In the decoding process "
"only."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from limits import Limits, VisitorError

STATE = "observation.state"
NOT_STATE = {"index", "frame", "frame_index", "episode_index", "task_index", "time", "timestamp", "seconds"}
MOST_COLUMNS = 256
HOW = "one row a frame, one column a joint"


def read_state(path: Path, limits: Limits) -> np.ndarray:
    """The state, float64 [rows, D]; columns that are named like a clock or a counter are left out.

    Raises:
        VisitorError: too large, not numbers, rows of different lengths.
    """
    size = path.stat().st_size
    if size > limits.state_mb * 1e6:
        raise VisitorError(
            f"{path.name} has {size / 1e6:.0f} MB, at most {limits.state_mb:.0f} MB are read: {HOW}."
        )
    if path.suffix.lower() == ".parquet":
        table = _from_parquet(path, limits)
    elif path.suffix.lower() == ".csv":
        table = _from_csv(path, limits)
    else:
        raise VisitorError(f"{path.name} is no state that can be read: give a CSV or a Parquet file, {HOW}.")
    wrong = np.argwhere(~np.isfinite(table))
    if len(wrong):
        raise VisitorError(
            f"{path.name}: row {wrong[0, 0] + 1}, column {wrong[0, 1] + 1} is not a finite number: fill it "
            "in."
        )
    return table


def _from_csv(path: Path, limits: Limits) -> np.ndarray:
    try:
        text = path.read_text(encoding="utf-8-sig")
        head = text[:4096]
        delimiter = max(",;\t", key=head.count)
        rows = []
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            if any(cell.strip() for cell in row):
                rows.append(row)
            if len(rows) > limits.frames + 1:
                raise VisitorError(f"{path.name} has more than {limits.frames:,.0f} rows: {HOW}.")
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise VisitorError(
            f"{path.name} is no CSV that can be read: save it as UTF-8 text, {HOW}."
        ) from error
    if not rows:
        raise VisitorError(f"{path.name} is empty: {HOW}.")
    header = None if _numbers(rows[0]) else rows.pop(0)
    width = len(header if header is not None else rows[0])
    names = header or [""] * width
    keep = [i for i, name in enumerate(names) if name.strip().lower() not in NOT_STATE]
    _check_width(path, len(keep))
    table = []
    for number, row in enumerate(rows, start=1 + (header is not None)):
        numbers = _numbers(row)
        if len(row) != width or numbers is None:
            raise VisitorError(
                f"{path.name}, line {number}: {len(row)} cells that should be {width} numbers: {HOW}."
            )
        table.append([numbers[i] for i in keep])
    if not table:
        raise VisitorError(f"{path.name} has a heading and no rows: {HOW}.")
    return np.array(table, np.float64)


def _numbers(row: list[str]) -> list[float] | None:
    """The cells as numbers; None when one is none (an empty cell is NaN)."""
    try:
        return [float(cell) if cell.strip() else math.nan for cell in row]
    except ValueError:
        return None


def _from_parquet(path: Path, limits: Limits) -> np.ndarray:
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > limits.frames:
                raise VisitorError(f"{path.name} has {file.metadata.num_rows:,} rows: {HOW}.")
            fields = [f for f in file.schema_arrow if f.name == STATE] or list(file.schema_arrow)
            names = [f.name for f in fields if f.name.lower() not in NOT_STATE and _is_numeric(f.type)]
            _check_width(path, len(names))
            table = file.read(columns=names)
            columns = [np.array(table[name].to_pylist(), np.float64) for name in names]
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        if isinstance(error, VisitorError):
            raise
        raise VisitorError(f"{path.name} is no Parquet file that can be read: {HOW}.") from error
    joined = np.column_stack([column.reshape(len(column), -1) for column in columns])
    _check_width(path, joined.shape[1])
    if not len(joined):
        raise VisitorError(f"{path.name} has no rows: {HOW}.")
    return joined


def _is_numeric(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) else kind
    return pa.types.is_integer(inner) or pa.types.is_floating(inner)


def _check_width(path: Path, columns: int) -> None:
    if not 1 <= columns <= MOST_COLUMNS:
        raise VisitorError(
            f"{path.name} has {columns} columns of numbers, it should have 1 to {MOST_COLUMNS}: {HOW}."
        )
