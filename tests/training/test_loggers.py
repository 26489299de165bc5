"""`training.report_to`: whole runs with a logger, into a folder and without a network."""

import importlib.util
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from test_run import call_main
from tiny_models import write_recipe

ROOT = Path(__file__).parents[2]


def run(recipe: Path, **environment) -> subprocess.CompletedProcess:
    """A program of its own: loggers write the last of their files when it ends."""
    command = [sys.executable, str(ROOT / "trainer" / "run.py"), "--config", str(recipe)]
    names = ("WANDB_API_KEY", "WANDB_PROJECT", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    kept |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)} | environment
    kept |= {f"WANDB_{kind}_DIR": str(recipe.parent / kind) for kind in ("CONFIG", "CACHE", "DATA")}
    return subprocess.run(command, capture_output=True, text=True, env=kept, cwd=recipe.parent, timeout=120)


@pytest.mark.slow
def test_a_run_is_logged_by_wandb(tiny_v30, tmp_path):
    pytest.importorskip("wandb")
    path = write_recipe(tmp_path / "run.yaml", tiny_v30, tmp_path / "run", max_steps=2, report_to="wandb")
    done = run(path, WANDB_MODE="offline", WANDB_DIR=str(tmp_path / "logs"))
    assert done.returncode == 0, done.stderr[-3000:]
    (log,) = (tmp_path / "logs").rglob("*.wandb")
    logged = log.read_bytes()
    for name in (b"train/loss", b"eval/loss", b"eval/mae"):
        assert name in logged, name


@pytest.mark.slow
def test_a_run_is_logged_by_trackio(tiny_v30, tmp_path):
    pytest.importorskip("trackio")
    options = {"max_steps": 2, "report_to": "trackio", "project": "tiny"}
    path = write_recipe(tmp_path / "run.yaml", tiny_v30, tmp_path / "run", **options)
    done = run(path, TRACKIO_DIR=str(tmp_path / "logs"))
    assert done.returncode == 0, done.stderr[-3000:]
    (log,) = (tmp_path / "logs").glob("tiny*.db")
    with sqlite3.connect(log) as database:
        logged = " ".join(str(row) for row in database.execute("SELECT metrics FROM metrics"))
    for name in ("train/loss", "eval/loss", "eval/mae"):
        assert name in logged, name


@pytest.mark.parametrize("name", ["wandbb", "clearml", "flyte"])
def test_a_logger_that_is_unknown_or_not_installed_is_one_clear_error(tiny_v30, tmp_path, capsys, name):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    path = write_recipe(tmp_path / "run.yaml", tiny_v30, tmp_path / "run", report_to=name)
    assert call_main("--config", path) == 1
    error = capsys.readouterr().err
    assert "error: section 'training': " in error and name in error.lower() and "Traceback" not in error
