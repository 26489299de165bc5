"""`training.report_to`: a real run with a logger, where it is installed, without a network."""

import pytest
from test_run import call_main
from tiny_models import write_recipe


def test_a_run_logs_to_wandb_offline(tiny_v30, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for key, value in {"MODE": "offline", "DIR": str(tmp_path), "SILENT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{key}", value)
    path = write_recipe(tmp_path / "run.yaml", tiny_v30, tmp_path / "run", max_steps=2, report_to="wandb")
    assert call_main("--config", path) == 0
    wandb.finish()  # as the end of a program does
    (log,) = tmp_path.rglob("*.wandb")
    assert log.stat().st_size > 1000
