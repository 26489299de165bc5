"""`valuecurve push space` and `push metric`: what arrives, and that the metric loads by name.

That the Space's app starts from what was pushed is in test_whole_life.py.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from valuecurve.cli import app
from valuecurve.hub import HubError, spaces
from valuecurve.hub.spaces import folder_of, space_files

ROOT = Path(__file__).parents[2]
SPACE, METRIC = "robots/value-curves", "robots/value_metrics"
LOAD_METRIC = """
import sys
sys.modules["valuecurve"] = None
import evaluate
metric = evaluate.load("robots/value_metrics")
found = metric.compute(
    predictions=[-0.5, -0.25], references=[-0.5, -0.5], episode_index=[0, 0], frame_index=[0, 1]
)
print(found["mae"])
"""


def push(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["push", *map(str, arguments)])


def pushed(*arguments: object) -> Result:
    result = push(*arguments)
    assert result.exit_code == 0, result.output
    return result


def test_the_space_has_its_folder_and_the_package_and_its_checkpoints(hub, api):
    pushed("space", SPACE, "--checkpoint", "robots/value-tiny", "--checkpoint", "big=robots/big@v2")
    files = set(hub.files("space", SPACE))
    assert {"app.py", "README.md", "requirements.txt", "valuecurve/__init__.py"} <= files
    assert {"browser/player.js", "valuecurve/scoring/forward.py", "examples/meta/info.json"} <= files
    assert not [name for name in files if "__pycache__" in name or name.startswith("valuecurve/shipped")]
    assert hub.files("space", SPACE)["README.md"] == (ROOT / "spaces/value_curves/README.md").read_bytes()
    variable = api.get_space_variables(SPACE)["VALUECURVE_CHECKPOINTS"]
    assert variable.value == "value-tiny=robots/value-tiny, big=robots/big@v2"


def test_pushed_again_nothing_changes_and_what_is_gone_is_removed(hub, api):
    pushed("space", SPACE, "--checkpoint", "robots/value-tiny")
    for name in ("old_page.py", "valuecurve/old.py", "notes.md"):
        api.upload_file(path_or_fileobj=b"1\n", path_in_repo=name, repo_id=SPACE, repo_type="space")
    pushed("space", SPACE)
    files = set(hub.files("space", SPACE))
    assert "old_page.py" not in files and "valuecurve/old.py" not in files and "notes.md" in files
    assert "nothing has changed" in pushed("space", SPACE).output
    variable = api.get_space_variables(SPACE)["VALUECURVE_CHECKPOINTS"]
    assert variable.value == "value-tiny=robots/value-tiny"


def test_a_space_without_a_checkpoint_says_that_it_waits_for_one(hub):
    assert "starts once it has a checkpoint" in pushed("space", SPACE).output


def test_a_folder_of_this_machine_is_no_checkpoint_of_a_space(hub, tmp_path):
    for place in (tmp_path, "model", f"name={tmp_path}"):
        result = push("space", SPACE, "--checkpoint", place)
        assert result.exit_code == 1 and "name a model of the Hub" in result.stderr


def test_dry_runs_ask_nobody(hub):
    hub.log.clear()
    for command in (("space", SPACE), ("metric", METRIC)):
        output = pushed(*command, "--dry-run").output
        assert " app.py\n" in output and "nothing was pushed" in output
    assert list(hub.log) == []


def test_the_metric_loads_by_name_where_the_package_is_not(hub, hub_env, tmp_path):
    pushed("metric", METRIC)
    command = [sys.executable, "-c", LOAD_METRIC]
    done = subprocess.run(command, env=hub_env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) == pytest.approx(0.125)


def test_the_metric_is_pushed_under_the_name_that_evaluate_looks_for(hub):
    result = push("metric", "robots/metrics")
    assert result.exit_code == 1 and "push it to owner/value_metrics" in result.stderr


def test_an_installation_without_the_folders_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(spaces, "PACKAGE", tmp_path / "valuecurve")
    with pytest.raises(HubError, match="has no spaces/value_curves: install a wheel"):
        folder_of("spaces/value_curves")


@pytest.mark.slow
def test_a_wheel_carries_the_space_and_the_metric(tmp_path, monkeypatch):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    here = {path: file.read_bytes() for path, file in space_files().items()}
    metric = {
        path.name: path.read_bytes() for path in (ROOT / "metrics/value_metrics").iterdir() if path.is_file()
    }
    monkeypatch.setattr(spaces, "PACKAGE", tmp_path / "site" / "valuecurve")
    assert {path: file.read_bytes() for path, file in space_files().items()} == here
    shipped = {path.name: path.read_bytes() for path in folder_of("metrics/value_metrics").iterdir()}
    assert shipped == metric
