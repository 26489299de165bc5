"""A table of frames, uploaded as CSV or Parquet, as columns for the metric.

Files come from strangers: they are measured before they are read, only the columns named here are read, and
every problem is a `TableProblem` with a sentence for the person who uploaded it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

MAX_ROWS = 500_000
MAX_BYTES = 1_000_000_000  # of a table once it is decompressed: 500 000 frames of 201 bins are 0.4 GB
MAX_BINS = 1001
# The metric's column, and the names that a file may have for it.
NAMES = {
    "predictions": ("value", "values", "prediction", "predictions"),
    "references": ("target", "targets", "reference", "references"),
    "probabilities": ("probabilities",),
    "episode_index": ("episode_index", "episode"),
    "frame_index": ("frame_index", "frame"),
    "success": ("success", "outcome"),
    "task": ("task",),
}
SHOWN = {"predictions": "value", "references": "target"}
TRUE, FALSE = {"true", "1", "1.0", "yes", "success"}, {"false", "0", "0.0", "no", "failure"}


class TableProblem(ValueError):
    """What is wrong with an uploaded file, in words for the person who uploaded it."""


def read_frames(path: str | Path) -> dict[str, np.ndarray | list]:
    """Columns of a .csv or .parquet file by the names of the metric: predictions, references and so on.

    Raises:
        TableProblem: not such a file, too large, a column that is missing or cannot be read.
    """
    path = Path(path)
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise TableProblem(f"“{path.name}” is neither a .csv nor a .parquet file.")
    unreadable = (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError)
    try:
        frame = readers[path.suffix.lower()](path)
    except (*unreadable, OSError):
        raise TableProblem(f"“{path.name}” cannot be read as a {path.suffix[1:]} file.") from None
    return _columns(frame)


def _read_csv(path: Path) -> pd.DataFrame:
    header = pd.read_csv(path, nrows=0).columns
    frame = pd.read_csv(path, usecols=[name for name in header if _is_wanted(name)], nrows=MAX_ROWS + 1)
    if len(frame) > MAX_ROWS:
        raise TableProblem(f"The file has more than {MAX_ROWS:,} rows, the limit of this page.")
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    with pq.ParquetFile(path) as file:
        about = file.metadata
        size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        if about.num_rows > MAX_ROWS or size > MAX_BYTES:
            raise TableProblem(
                f"The file has {about.num_rows:,} rows and {size / 1e6:,.0f} MB once decompressed; the "
                f"limits of this page are {MAX_ROWS:,} rows and {MAX_BYTES / 1e6:,.0f} MB."
            )
        return file.read(columns=[name for name in file.schema_arrow.names if _is_wanted(name)]).to_pandas()


def _is_wanted(name: str) -> bool:
    return any(name in names for names in NAMES.values()) or _bin_of(name) is not None


def _bin_of(name: str) -> int | None:
    """The bin of a column p_0, p_1, …; None for another column."""
    is_bin = name.startswith("p_") and name[2:].isdecimal() and len(name) < 7
    return int(name[2:]) if is_bin else None


def _columns(frame: pd.DataFrame) -> dict[str, np.ndarray | list]:
    columns = {}
    for column, names in NAMES.items():
        found = [name for name in names if name in frame]
        if len(found) > 1:
            raise TableProblem(
                f"The file has the columns {' and '.join(found)}; only one of them can be meant."
            )
        if found:
            columns[column] = frame[found[0]]
    bins = sorted((bin_, name) for name in frame if (bin_ := _bin_of(name)) is not None)
    if bins and "probabilities" not in columns:
        if [bin_ for bin_, _ in bins] != list(range(len(bins))):
            raise TableProblem("The columns p_0, p_1, … must have no gap.")
        columns["probabilities"] = frame[[name for _, name in bins]]
    _check_complete(columns, len(frame))
    readers = {"success": _outcomes, "task": _texts, "probabilities": _distributions}
    return {name: readers.get(name, _numbers)(SHOWN.get(name, name), of) for name, of in columns.items()}


def _check_complete(columns: dict, rows: int) -> None:
    for name in ("references", "episode_index", "frame_index"):
        if name not in columns:
            raise TableProblem(f"The file has no column “{SHOWN.get(name, name)}”.")
    if not {"predictions", "probabilities"} & set(columns):
        raise TableProblem("The file has neither a column “value” nor “probabilities” (or p_0, p_1, …).")
    if not rows:
        raise TableProblem("The file has no rows.")


def _numbers(name: str, column: pd.Series) -> np.ndarray:
    numbers = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    wrong = ~np.isfinite(numbers) | ((numbers != np.floor(numbers)) & name.endswith("_index"))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        kind = "a whole number" if name.endswith("_index") else "a number"
        seen = _short(column.iloc[row])
        raise TableProblem(f"“{name}” of row {row + 1} is “{seen}”, which is not {kind}.")
    return numbers.astype(np.int64) if name.endswith("_index") else numbers


def _outcomes(name: str, column: pd.Series) -> np.ndarray:
    texts = column.astype(str).str.strip().str.lower()
    known = texts.isin(TRUE | FALSE).to_numpy()
    if not known.all():
        row = int(np.flatnonzero(~known)[0])
        raise TableProblem(
            f"“{name}” of row {row + 1} is “{_short(column.iloc[row])}”; write true or false, 1 or 0, "
            "success or failure."
        )
    return texts.isin(TRUE).to_numpy()


def _texts(name: str, column: pd.Series) -> list[str]:
    if column.isna().any():
        row = int(np.flatnonzero(column.isna())[0])
        raise TableProblem(f"“{name}” of row {row + 1} is empty.")
    return column.astype(str).tolist()


def _distributions(name: str, column: pd.Series | pd.DataFrame) -> np.ndarray:
    try:
        rows = column if isinstance(column, pd.DataFrame) else np.stack(column.to_list())
        table = np.asarray(rows, dtype=np.float32)
    except (ValueError, TypeError):
        raise TableProblem(
            f"“{name}” must hold one list of numbers a row, all of the same length; in a CSV file write "
            "columns p_0, p_1, … instead."
        ) from None
    if table.ndim != 2 or not 2 <= table.shape[1] <= MAX_BINS:
        raise TableProblem(f"A distribution must have 2 to {MAX_BINS} bins.")
    return table


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"
