"""Outcomes from a CSV file, as a sidecar: what is refused, who honours it, and odd outcomes that are told."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_datasets import edit_json
from tiny_models import write_recipe
from typer.testing import CliRunner

from valuecurve.cli import app
from valuecurve.episodes import (
    DatasetError,
    open_dataset,
    read_outcome_csv,
    resolve_outcomes,
    select,
    write_outcomes,
)

VERDICTS = [True, False, False, True, False, True]


def csv_of(tmp_path, text: str):
    path = tmp_path / "outcomes.csv"
    path.write_bytes(text.encode("utf-8"))
    return path


def table(rows, header="episode_index,success") -> str:
    return "\n".join([header, *(f"{episode},{word}" for episode, word in rows)]) + "\n"


WORDS = ["success", "Failure", "false", " TRUE ", "0", "1"]


@pytest.mark.parametrize(
    "text",
    [
        table(enumerate(WORDS)),
        table(reversed(list(enumerate(WORDS)))),  # any order
        "\ufeff" + table(enumerate(WORDS)).replace("\n", "\r\n") + "\r\n",  # as spreadsheets write it
        table(enumerate(WORDS)).replace(",", ";"),
        table(enumerate(WORDS)).replace(",", "\t"),
        "note,success,x,episode_index\n" + "".join(f'"a, b",{w},,{e}\n' for e, w in enumerate(WORDS)),
    ],
)
def test_a_csv_file_is_read(make, tmp_path, text):
    dataset = open_dataset(make(cameras={}, outcome=None))
    assert read_outcome_csv(dataset, csv_of(tmp_path, text)).tolist() == VERDICTS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            table([*enumerate(WORDS[:5]), (5, "maybe")]),
            "line 7: success is 'maybe' for episode 5; expected success",
        ),
        (table([*enumerate(WORDS[:5]), (5, "")]), "line 7: success is '' for episode 5"),
        (table([*enumerate(WORDS), (6, "1")]), "line 8: .*has no episode 6; remove the line"),
        (table([*enumerate(WORDS), (0, "1")]), "line 8: episode 0 is there twice"),
        (table(list(enumerate(WORDS))[2:]), "says nothing of the episodes 0, 1 of .*; add them"),
        (table([("two", "1")]), "line 2: episode_index must be a whole number, got 'two'"),
        (table([("1_0", "1")]), "line 2: episode_index must be a whole number, got '1_0'"),
        (table([(1.0, "1")]), "line 2: episode_index must be a whole number, got '1.0'"),
        (
            "episode,outcome\n0,1\n",
            "must name the columns episode_index and success, it holds episode, outcome",
        ),
        ("", "it holds nothing"),
    ],
)
def test_a_csv_file_that_does_not_fit_is_refused_by_line(make, tmp_path, text, message):
    dataset = open_dataset(make(cameras={}, outcome=None))
    with pytest.raises(DatasetError, match=message):
        read_outcome_csv(dataset, csv_of(tmp_path, text))


def test_a_file_that_is_no_text_or_not_there(make, tmp_path):
    dataset = open_dataset(make(cameras={}, outcome=None))
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="x.csv cannot be read: it is not UTF-8 text"):
        read_outcome_csv(dataset, tmp_path / "x.csv")
    with pytest.raises(DatasetError, match="no.csv cannot be read: No such file"):
        read_outcome_csv(dataset, tmp_path / "no.csv")


def test_the_sidecar_comes_after_a_named_column_and_before_everything_else(make):
    root = make(cameras={}, metadata={"verdict": [True] * 6})
    fingerprint = open_dataset(root).fingerprint
    path = write_outcomes(open_dataset(root), np.array(VERDICTS))
    dataset = open_dataset(root)
    assert path == root / "values" / "outcomes.parquet" and dataset.fingerprint == fingerprint
    found = resolve_outcomes(dataset)
    assert found.success.tolist() == VERDICTS and found.source == "values/outcomes.parquet"
    assert resolve_outcomes(dataset, assume="failure").success.tolist() == VERDICTS
    assert resolve_outcomes(dataset, "verdict").success.all()
    some = select(dataset, [1, 3])[0]
    assert resolve_outcomes(some).success.tolist() == [False, True]


def test_a_sidecar_elsewhere_counts_where_it_is_named(make, tmp_path):
    root = make(cameras={}, outcome=None)
    write_outcomes(open_dataset(root), np.array(VERDICTS), tmp_path / "V")
    assert not (root / "values").exists()
    found = resolve_outcomes(open_dataset(root), values=tmp_path / "V")
    assert found.success.tolist() == VERDICTS and found.source == "V/outcomes.parquet"
    with pytest.raises(DatasetError, match="no outcome"):
        resolve_outcomes(open_dataset(root))


def test_outcomes_of_another_revision_are_refused(make):
    root = make(cameras={}, outcome=None)
    path = write_outcomes(open_dataset(root), np.array(VERDICTS))
    edit_json(root / "meta/info.json", robot_type="another")
    with pytest.raises(
        DatasetError, match="outcomes of another dataset or another revision .*make them again"
    ):
        resolve_outcomes(open_dataset(root))
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DatasetError, match="outcomes.parquet .*cannot be read"):
        resolve_outcomes(open_dataset(root))


def run(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "300"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


def test_the_command_writes_the_sidecar_and_inspect_honours_it(make, tmp_path):
    root, path = make(outcome=None), csv_of(tmp_path, table(enumerate(WORDS)))
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    assert run("inspect", root)[0] == 1
    code, output = run("relabel-outcomes", root, "--csv", path, "--dry-run")
    assert code == 0 and "nothing was written" in output and not (root / "values").exists()
    code, output = run("relabel-outcomes", root, "--csv", path)
    assert code == 0 and "6 episodes: 3 successes, 3 failures" in output
    code, output = run("inspect", root)
    assert code == 0 and "values/outcomes.parquet" in output and "3 successes, 3 failures" in output
    assert {file: file.read_bytes() for file in before} == before
    code, output = run("relabel-outcomes", root, "--csv", path, "--json")
    assert json.loads(output) == {
        "episodes": 6,
        "successes": 3,
        "failures": 3,
        "written": str(root / "values" / "outcomes.parquet"),
    }


def test_the_command_fails_with_one_line(make, tmp_path):
    code, output = run("relabel-outcomes", make(cameras={}), "--csv", csv_of(tmp_path, table([(9, 1)])))
    assert code == 1 and output.startswith("error: ") and len(output.splitlines()) == 1


@pytest.mark.parametrize("place", [".", "data", "meta", "videos/../own"])
def test_no_command_takes_a_folder_of_the_dataset_for_sidecars(make, tmp_path, place):
    root, path = make(cameras={}), csv_of(tmp_path, table(enumerate(WORDS)))
    before = sorted(root.rglob("*"))
    for words in (
        ("relabel-outcomes", "--csv", path),
        ("relabel-outcomes", "--csv", path, "--dry-run"),
        ("label", "--tag", "t"),
        ("label", "--tag", "t", "--targets-only"),
        ("plot", "--tag", "t"),
        ("inspect",),
    ):
        code, output = run(words[0], root, *words[1:], "--values", root / place)
        assert code == 1 and f"--values {root / place} lies among the files of the dataset" in output, words
    assert sorted(root.rglob("*")) == before


def test_inspect_finds_a_sidecar_elsewhere(make, tmp_path):
    root, path = make(outcome=None), csv_of(tmp_path, table(enumerate(WORDS)))
    code, output = run("relabel-outcomes", root, "--csv", path, "--values", tmp_path / "V")
    assert code == 0 and f"--data.values {tmp_path / 'V'}" in output
    assert run("inspect", root)[0] == 1
    code, output = run("inspect", root, "--values", tmp_path / "V")
    assert code == 0 and "V/outcomes.parquet" in output


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_a_new_dataset_may_hold_the_outcomes(make, tmp_path, version):
    root, path = make(outcome=None, version=version), csv_of(tmp_path, table(enumerate(WORDS)))
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    arguments = ["relabel-outcomes", root, "--csv", path, "--output", tmp_path / "with"]
    assert run(*arguments)[0] == 0
    made = open_dataset(tmp_path / "with")
    found = resolve_outcomes(made)
    assert found.success.tolist() == VERDICTS and found.source == "next.success (any frame)"
    assert made.frames["next.success"].to_numpy().sum() == 3  # the last frames of successes
    assert made.info["features"]["next.success"]["dtype"] == "bool"
    assert made.states.tolist() == open_dataset(root).states.tolist()
    assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before
    assert run("inspect", tmp_path / "with")[0] == 0
    code, output = run(*arguments)
    assert code == 1 and "exists already" in output
    assert run(*arguments, "--overwrite")[0] == 0
    code, output = run("relabel-outcomes", tmp_path / "with", "--csv", path, "--output", tmp_path / "again")
    assert code == 1 and "has the column 'next.success' already" in output


# -- odd outcomes are told ---------------------------------------------------------------------------------


def per_frame(last, other) -> list[float]:
    return [
        x for length, end in zip((12, 7, 9, 10, 8, 11), last, strict=True) for x in [*other(length - 1), end]
    ]


DENSE = per_frame([0.9] * 6, lambda n: np.linspace(0, 0.8, n))
SPARSE = per_frame([1.0, 0, 1, 0, 1, 0], lambda n: [0.0] * n)
STEPS = per_frame([1.0, -5, 1, -5, 1, 1], lambda n: [-1.0] * n)


def test_a_dense_reward_that_stands_for_outcomes_is_told(make):
    root = make(outcome=None, columns={"next.reward": DENSE})
    (warning,) = resolve_outcomes(open_dataset(root)).warnings
    for part in (
        "outcomes are read from next.reward (last frame > 0), but next.reward is a dense reward",
        "it varies from 0 to 0.8",
        "6 of 6 episodes count as successes",
        "--outcome-column",
        "--data.outcome_column",
        "valuecurve relabel-outcomes",
    ):
        assert part in warning
    code, output = run("inspect", root)
    assert code == 0 and "1 warning" in output and "is a dense reward" in output


@pytest.mark.parametrize("rewards", [SPARSE, STEPS])
def test_a_sparse_reward_is_not(make, rewards):
    dataset = open_dataset(make(cameras={}, outcome=None, columns={"next.reward": rewards}))
    assert resolve_outcomes(dataset).warnings == []


def test_a_reward_column_that_was_named_is_not_doubted(make):
    rewards = [-x if i % 2 else x for i, x in enumerate(DENSE)]
    dataset = open_dataset(make(cameras={}, columns={"next.reward": rewards}))
    assert resolve_outcomes(dataset, "next.reward").warnings == []


@pytest.mark.parametrize(("good", "word"), [(True, "successes"), (False, "failures")])
def test_outcomes_that_are_all_equal_are_told(make, good, word):
    root = make(success=[good] * 6)
    (warning,) = resolve_outcomes(open_dataset(root)).warnings
    assert f"all 6 episodes are {word}, read from next.success (any frame)" in warning
    code, output = run("inspect", root)
    assert code == 0 and warning in output
    assert resolve_outcomes(open_dataset(root), assume="success").success.tolist() == [good] * 6


def test_an_assumption_that_was_made_on_purpose_is_not_told(make):
    dataset = open_dataset(make(cameras={}, outcome=None))
    assert resolve_outcomes(dataset, assume="success").warnings == []


@pytest.mark.slow
def test_training_honours_the_sidecar_and_tells_odd_outcomes(make, tmp_path):
    root = make(outcome=None, columns={"next.reward": DENSE})
    recipe = write_recipe(
        tmp_path / "recipe.yaml", root, tmp_path / "run", max_steps=1, eval_steps=1, save_steps=1
    )
    command = [sys.executable, "trainer/run.py", "--config", str(recipe), "--training.report_to", "none"]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "next.reward is a dense reward" in told.stderr
    write_outcomes(open_dataset(root), np.array(VERDICTS), tmp_path / "V")
    more = ["--training.output_dir", str(tmp_path / "again"), "--data.values", str(tmp_path / "V")]
    quiet = subprocess.run([*command, *more], capture_output=True, text=True)
    assert quiet.returncode == 0, quiet.stderr
    assert "dense reward" not in quiet.stderr
