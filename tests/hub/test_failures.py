"""What can go wrong between this machine and the Hub, by the commands that people type.

A failure is one line that says what was seen and what to do, exit status 1; the same command run again
completes, and nothing is duplicated.
"""

import io
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub.utils import _http
from PIL import Image

MODEL, DATA = "robots/value", "robots/push"
BOB = "hf_bob_writes_0123456789abcdef"


@pytest.fixture
def impatient(monkeypatch):
    """The clients try again at once."""
    monkeypatch.setattr(_http, "time", SimpleNamespace(**vars(time) | {"sleep": lambda seconds: None}))


@pytest.fixture
def refused(valuecurve):
    """refused(*command): the one line of a command that fails."""

    def run(*command: object) -> str:
        output = valuecurve(*command, status=1)
        (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in output
        return line

    return run


@pytest.fixture
def pushes(life):
    """The commands that push, by kind."""
    return {
        "model": ("push", "model", life.run, MODEL),
        "dataset": ("push", "dataset", life.labelled, DATA),
        "labels": ("push", "dataset", life.dataset, DATA, "--tag", "v1"),
    }


PUSHES = ["model", "dataset", "labels"]


def repository(hub, push: str):
    return hub.store.find("model", MODEL) if push == "model" else hub.store.find("dataset", DATA)


def commits(hub, push: str) -> list[str]:
    """Titles of the commits after the first, newest first."""
    return [commit.title for commit in repository(hub, push).history("main")][:-1]


def picture(path: Path) -> Path:
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("push", PUSHES)
def test_a_wrong_token_is_one_line_that_does_not_repeat_it(hub, pushes, refused, monkeypatch, push):
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrongwrongwrongwrong")
    line = refused(*pushes[push])
    assert "token" in line and "hf auth login" in line and "hf_wrong" not in line
    assert hub.store.repositories == {}


@pytest.mark.parametrize("push", PUSHES)
def test_without_a_token_the_line_says_how_to_log_in(hub, pushes, refused, monkeypatch, push):
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refused(*pushes[push])
    assert hub.store.repositories == {}


def test_a_token_that_only_reads_is_told(hub, pushes, refused, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_ann_reads_0123456789abcdef")
    assert "write" in refused(*pushes["model"])


def test_a_name_that_somebody_else_has_is_refused(hub, api, pushes, refused, monkeypatch):
    api.create_repo(MODEL)
    monkeypatch.setenv("HF_TOKEN", BOB)
    line = refused(*pushes["model"])
    assert MODEL in line and "may not write" in line
    assert hub.history("model", MODEL) == ["initial commit"]


def test_a_repository_of_ones_own_is_pushed_to_although_the_name_is_taken(hub, api, pushes, valuecurve):
    api.create_repo(MODEL)
    api.upload_file(repo_id=MODEL, path_in_repo="notes.txt", path_or_fileobj=b"mine")
    valuecurve(*pushes["model"])
    assert hub.files("model", MODEL)["notes.txt"] == b"mine" and len(commits(hub, "model")) == 2


def test_a_name_that_is_none_is_refused(hub, life, refused):
    assert "owner/name" in refused("push", "model", life.run, "no good name/at all")


@pytest.mark.parametrize("push", PUSHES)
def test_a_connection_that_breaks_in_an_upload_is_no_matter(hub, pushes, valuecurve, impatient, push):
    fault = hub.faults.cut_upload(after=2000)
    valuecurve(*pushes[push])
    assert fault.struck == 1 and len(commits(hub, push)) == 1
    assert list(hub.store.incoming.iterdir()) == []


@pytest.mark.parametrize("push", PUSHES)
def test_a_connection_that_stays_broken_is_told_and_the_next_run_completes(
    hub, pushes, refused, valuecurve, impatient, push
):
    command = (*pushes[push], "--max-shard-size", "100KB") if push == "model" else pushes[push]
    hub.faults.cut_upload(after=2000, times=1000, nth=2)
    line = refused(*command)
    assert "connection" in line and "again" in line
    assert commits(hub, push) == []
    arrived = set(repository(hub, push).lfs)
    hub.faults.clear()
    hub.log.clear()
    valuecurve(*command)
    large = {file.sha256 for file in repository(hub, push).commit_of("main").files.values() if file.lfs}
    assert len(commits(hub, push)) == 1 and arrived and arrived <= large == set(repository(hub, push).lfs)
    sent = [item for item in hub.log if item.method == "PUT"]
    assert len(sent) == len(large) - len(arrived)  # what had arrived was not sent again


@pytest.mark.parametrize("push", PUSHES)
def test_a_commit_that_is_cut_is_told_and_the_next_run_makes_it_once(hub, pushes, refused, valuecurve, push):
    hub.faults.cut_upload("/commit/", after=100)
    assert "again" in refused(*pushes[push])
    assert commits(hub, push) == []
    valuecurve(*pushes[push])
    assert len(commits(hub, push)) == 1


@pytest.mark.parametrize("push", PUSHES)
def test_a_commit_whose_answer_is_lost_is_not_made_twice(hub, pushes, refused, valuecurve, push):
    hub.faults.lose_answer("/commit/")
    refused(*pushes[push])
    output = valuecurve(*pushes[push])
    assert len(commits(hub, push)) == 1 and "nothing has changed" in output


@pytest.mark.slow
def test_a_push_that_is_killed_is_completed_by_the_next_run(hub, hub_env, pushes, valuecurve):
    hub.faults.slow = 0.5  # each request, so that the kill meets it on its way
    command = [sys.executable, "-m", "valuecurve.cli", *map(str, pushes["model"])]
    process = subprocess.Popen(command, env=hub_env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            if any(item.path.startswith("/lfs/") for item in hub.log) or process.poll() is not None:
                break
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait(timeout=60)
    assert commits(hub, "model") == []
    hub.faults.clear()
    valuecurve(*pushes["model"])
    assert len(commits(hub, "model")) == 1
    assert "model.safetensors" in hub.files("model", MODEL)


@pytest.mark.parametrize("push", PUSHES)
def test_a_full_disk_of_the_hub_is_told(hub, pushes, refused, push):
    hub.faults.full_disk = True
    line = refused(*pushes[push])
    assert "no room" in line and "No space left on the Hub's disk" in line


@pytest.mark.parametrize("push", PUSHES)
def test_pushing_while_offline_is_refused_with_the_reason(hub, pushes, refused, monkeypatch, push):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused(*pushes[push])
    assert hub.log == []


def test_a_hub_that_is_not_there_is_told(hub, pushes, refused, impatient):
    hub.stop()
    line = refused(*pushes["model"])
    assert hub.url in line and "connection" in line


def test_a_missing_model_is_told(hub, life, refused, tmp_path):
    line = refused("score", "robots/nothing", life.dataset, "--tag", "x", "--values", tmp_path)
    assert "robots/nothing" in line
    assert "robots/nothing" in refused("ask", "robots/nothing", picture(tmp_path / "a.png"), "open?")


def test_a_gated_model_names_the_page_of_its_licence(
    hub, pushes, life, refused, valuecurve, tmp_path, monkeypatch
):
    valuecurve(*pushes["model"])
    hub.gate("model", MODEL)
    monkeypatch.setenv("HF_TOKEN", BOB)
    page, score = f"{hub.url}/{MODEL}", ("score", MODEL, life.dataset, "--tag", "x", "--values", tmp_path)
    assert page in refused(*score)
    assert page in refused("draw", MODEL, "--output", tmp_path / "a.svg")
    hub.accept("model", MODEL, "bob")
    valuecurve(*score)


@pytest.mark.parametrize("private", [False, True])
def test_a_missing_dataset_and_one_that_is_private_are_told_alike(
    hub, pushes, refused, valuecurve, monkeypatch, private
):
    if private:
        valuecurve(*pushes["dataset"], "--private")
        monkeypatch.setenv("HF_TOKEN", BOB)
    line = refused("label", DATA, "--tag", "x")
    assert DATA in line and "log in" in line


def test_a_gated_dataset_names_the_page_of_its_licence(hub, pushes, refused, valuecurve, monkeypatch):
    valuecurve(*pushes["dataset"])
    hub.gate("dataset", DATA)
    monkeypatch.setenv("HF_TOKEN", BOB)
    assert f"{hub.url}/datasets/{DATA}" in refused("label", DATA, "--tag", "x")


def test_a_revision_that_does_not_exist_is_named(hub, pushes, life, refused, valuecurve, tmp_path):
    valuecurve(*pushes["dataset"])
    valuecurve(*pushes["model"])
    assert "v9" in refused("label", f"{DATA}@v9", "--tag", "x")
    score = ("score", MODEL, life.dataset, "--tag", "x", "--values", tmp_path)
    assert "v9" in refused(*score, "--revision", "v9")


def test_a_download_that_breaks_is_told_and_the_next_run_goes_on(
    hub, life, refused, valuecurve, impatient, tmp_path
):
    valuecurve("push", "dataset", life.dataset, DATA)
    score = ("score", life.run / "model", DATA, "--tag", "x", "--values", tmp_path)
    hub.faults.cut_download(r"/resolve/.*\.mp4", after=100, times=1000)
    refused(*score)
    hub.faults.clear()
    valuecurve(*score)


def test_offline_everything_that_was_fetched_once_still_works(
    hub, pushes, life, refused, valuecurve, monkeypatch, tmp_path
):
    valuecurve(*pushes["model"])
    valuecurve("push", "dataset", life.dataset, DATA)
    score = ("score", MODEL, DATA, "--values", tmp_path)
    valuecurve(*score, "--tag", "online")
    hub.log.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    valuecurve(*score, "--tag", "offline")
    assert hub.log == []
    parts = [(tmp_path / tag / "scores" / "part-00000.parquet").read_bytes() for tag in ("online", "offline")]
    assert parts[0] == parts[1]
    assert "robots/other" in refused("label", "robots/other", "--tag", "x")


def test_the_parquet_files_of_the_labels_are_whole(hub, pushes, valuecurve):
    import pyarrow.parquet

    valuecurve(*pushes["labels"])
    files = {
        path: content for path, content in hub.files("dataset", DATA).items() if path.endswith(".parquet")
    }
    assert files
    for content in files.values():
        assert pyarrow.parquet.read_table(io.BytesIO(content)).num_rows
