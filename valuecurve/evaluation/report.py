"""The table that ends a run, the JSON that programs read, and the folder of a whole report.

report.md  report.json  model-index.yaml  figures/*.png, *.svg  .eval_results/*.yaml (datasets of the Hub)
"""

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from ..episodes.layout import DatasetError
from .headline import HEADLINE
from .markdown import arrow, cell, is_known, number

if TYPE_CHECKING:
    from .evaluating import Evaluation

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
    "shuffled_images": "Images shuffled",
    "swapped_instruction": "Instruction swapped",
    "reversed_frames": "Frames reversed",
}
FORECASTS = {
    "model": "\nModel",
    "constant": "\nConstant",
    "elapsed_time": "Elapsed\ntime",
    "shuffled_images": "Images\nshuffled",
    "swapped_instruction": "Instr.\nswapped",
    "reversed_frames": "Frames\nreversed",
}
SHORT = {
    "nll": "NLL (loss)",
    "crps": "CRPS",
    "skill": "CRPS skill",
    "mae": "MAE",
    "rmse": "RMSE",
    "explained_variance": "Explained var.",
    "top1": "Top-1",
    "top5": "Top-5",
    "ece": "ECE",
    "voc_success": "VOC success",
    "voc_failure": "VOC failure",
    "kendall_tau_success": "τ success",
    "auroc_last_frame": "AUROC at end",
    "auroc_halfway": "AUROC halfway",
}
INDENT = 2  # of JSON


def table(rows: Mapping[str, Mapping[str, float]], title: str | None = None) -> Table:
    """Forecasts × metrics as a rich table: an arrow says which way is better, the best of a column is bold.

    Args:
        rows: metrics by forecast, as in `metrics.json`: {"model": {"nll": 3.1, …}, "constant": …}. Keys
            without metrics ("seconds") and metrics that are not shown are left out.
    """
    rows = {
        name: metrics for name, metrics in rows.items() if isinstance(metrics, Mapping) and "nll" in metrics
    }
    columns = [column for column in COLUMNS if any(is_known(m.get(column[0])) for m in rows.values())]
    result = Table(title=title, title_justify="left", title_style="bold")
    result.add_column("")
    for _, heading, direction, _ in columns:
        result.add_column(f"{heading} {arrow(direction)}", justify="right")
    for name, metrics in rows.items():
        cells = [_cell(metrics.get(key), rows, key, sign, decimals) for key, _, sign, decimals in columns]
        result.add_row(ROW_NAMES.get(name, name.replace("_", " ").capitalize()), *cells)
    return result


def _cell(value, rows, key: str, direction: int, decimals: int) -> Text:
    if not is_known(value):
        return Text("–", style="dim")
    best = max(direction * round(m[key], decimals) for m in rows.values() if is_known(m.get(key)))
    is_best = direction * round(value, decimals) == best
    return Text(f"{value:.{decimals}f}".replace("-", "−"), style="bold green" if is_best else "")


def write_json(path, data, digits: int = 6) -> Path:
    """Write `data` as JSON that any reader accepts, whole or not at all; returns the path.

    Numpy scalars and arrays, paths and tuples become plain JSON; floats keep `digits` significant digits;
    nan and ±inf, which JSON does not have, become null. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = to_json(data, digits)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def to_json(data: Any, digits: int = 6) -> str:
    """The same as a text."""
    return json.dumps(_plain(data, digits), indent=INDENT, ensure_ascii=False, allow_nan=False)


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


# -- a whole report ----------------------------------------------------------------------------------------


def report_table(report: Mapping[str, Any]) -> Table:
    """Metrics × forecasts of a report (`report_of`), with the interval of the model's number; 80 columns."""
    names = {name: words for name, words in FORECASTS.items() if name in report["metrics"]}
    result = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    result.add_column("")
    for name, words in names.items():
        result.add_column(words, justify="right", style="bold" if name == "model" else "", no_wrap=True)
        if name == "model":
            level = f"{report['confidence']['level']:.0%}\ninterval"
            result.add_column(level, justify="right", style="dim", no_wrap=True)
    for key, _, direction, decimals in HEADLINE:
        cells = [cell(report["metrics"][name].get(key), decimals) for name in names]
        low, high = report["intervals"]["model"].get(key) or (math.nan, math.nan)
        known = is_known(low) and is_known(high)
        interval = f"{number(low, decimals)}…{number(high, decimals)}" if known else ""
        result.add_row(f"{SHORT[key]} {arrow(direction)}".rstrip(), cells[0], interval, *cells[1:])
    return result


def write_report(
    found: "Evaluation", folder: str | Path, dataset_id: str | None = None
) -> tuple[dict, list[Path]]:
    """Write everything about an evaluation into a folder, in place of a report that is there.

    The folder is made beside its place and renamed when it is whole.

    Args:
        dataset_id: name of the dataset on the Hub, for the results on the model card.

    Returns:
        The report as plain data, and what people look at first: report.md, report.json.

    Raises:
        DatasetError: a folder that holds something else than a report, or that cannot be written.
    """
    from .eval_results import eval_result_entries, eval_results_yaml, model_index
    from .report_data import report_of
    from .report_figures import draw_figures
    from .report_text import markdown

    folder = Path(folder)
    check_report_folder(folder)
    report = report_of(found)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        drawn = draw_figures(found, temporary / "figures")
        report["figures"] = {
            name: {key: text if key == "caption" else f"figures/{text}" for key, text in figure.items()}
            for name, figure in drawn.items()
        }
        write_json(temporary / "report.json", report)
        (temporary / "report.md").write_text(markdown(report, report["figures"]), encoding="utf-8")
        index = model_index(report, dataset_id=dataset_id)
        (temporary / "model-index.yaml").write_text(index, encoding="utf-8")
        if entries := eval_result_entries(report, dataset_id):
            results = temporary / ".eval_results" / f"{entries[0].dataset_id.replace('/', '--')}.yaml"
            results.parent.mkdir()
            results.write_text(eval_results_yaml(entries), encoding="utf-8")
        _put_in_place(temporary, folder)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return report, [folder / "report.md", folder / "report.json"]


def check_report_folder(folder: Path) -> None:
    """Raises DatasetError when a report must not be written there: it replaces nothing but a report."""
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder} is a file: name a folder for the report with --output")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "report.json").is_file():
        raise DatasetError(f"{folder} holds something else than a report: name another folder with --output")
    place = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise DatasetError(f"{folder} cannot be made in {place}: name another folder with --output")


def _put_in_place(made: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.is_dir():
        folder.rename(old)
    made.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
