"""`valuecurve jobs`: what a job is given, and that one that died goes on from what it left on the Hub."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from tiny_models import make_checkpoint, write_recipe
from typer.testing import CliRunner, Result

from valuecurve.cli import app
from valuecurve.episodes import open_dataset
from valuecurve.hub.jobs import RECIPE
from valuecurve.scoring.checkpoint import load_checkpoint
from valuecurve.scoring.job import Settings
from valuecurve.scoring.run import score_dataset

TOKEN = "hf_ann_writes_0123456789abcdef"
MODEL, DATA, SCORES = "robots/value-tiny", "robots/tiny", "robots/tiny-scores"
LONG = 400  # seconds that a training or a scoring may take on a busy machine


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A recipe for a dataset of the Hub."""
    path = write_recipe(tmp_path / "recipe.yaml", Path(DATA), tmp_path / "unused", report_to="none")
    written = yaml.safe_load(path.read_text())
    del written["data"]["cache_dir"], written["training"]["output_dir"]
    path.write_text(yaml.safe_dump(written))
    return path


def jobs(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["jobs", *map(str, arguments)])


def test_a_dry_run_shows_the_job_and_asks_nobody(hub, recipe):
    hub.log.clear()
    result = jobs("train", recipe, "--repo", MODEL, "--training.max_steps", "7", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "uv run --with valuecurve==" in result.output and f"--repo {MODEL}" in result.output
    assert "max_steps: 7" in result.output and "secrets   HF_TOKEN (values are not shown)" in result.output
    assert list(hub.log) == [] and not hub.jobs


def test_a_job_gets_recipe_hardware_and_secrets_and_no_token_is_shown(hub, recipe, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "wandb-secret-value")
    options = ("--flavor", "l4x1", "--timeout", "90m", "--secret", "WANDB_API_KEY", "--namespace", "robots")
    source = "valuecurve @ git+https://example.org/valuecurve"
    result = jobs("train", recipe, "--repo", MODEL, *options, "--source", source, "--public")
    assert result.exit_code == 0, result.output
    assert TOKEN not in result.output and "wandb-secret-value" not in result.output
    (job,) = hub.jobs.values()
    assert job["owner"]["name"] == "robots" and job["flavor"] == "l4x1"
    assert job["command"][:4] == ["uv", "run", "--with", source] and "--public" in job["command"]
    assert yaml.safe_load(job["environment"][RECIPE])["data"]["dataset"] == DATA
    assert hub.job_secrets[job["id"]] == {"HF_TOKEN": TOKEN, "WANDB_API_KEY": "wandb-secret-value"}
    assert f"hf jobs logs --follow {job['id']}" in result.output


def test_a_scoring_is_the_same_command_with_its_options(hub):
    result = jobs("score", MODEL, f"{DATA}@main", "--tag", "v1", "--repo", SCORES, "--every", "2")
    assert result.exit_code == 0, result.output
    (job,) = hub.jobs.values()
    program = ["python", "-m", "valuecurve.hub.job", "score", "--repo", SCORES, "--tag", "v1"]
    assert job["command"][4:] == [*program, MODEL, f"{DATA}@main", "--every", "2"]


def test_what_a_job_cannot_do_is_said_here(hub, recipe, tiny_v30, monkeypatch):
    def refused(*arguments: object) -> str:
        result = jobs(*arguments)
        assert result.exit_code == 1 and result.stderr.startswith("error: "), result.output
        return result.stderr

    train = ("train", recipe, "--repo", MODEL)
    assert "no folders of this machine" in refused(*train, "--data.dataset", tiny_v30)
    assert "did you mean 'a10g-large'" in refused(*train, "--flavor", "a10-large")
    assert "--secret MISSING_KEY" in refused(*train, "--secret", "MISSING_KEY")
    assert "Did you mean" in refused(*train, "--training.max_step", "3")
    assert "no folders of this machine" in refused("score", tiny_v30, DATA, "--tag", "t", "--repo", SCORES)
    score = ("score", MODEL, DATA, "--tag", "t", "--repo", SCORES)
    assert "the absolute path" in refused(*score, "--outcome-file", tiny_v30 / "outcomes.csv")
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refused(*train)
    assert not hub.jobs


def start(arguments: list[str], environment: dict[str, str], folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "valuecurve.hub.job", *arguments, "--every", "0.5"]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def kill(process: subprocess.Popen) -> None:
    """A job's machine is gone: all of its processes at once."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(3 * LONG)
def test_a_training_that_died_goes_on_elsewhere_from_its_checkpoint(hub, api, recipe, tiny_v30, tmp_path):
    api.create_repo(DATA, repo_type="dataset")
    api.upload_folder(repo_id=DATA, repo_type="dataset", folder_path=tiny_v30)
    written = yaml.safe_load(recipe.read_text())

    def attempt(number: int, steps: int) -> tuple[subprocess.Popen, Path]:
        folder = tmp_path / f"machine-{number}"
        folder.mkdir()
        written["training"] |= {"max_steps": steps, "warmup_steps": 0, "lr_scheduler_type": "constant"}
        environment = hub.env(TOKEN, OMP_NUM_THREADS="1", **{RECIPE: yaml.safe_dump(written)})
        return start(["train", "--repo", MODEL], environment, folder), folder

    def checkpoints() -> list[int]:
        if not api.repo_exists(MODEL) or "checkpoints" not in {
            b.name for b in api.list_repo_refs(MODEL).branches
        }:
            return []
        names = hub.files("model", MODEL, "checkpoints")
        return sorted(
            {int(name.split("/")[0].split("-")[1]) for name in names if name.endswith("trainer_state.json")}
        )

    process, folder = attempt(1, steps=1_000_000)
    try:
        end = time.monotonic() + LONG
        while not checkpoints():
            assert process.poll() is None and time.monotonic() < end, (folder / "log.txt").read_text()[-3000:]
            time.sleep(0.2)
    finally:
        kill(process)
    seen: list[int] = []
    while seen != (seen := checkpoints()):  # the Hub may be at work on what it was sent last
        time.sleep(1)
    last = seen[-1]
    process, folder = attempt(2, steps=last + 2)
    try:
        status = process.wait(LONG)
    finally:
        kill(process)
    log = (folder / "log.txt").read_text()
    assert status == 0, log[-3000:]
    assert f"going on from run/checkpoint-{last}" in log
    history = json.loads((folder / "run" / "metrics.json").read_text())["history"]
    steps = [entry["step"] for entry in history if "loss" in entry]
    assert steps == list(range(1, last + 3))  # those of the first attempt are known too
    names = set(hub.files("model", MODEL))
    assert {"model.safetensors", "README.md", "recipe.yaml", "pipeline_value.py"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth"))]
    assert [branch.name for branch in api.list_repo_refs(MODEL).branches] == ["main"]
    assert api.model_info(MODEL).private
    assert TOKEN not in log


@pytest.mark.slow
@pytest.mark.timeout(3 * LONG)
def test_a_scoring_that_died_scores_only_what_is_left(hub, api, tiny_v30, tmp_path):
    make_checkpoint(tmp_path, tiny_v30)
    assert CliRunner().invoke(app, ["push", "model", str(tmp_path / "model"), MODEL]).exit_code == 0
    for repo, folder in ((DATA, tiny_v30), (SCORES, None)):
        api.create_repo(repo, repo_type="dataset")
        if folder:
            api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder)
    settings = Settings(part_frames=20, dtype="float32")
    whole = tmp_path / "whole" / "t"
    score_dataset(load_checkpoint(MODEL), open_dataset(DATA), "t", whole.parent, settings, threads=1)
    parts = sorted((whole / "scores").glob("*.parquet"))
    assert len(parts) > 2
    died = shutil.copytree(whole, tmp_path / "died")
    manifest = json.loads((died / "manifest.json").read_text())
    manifest["scores"]["complete"] = False
    (died / "manifest.json").write_text(json.dumps(manifest))
    (died / "scores" / parts[-1].name).unlink()
    api.upload_folder(repo_id=SCORES, repo_type="dataset", folder_path=died, path_in_repo="values/t")
    folder = tmp_path / "machine"
    folder.mkdir()
    options = ["--part-frames", "20", "--dtype", "float32", "--threads", "1"]
    arguments = ["score", "--repo", SCORES, "--tag", "t", MODEL, DATA, *options]
    process = start(arguments, hub.env(TOKEN, OMP_NUM_THREADS="1"), folder)
    try:
        status = process.wait(LONG)
    finally:
        kill(process)
    log = (folder / "log.txt").read_text()
    assert status == 0, log[-3000:]
    left = open_dataset(tiny_v30).lengths[-2:]
    assert any(f"{count} frames in" in log for count in (left[-1], left.sum()))
    files = hub.files("dataset", SCORES)
    for part in parts:
        assert files[f"values/t/scores/{part.name}"] == part.read_bytes()
    assert json.loads(files["values/t/manifest.json"])["scores"]["complete"]
    assert not [name for name in files if name.endswith(".lock")]
