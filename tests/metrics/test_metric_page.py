"""The metric's page: what it reads from strangers, what it shows, and a visit with a real browser."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from programs import load_program, tied

FOLDER = Path(__file__).parent.parent.parent / "metrics" / "value_metrics"
START = 240  # seconds that the app may take to answer on a busy machine


@pytest.fixture(scope="module")
def reading():
    return load_program(FOLDER / "read_frames.py")


@pytest.fixture(scope="module")
def showing():
    return load_program(FOLDER / "show_result.py")


def table(**changes) -> pd.DataFrame:
    """Four frames of two episodes; a change of None leaves a column out."""
    columns = {
        "episode_index": [0, 0, 0, 1],
        "frame_index": [0, 1, 2, 0],
        "target": [-1.0, -0.5, 0.0, -1.0],
        "value": [-0.9, -0.4, 0.0, -0.8],
        "success": [True, True, True, False],
        "task": ["push"] * 3 + ["pull"],
    } | changes
    return pd.DataFrame({name: of for name, of in columns.items() if of is not None})


# --- reading ---------------------------------------------------------------------------------------------


def test_csv_and_parquet_of_the_same_frames_are_read_alike(reading, tmp_path):
    frame = table(note=["=HYPERLINK()"] * 4)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    csv, parquet = (reading.read_frames(tmp_path / f"a.{kind}") for kind in ("csv", "parquet"))
    assert list(csv) == list(parquet)
    assert list(csv) == ["predictions", "references", "episode_index", "frame_index", "success", "task"]
    for name, column in csv.items():
        np.testing.assert_array_equal(column, parquet[name], err_msg=name)
    assert csv["success"].dtype == bool and csv["episode_index"].dtype == np.int64


def test_distributions_are_columns_in_order_of_their_numbers_or_lists(reading, tmp_path):
    p = np.random.default_rng(0).dirichlet(np.ones(12), size=4).astype(np.float32)
    columns = {f"p_{k}": p[:, k] for k in reversed(range(12))}
    table(value=None, **columns).to_csv(tmp_path / "a.csv", index=False)
    table(value=None, probabilities=list(p)).to_parquet(tmp_path / "a.parquet")
    for kind in ("csv", "parquet"):
        found = reading.read_frames(tmp_path / f"a.{kind}")
        assert "predictions" not in found
        np.testing.assert_allclose(found["probabilities"], p, rtol=1e-6)


@pytest.mark.parametrize(
    "words", [["True", "FALSE"], [1, 0], [1.0, 0.0], ["success", "failure"], ["yes", " no"]], ids=str
)
def test_outcomes_in_words_are_read_and_never_guessed(reading, words, tmp_path):
    table(success=[words[0]] * 3 + [words[1]]).to_csv(tmp_path / "a.csv", index=False)
    assert reading.read_frames(tmp_path / "a.csv")["success"].tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(target=None), "no column “target”"),
        (dict(frame_index=None), "no column “frame_index”"),
        (dict(value=None), "neither a column “value” nor “probabilities”"),
        (dict(references=[0.0] * 4), "columns target and references"),
        (dict(value=[0, "-0.4", "about half", 0]), "“value” of row 3 is “about half”, which is not a number"),
        (dict(target=[0, None, 0, 0]), "“target” of row 2 is “nan”"),
        (dict(value=[0, float("inf"), 0, 0]), "“value” of row 2 is “inf”"),
        (
            dict(episode_index=[0, 0, 0.5, 1]),
            "“episode_index” of row 3 is “0.5”, which is not a whole number",
        ),
        (dict(success=[True, None, True, False]), "“success” of row 2 is “nan”; write true or false"),
        (dict(success=["maybe" * 20] * 4), "“success” of row 1 is “maybemaybe"),
        (dict(task=["push", "", "push", "pull"]), "“task” of row 2 is empty"),
        (dict(p_0=[0.5] * 4, p_2=[0.5] * 4), "must have no gap"),
        (dict(p_0=[1.0] * 4), "must have 2 to 1001 bins"),
        (dict(p_0=["a"] * 4, p_1=[0.5] * 4), "one list of numbers a row"),
    ],
)
def test_a_table_that_cannot_be_measured_says_why(reading, changes, message, tmp_path):
    table(**changes).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(reading.TableProblem, match=re.escape(message)):
        reading.read_frames(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"PK", "neither a .csv nor a .parquet file"),
        ("a.parquet", b"PAR1 not really PAR1", "cannot be read as a parquet file"),
        ("a.csv", b"", "cannot be read as a csv file"),
        ("a.csv", b"\xff\xfe\x00value", "cannot be read as a csv file"),
        ("a.csv", b"target,value,episode_index,frame_index\n", "has no rows"),
        ("a.csv", b'target,value,episode_index,frame_index\n1,2,3\n"4', "cannot be read as a csv file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(reading, name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(reading.TableProblem, match=re.escape(message)):
        reading.read_frames(tmp_path / name)


def test_large_tables_are_refused_before_they_are_read(reading, tmp_path, monkeypatch):
    long = pd.concat([table()] * 100_000)  # 400 000 rows that compress to nearly nothing
    long.to_parquet(tmp_path / "a.parquet")
    table().to_csv(tmp_path / "a.csv", index=False)
    monkeypatch.setattr(reading, "MAX_BYTES", 100_000)
    with pytest.raises(reading.TableProblem, match="400,000 rows and .* once decompressed; the limits"):
        reading.read_frames(tmp_path / "a.parquet")
    monkeypatch.setattr(reading, "MAX_ROWS", 3)
    with pytest.raises(reading.TableProblem, match="more than 3 rows"):
        reading.read_frames(tmp_path / "a.csv")


def test_the_example_is_a_table_that_the_page_reads(reading):
    frames = reading.read_frames(FOLDER / "example.parquet")
    assert frames["probabilities"].shape == (606, 201)
    assert len(np.unique(frames["episode_index"])) == 35 and set(frames["success"]) == {True, False}


# --- showing ---------------------------------------------------------------------------------------------


def result(**changes) -> dict:
    metrics = {"mae": 0.125, "explained_variance": float("nan"), "auroc_last_frame": 1.0, "voc": -0.5}
    return {
        **metrics,
        "intervals": {"mae": [0.1, 0.2], "voc": [float("nan")] * 2},
        "curves": {"reliability": {"levels": [0.25, 0.75], "observed": [0.0, 1.0]}},
        "counts": {"frames": 1234, "episodes": 2, "successes": 1, "failures": 1},
    } | changes


def test_the_page_shows_numbers_intervals_and_dashes(showing):
    text = showing.page(result(), "a.csv", 0.95)
    assert "1,234 frames · 2 episodes · 1 success · 1 failure" in text
    assert "<b>0.125</b>" in text and "0.100 … 0.200" in text and "<b>−0.500</b>" in text
    assert "<b>–</b>" in text and "nan" not in re.sub(r"base64,[\w+/=]+", "", text).lower()
    assert text.count("<svg") == 1 and "By task" not in text


def test_text_of_strangers_stays_text(showing):
    evil = "<img src=x onerror=alert(1)>"
    task = {"mae": 0.1, "counts": {"episodes": 1}}
    for text in (
        showing.page(result(per_task={evil: task, "b": task}), evil, 0.95),
        showing.message(f"“{evil}” is no number"),
    ):
        assert "<img" not in text and "&lt;img" in text


def test_the_download_holds_every_number_as_valid_json(showing):
    (data,) = re.findall(r"base64,([\w+/=]+)", showing.page(result(), "a.csv", 0.95))
    read = json.loads(base64.b64decode(data), parse_constant=lambda name: pytest.fail(name))
    assert read["mae"] == 0.125 and read["explained_variance"] is None and read["intervals"]["voc"][0] is None


def test_a_curve_that_is_undefined_is_not_drawn(showing):
    curves = {"auroc_over_elapsed": {"shares": [0.0, 1.0], "auroc": [float("nan")] * 2}}
    assert "<svg" not in showing.page(result(curves=curves), "a.csv", 0.95)


# --- a visit ---------------------------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path):
    """The running page, from a copy of its folder; yields its address."""
    place = tmp_path / "app"  # on the Hub, too, the folder has another name than the module
    shutil.copytree(FOLDER, place)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    environment |= {"GRADIO_TEMP_DIR": str(tmp_path / "uploads"), "OMP_NUM_THREADS": "1"}
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(
        tied("app.py"), cwd=place, env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        url = f"http://127.0.0.1:{port}/"
        _wait_for(url, process, log)
        yield url
    finally:
        process.kill()
        process.wait(60)
        log.close()


def _wait_for(url: str, process: subprocess.Popen, log) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=30).close()
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            assert process.poll() is None, f"the app ended: {log.seek(0) or log.read()}"
            time.sleep(0.3)
    pytest.fail(f"the app does not answer: {log.seek(0) or log.read()}")


@pytest.mark.slow
def test_a_visitor_sees_the_example_and_measures_a_file(app, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium: apt-get install chromium")
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    table().to_csv(good, index=False)
    table(value=["<b>half</b>", 0, 0, 0]).to_csv(bad, index=False)
    script = Path(__file__).with_name("visit_page.py")
    visit = subprocess.run(
        [sys.executable, str(script), app, str(chromium), str(good), str(bad)],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert visit.returncode == 0, visit.stderr
    seen = json.loads(visit.stdout)
    assert "606 frames · 35 episodes" in seen["example"] and seen["curves"] == 3
    assert seen["bad"] == "“value” of row 1 is “<b>half</b>”, which is not a number."
    assert "4 frames · 2 episodes · 1 success · 1 failure" in seen["good"]
    assert re.search(r"Mean absolute error\s+0\.100", seen["good"])
    assert seen["title"] == "Value metrics" and seen["problems"] == []
    assert seen["too wide"] <= 0
