"""`valuecurve label`: what it prints, writes and refuses; in processes of its own where a disk matters."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_datasets import edit_json
from tiny_scores import noisy_values, write_scores
from typer.testing import CliRunner

from valuecurve.cli import app
from valuecurve.episodes import open_dataset, resolve_outcomes
from valuecurve.labels import read_labels
from valuecurve.scoring import read_manifest


def run(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert "Traceback" not in result.output
    return result.exit_code, result.output


@pytest.fixture
def scored(make):
    """A dataset of 6 episodes, scored under the tag "t"."""
    root = make(cameras={})
    dataset = open_dataset(root)
    write_scores(dataset, "t", noisy_values(dataset, resolve_outcomes(dataset).success))
    return root


def files(root) -> dict:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_labels_are_written_and_shown(scored):
    code, output = run("label", scored, "--tag", "t", "--horizon", 3)
    assert code == 0
    for part in (
        "57 frames of 6 episodes; outcomes: next.success (any frame)",
        "n-step advantages over 3 frames, in value units; the highest 30% are positive, per task",
        "push the puck",
        "open the drawer",
        "in successes",
        str(scored / "values/t/labels.parquet"),
        str(scored / "values/t/labels.png"),
    ):
        assert part in output
    labels = read_labels(open_dataset(scored), "t")
    assert labels.settings["horizon"] == 3 and len(labels.rows) == 57
    assert (scored / "values/t/labels.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_is_that_of_the_labels(scored):
    _, output = run("label", scored, "--tag", "t", "--horizon", 3, "--json")
    report = json.loads(output)
    dataset, labels = open_dataset(scored), read_labels(open_dataset(scored), "t")
    success = np.repeat(resolve_outcomes(dataset).success, dataset.lengths)
    for index, row in enumerate(report["tasks"]):
        mine = labels.task_index == index
        assert row["task"] == dataset.tasks[index] and row["frames"] == mine.sum()
        assert row["threshold"] == labels.settings["thresholds"][row["task"]]
        assert row["positive"] == pytest.approx(labels.positive[mine].mean())
        assert row["positive_in_successes"] == pytest.approx(labels.positive[mine & success].mean())
        assert row["positive_in_failures"] == pytest.approx(labels.positive[mine & ~success].mean())
        assert row["advantage"]["median"] == pytest.approx(np.median(labels.advantage[mine]), abs=1e-6)
    assert report["settings"] == labels.settings
    assert report["written"] == [str(labels.folder / name) for name in ("labels.parquet", "labels.png")]


def test_a_dry_run_shows_the_same_and_writes_nothing(scored):
    before = files(scored)
    code, shown = run("label", scored, "--tag", "t", "--horizon", 3, "--dry-run")
    assert code == 0 and "nothing was written (--dry-run)" in shown
    assert files(scored) == before
    _, written = run("label", scored, "--tag", "t", "--horizon", 3)
    assert shown.split("\nnothing was")[0] == written.split("\nlabels:")[0]


def test_every_option_at_once(scored):
    options = ["--horizon-seconds", 0.3, "--positive-fraction", 0.5, "--scope", "global", "--per-stage", 2]
    options += ["--slices", 3, "--fail", "penalty", "--fail-penalty", 4, "--scale", 20, "--all-positive"]
    code, output = run("label", scored, "--tag", "t", *options)
    assert code == 0, output
    settings = read_labels(open_dataset(scored), "t").settings
    assert (settings["stages"], settings["slices"], settings["scope"]) == (2, 3, "global")
    assert (settings["fail_penalty"], settings["scale"], settings["horizon"]) == (4.0, 20.0, 3)
    assert (
        "all frames are positive (--all-positive)" in output and "slices: 0 (lowest advantages) … 2" in output
    )


def test_labelling_again_is_free_and_the_scores_stay(scored):
    before = files(scored / "values/t/scores")
    for fraction in (0.1, 0.5):
        assert run("label", scored, "--tag", "t", "--horizon", 3, "--positive-fraction", fraction)[0] == 0
        labels = read_labels(open_dataset(scored), "t")
        assert labels.positive.mean() == pytest.approx(fraction, abs=0.03)
    assert files(scored / "values/t/scores") == before
    names = {path.name for path in (scored / "values/t").iterdir()}
    assert names == {"scores", "manifest.json", "labels.parquet", "labels.png"}


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_figure_is_cut_off_on_a_narrow_terminal(scored, width):
    arguments = ["label", str(scored), "--tag", "t", "--horizon", "3", "--per-stage", "2", "--dry-run"]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": str(width)}).output
    table = shown[shown.index("task  ") : shown.index("nothing was")]
    assert "…" not in table and all(len(line) <= width for line in table.splitlines())
    assert "in failures" in table and table.count("%") >= 12


def test_odd_outcomes_are_told(make):
    root = make(cameras={}, success=[True] * 6)
    dataset = open_dataset(root)
    write_scores(dataset, "t", np.zeros(57))
    code, output = run("label", root, "--tag", "t", "--horizon", 3, "--dry-run")
    assert code == 0 and "warning: " in output and "all 6 episodes are successes" in output
    assert "–" in output  # no failures, no share of them


def test_values_that_tell_nothing_apart_are_told(make):
    root = make(cameras={})
    write_scores(open_dataset(root), "t", np.full(57, -0.5))
    code, output = run("label", root, "--tag", "t", "--horizon", 3, "--dry-run", "--json")
    warnings = json.loads(output)["warnings"]
    assert code == 0 and len(warnings) == 2
    assert "of the frames are positive, not 30%, for so many tie at the threshold" in warnings[0]


def test_a_dataset_of_version_2_1(make):
    root = make(version="v2.1")
    dataset = open_dataset(root)
    write_scores(dataset, "t", noisy_values(dataset, resolve_outcomes(dataset).success))
    code, output = run("label", root, "--tag", "t", "--horizon", 3, "--json")
    assert code == 0 and json.loads(output)["warnings"] == []
    assert len(read_labels(open_dataset(root), "t").rows) == 57


def break_scores(root, damage):
    folder = root / "values/t"
    if damage == "revision":
        edit_json(root / "meta/info.json", robot_type="another")
    elif damage == "unfinished":
        manifest = read_manifest(folder)
        edit_json(folder / "manifest.json", scores={**manifest["scores"], "complete": False})
    elif damage == "nan":
        part = folder / "scores/part-00001.parquet"
        table = pq.read_table(part)
        values = table["value"].to_numpy().copy()
        values[3] = np.nan
        pq.write_table(table.set_column(3, "value", [values]), part)
    elif damage == "half a part":
        part = folder / "scores/part-00000.parquet"
        part.write_bytes(part.read_bytes()[:300])


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        ("", ["--tag", "tt"], "did you mean 't'|there are the tags t"),
        ("", ["--tag", "../t"], "must be made of letters"),
        ("revision", [], "of another dataset or another revision"),
        ("unfinished", [], "scoring is not finished"),
        ("nan", [], "part-00001.parquet, episode 3, frame 3: value is not a number"),
        ("half a part", [], "part-00000.parquet .*cannot be read"),
        ("", ["--horizon", 50], "a horizon of 50 frames is longer than every episode"),
        ("", ["--outcome-column", "next.succes"], "did you mean next.success"),
        ("", ["--positive-fraction", 30], "--positive-fraction must be from 0 to 1, got 30"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(scored, damage, options, message):
    break_scores(scored, damage)
    before = files(scored)
    defaults = [] if "--tag" in options else ["--tag", "t"]
    defaults += [] if "--horizon" in options else ["--horizon", 3]
    code, output = run("label", scored, *defaults, *options)
    assert code == 1 and output.startswith("error: ") and len(output.splitlines()) == 1
    assert re.search(message, output), output
    assert files(scored) == before


def test_outcomes_that_were_added_are_used(make, tmp_path):
    root = make(cameras={}, outcome=None)
    write_scores(open_dataset(root), "t", np.linspace(-1, 0, 57), values=tmp_path / "V")
    arguments = ["label", root, "--tag", "t", "--horizon", 3, "--values", tmp_path / "V", "--dry-run"]
    code, output = run(*arguments)
    assert code == 1 and "no outcome for episodes 0, 1" in output
    csv = tmp_path / "outcomes.csv"
    csv.write_text("episode_index,success\n" + "".join(f"{e},{e % 2}\n" for e in range(6)))
    assert run("relabel-outcomes", root, "--csv", csv, "--values", tmp_path / "V")[0] == 0
    code, output = run(*arguments)
    assert code == 0 and "outcomes: V/outcomes.parquet" in output


# -- targets alone -----------------------------------------------------------------------------------------


def test_targets_alone_need_no_scores(make):
    from valuecurve.returns import dataset_targets

    root = make(cameras={})
    before = files(root)
    code, output = run("label", root, "--tag", "mine", "--targets-only")
    assert code == 0 and "57 targets from -1.00 to 0.00" in output
    table = pq.read_table(root / "values/mine/targets.parquet")
    assert table.column_names == ["index", "episode_index", "frame_index", "task_index", "target"]
    dataset = open_dataset(root)
    success = resolve_outcomes(dataset).success
    expected, scales = dataset_targets(
        dataset.lengths, success, [dataset.tasks[i] for i in dataset.episode_tasks]
    )
    assert np.array_equal(table["target"].to_numpy(), expected)
    about = json.loads((table.schema.metadata or {})[b"targets"])
    assert about["scales"] == scales and about["outcomes"] == "next.success (any frame)"
    assert {path: path.read_bytes() for path in before} == before
    code, output = run("label", root, "--tag", "mine", "--targets-only", "--scale", 100, "--json")
    assert json.loads(output)["scales"] == {task: 100.0 for task in dataset.tasks}


def test_targets_alone_refuse_what_only_labels_have(make):
    root = make(cameras={})
    for options in (["--slices", 3], ["--per-stage", 2], ["--interventions", "x"], ["--thresholds", "x"]):
        code, output = run("label", root, "--tag", "mine", "--targets-only", *options)
        assert code == 1 and f"{options[0]} means nothing with --targets-only" in output
    assert not (root / "values").exists()


# -- disks -------------------------------------------------------------------------------------------------


def program(root, *options, before: str = "") -> subprocess.CompletedProcess:
    """`valuecurve label` in a process of its own, after some Python code."""
    arguments = ["valuecurve", "label", str(root), "--tag", "t", "--horizon", "3", *map(str, options)]
    code = f"import sys; {before or 'pass'}; sys.argv = {arguments!r}; from valuecurve.cli import app; app()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_the_program_ends_with_0_and_with_1(scored):
    assert program(scored).returncode == 0
    failed = program(scored, "--mode", "nothing")
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr == "error: --mode must be n_step, full, progress, got 'nothing'\n"


def test_a_disk_that_refuses_more_is_one_error_and_the_old_labels_stay(scored):
    """RLIMIT_FSIZE makes every file end at 2,000 bytes, as a full disk would."""
    assert program(scored).returncode == 0
    before = files(scored)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
    failed = program(scored, "--positive-fraction", 0.5, before=limit)
    assert failed.returncode == 1, failed.stdout
    assert failed.stderr.startswith("error: ") and "cannot be written" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert files(scored) == before


def test_a_full_disk(scored, tmp_path):
    """A file system of 64 KiB that is full but for the scores, in a name space of its own."""
    (tmp_path / "small").mkdir()
    script = (
        f"mount -t tmpfs -o size=64k none {tmp_path}/small && cp -r {scored}/values/t {tmp_path}/small/t && "
        f"(dd if=/dev/zero of={tmp_path}/small/rest bs=1k 2>/dev/null || true) && "
        f"{sys.executable} -m valuecurve.cli label {scored} --tag t --horizon 3 --values {tmp_path}/small; "
        f"code=$?; find {tmp_path}/small/t -name '*.tmp' -o -name 'labels*'; exit $code"
    )
    failed = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    if "unshare" in failed.stderr or "mount" in failed.stderr:
        pytest.skip("needs name spaces to mount a small file system")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ") and "no room left" in failed.stderr
    assert failed.stdout == ""  # nothing half-written is left


def test_a_read_only_source_names_the_way_out(scored, tmp_path):
    """The dataset is mounted read-only, which also holds for root."""
    script = (
        f"mount --bind {scored} {scored} && mount -o remount,ro,bind {scored} && "
        f"{sys.executable} -m valuecurve.cli label {scored} --tag t --horizon 3"
    )
    failed = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    if "unshare" in failed.stderr or "mount" in failed.stderr:
        pytest.skip("needs name spaces to mount read-only")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ") and "--values" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(scored):
    (scored / "values/t").chmod(0o500)
    try:
        code, output = run("label", scored, "--tag", "t", "--horizon", 3)
    finally:
        (scored / "values/t").chmod(0o700)
    assert code == 1 and "Permission denied" in output and "--values" in output
