"""The `evaluate` module: loaded from a copied folder, offline, in a process that cannot import valuecurve."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import RepoCard
from packaging.requirements import Requirement

from valuecurve.metrics import ValueReport, value_report

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "metrics" / "value_metrics"
SHARED = ("metrics", "metrics_bootstrap", "metrics_episodes", "metrics_frames", "metrics_report", "returns")


@pytest.fixture(scope="session")
def frames():
    """Frames of 8 episodes of two tasks, with distributions that know a little."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(5, 12, 8)
    episode = np.repeat(np.arange(8), lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    success = episode % 2 == 0
    targets = np.where(success, frame / lengths[episode] - 1, -1.0)
    distance = np.abs(np.linspace(-1, 0, 21) - targets[:, None] - generator.normal(0, 0.2, (len(frame), 1)))
    p = np.exp(-8 * distance)
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    return {
        "references": targets,
        "predictions": p @ np.linspace(-1, 0, 21),
        "probabilities": p,
        "episode_index": episode,
        "frame_index": frame,
        "success": success,
        "task": np.where(episode < 4, "push", "pull <b>"),
    }


@pytest.fixture(scope="session")
def used(frames, tmp_path_factory):
    """What a process without valuecurve gets from a copy of the folder."""
    place = tmp_path_factory.mktemp("metric")
    shutil.copytree(FOLDER, place / "value_metrics")  # follows the links, as an upload does
    assert not any(path.is_symlink() for path in place.rglob("*"))
    np.savez(place / "frames.npz", **frames)
    script = Path(__file__).with_name("use_module.py")
    command = [sys.executable, str(script), "value_metrics", "frames.npz", "value_metrics/README.md"]
    environment = {
        **os.environ,
        "HF_HOME": str(place / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment |= {"HF_EVALUATE_OFFLINE": "1", "PYTHONPATH": ""}
    result = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def own_report(frames, rows: Any = slice(None), **options) -> ValueReport:
    own = {name: of[rows] for name, of in frames.items() if name != "task"}
    return value_report(targets=own.pop("references"), values=own.pop("predictions"), **own, **options)


def test_the_module_measures_what_the_package_measures(used, frames):
    report = own_report(frames, resamples=50, max_false_alarms=0.3)
    result = used["whole"]
    assert {name: result[name] for name in report.metrics} == pytest.approx(report.metrics)
    for name, interval in report.intervals.items():
        assert result["intervals"][name] == pytest.approx(interval), name
    for name, curve in report.curves.items():
        for axis, values in curve.items():
            np.testing.assert_allclose(result["curves"][name][axis], values, err_msg=f"{name} {axis}")
    assert result["counts"] == report.counts


def test_batches_in_any_order_give_the_same_as_one_call(used):
    def flat(result):
        return {name: of for name, of in result.items() if isinstance(of, float)} | result["counts"]

    assert flat(used["batches"]) == pytest.approx(flat(used["whole"]))
    assert used["batches"]["intervals"]["crps"] == pytest.approx(used["whole"]["intervals"]["crps"])


def test_each_task_is_measured_by_itself(used, frames):
    per_task = used["whole"]["per_task"]
    assert set(per_task) == {"push", "pull <b>"}
    for task, result in per_task.items():
        report = own_report(frames, frames["task"] == task, resamples=50, max_false_alarms=0.3)
        assert {name: result[name] for name in report.metrics} == pytest.approx(report.metrics)
        assert result["intervals"]["mae"] == pytest.approx(report.intervals["mae"])
        assert result["counts"] == report.counts


def test_frames_can_be_added_one_by_one_and_columns_left_out(used):
    result = used["one by one"]
    assert result["counts"] == {"frames": 12, "episodes": 2}
    assert "crps" not in result and "auroc_last_frame" not in result and "per_task" not in result
    assert result["intervals"] == {} and result["curves"] == {}


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("unknown", r"Unknown inputs: \['colour'\]"),
        ("missing", r"Missing inputs: \['frame_index'\]"),
        ("no forecast", "give predictions or probabilities"),
        ("unequal", "2 frame_index for 3 references"),
        ("outcome text", r"success\[0\] is 'failure'; it must be True or False"),
        ("half an episode", r"episode_index\[0\] is 0.5; it must be a whole number"),
        ("ragged", "rows of probabilities differ in length"),
        ("mixed", "Episode 0 has frames of both outcomes"),
        ("logits", r"probabilities\[0\] is not a distribution"),
        ("nan", r"targets\[0\] is nan"),
        ("some only", "success was given for some frames only; the first without is 3"),
    ],
)
def test_a_mistake_is_named(used, mistake, message):
    assert re.search(message, used["errors"][mistake]), used["errors"][mistake]


def test_the_metric_goes_on_after_an_error(used):
    assert used["after errors"] == used["in memory"] == pytest.approx(used["whole"]["mae"])


def test_the_example_of_the_card_gives_what_the_card_says(used):
    found, said = used["card"]
    assert found == pytest.approx(said)


def test_the_module_brings_all_its_files_and_nothing_of_the_package(used):
    assert {"value_metrics", *SHARED} <= {name.rsplit(".", 1)[1] for name in used["own modules"]}
    assert used["valuecurve"] is False


# --- the folder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHARED)
def test_the_mathematics_is_a_relative_link_into_the_package(name):
    link = FOLDER / f"{name}.py"
    assert link.is_symlink() and not link.readlink().is_absolute()
    assert link.resolve() == ROOT / "valuecurve" / f"{name}.py"


def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """(neighbours, other packages) that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    neighbours = {node.module or "" for node in froms if node.level}
    others = {node.module or "" for node in froms if not node.level}
    others |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return neighbours, {name.split(".")[0] for name in others} - set(sys.stdlib_module_names)


def test_evaluate_finds_every_file_by_reading_the_lines_of_the_module():
    """It looks at the module alone, not at what its neighbours import, and takes a comment for an address."""
    neighbours, _ = imports_of(FOLDER / "value_metrics.py")
    assert neighbours == set(SHARED)
    for name in SHARED:
        assert imports_of(FOLDER / f"{name}.py")[0] <= set(SHARED)
    lines = (FOLDER / "value_metrics.py").read_text().splitlines()
    imports = [line for line in lines if re.match(r"(from|import)\s", line)]
    assert [line for line in imports if "#" in line or re.match(r"import .*,", line)] == []


def test_the_requirements_hold_what_the_files_import():
    lines = (FOLDER / "requirements.txt").read_text().splitlines()
    required = {Requirement(line).name.replace("scikit-learn", "sklearn") for line in lines}
    files = [path for path in FOLDER.glob("*.py")]
    own = {path.stem for path in files}
    imported = set().union(*(imports_of(path)[1] for path in files)) - own - {"gradio"}  # the Space's SDK
    assert imported == required


def test_the_card_is_a_metric_space_of_the_gradio_that_is_pinned():
    card = RepoCard.load(FOLDER / "README.md", ignore_metadata_errors=False)
    data = card.data.to_dict()
    assert (data["sdk"], data["app_file"], data["license"]) == ("gradio", "app.py", "apache-2.0")
    assert {"evaluate", "metric"} <= set(data["tags"])
    assert len(data["short_description"]) <= 60  # the Hub's limit
    assert f"gradio=={data['sdk_version']}\n" in (ROOT / "constraints.txt").read_text()


def test_the_documentation_names_every_metric_and_the_card_its_kind(frames):
    card, page = (FOLDER / "README.md").read_text(), (ROOT / "docs" / "metrics.md").read_text()
    metrics = own_report(frames, resamples=0).metrics
    assert [name for name in metrics if f"`{name}`" not in page] == []
    assert [
        name for name in metrics if f"`{name}`" not in card and f"`{name.split('_')[0]}" not in card
    ] == []
