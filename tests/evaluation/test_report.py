"""The table of metrics and the JSON."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from valuecurve.evaluation import table, write_json

ROWS = {
    "model": {
        "nll": 3.0,
        "explained_variance": 0.7,
        "mae": 0.1,
        "auroc_last_frame": 0.97,
        "voc_success": 0.9,
    },
    "constant": {"nll": 5.0, "explained_variance": 0.0, "mae": 0.3, "auroc_last_frame": 0.5},
    "elapsed_time": {"nll": 4.2, "explained_variance": -0.2, "mae": 0.1001, "auroc_last_frame": float("nan")},
    "seconds": {"train": 200.0},
}


def render(what, **options):
    file = io.StringIO()
    Console(file=file, width=120, **options).print(what)
    return file.getvalue()


def test_table_shows_each_forecast_with_arrows():
    text = render(table(ROWS, title="Test split"))
    for words in ("NLL ↓", "AUROC ↑", "MAE ↓", "Elapsed time", "3.00", "−0.20", "0.97", "–"):
        assert words in text
    assert "nan" not in text and "train" not in text


def test_the_best_of_each_column_is_bold_and_equals_share_it():
    result = table(ROWS)
    cells = [list(column.cells) for column in result.columns[1:]]
    bold = [["bold" in str(getattr(cell, "style", "")) for cell in column] for column in cells]
    assert bold[0] == [True, False, False]
    assert bold[2] == [True, False, True]  # 0.1 and 0.1001 look alike


def test_json_has_no_nan_and_plain_types(tmp_path):
    data = {
        "a": np.float32(0.1),
        "b": float("nan"),
        "c": np.arange(2),
        "d": (1, np.bool_(True)),
        "e": tmp_path,
    }
    path = write_json(tmp_path / "new" / "metrics.json", data)
    read = json.loads(path.read_text())
    assert read == {"a": 0.1, "b": None, "c": [0, 1], "d": [1, True], "e": str(tmp_path)}
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = write_json(tmp_path / "metrics.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1} and len(list(tmp_path.iterdir())) == 1
