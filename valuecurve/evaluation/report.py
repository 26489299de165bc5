"""The table that ends a run, and the JSON that programs read."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

# Metric key, heading, +1 if higher is better, decimals.
COLUMNS = (
    ("nll", "NLL", -1, 2),
    ("explained_variance", "Explained variance", +1, 2),
    ("mae", "MAE", -1, 3),
    ("auroc_last_frame", "AUROC", +1, 2),
    ("voc_success", "Order correlation", +1, 2),
)
ROW_NAMES = {
    "model": "Model",
    "constant": "Constant",
    "elapsed_time": "Elapsed time",
    "shuffled_images": "Model, images shuffled",
}


def table(rows: Mapping[str, Mapping[str, float]], title: str | None = None) -> Table:
    """Forecasts × metrics as a rich table: an arrow says which way is better, the best of a column is bold.

    Args:
        rows: metrics by forecast, as in `metrics.json`: {"model": {"nll": 3.1, …}, "constant": …}. Keys
            without metrics ("seconds") and metrics that are not shown are left out.
    """
    rows = {
        name: metrics for name, metrics in rows.items() if isinstance(metrics, Mapping) and "nll" in metrics
    }
    columns = [column for column in COLUMNS if any(_number(m.get(column[0])) for m in rows.values())]
    result = Table(title=title, title_justify="left", title_style="bold")
    result.add_column("")
    for _, heading, direction, _ in columns:
        result.add_column(f"{heading} {'↑' if direction > 0 else '↓'}", justify="right")
    for name, metrics in rows.items():
        cells = [_cell(metrics.get(key), rows, key, sign, decimals) for key, _, sign, decimals in columns]
        result.add_row(ROW_NAMES.get(name, name.replace("_", " ").capitalize()), *cells)
    return result


def _cell(value, rows, key: str, direction: int, decimals: int) -> Text:
    if not _number(value):
        return Text("–", style="dim")
    best = max(direction * round(m[key], decimals) for m in rows.values() if _number(m.get(key)))
    is_best = direction * round(value, decimals) == best
    return Text(f"{value:.{decimals}f}".replace("-", "−"), style="bold green" if is_best else "")


def _number(value) -> bool:
    return value is not None and math.isfinite(value)


def write_json(path, data, digits: int = 6) -> Path:
    """Write `data` as JSON that any reader accepts, whole or not at all; returns the path.

    Numpy scalars and arrays, paths and tuples become plain JSON; floats keep `digits` significant digits;
    nan and ±inf, which JSON does not have, become null. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(data, digits), indent=2, ensure_ascii=False, allow_nan=False)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _plain(data: Any, digits: int) -> Any:
    match data:
        case Mapping():
            return {str(key): _plain(value, digits) for key, value in data.items()}
        case list() | tuple():
            return [_plain(value, digits) for value in data]
        case np.ndarray() | np.generic():
            return _plain(data.tolist(), digits)
        case float():
            return float(f"{data:.{digits}g}") if math.isfinite(data) else None
        case Path():
            return str(data)
        case _:
            return data
