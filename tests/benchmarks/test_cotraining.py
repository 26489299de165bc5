"""The co-training benchmark, small: both arms see the same frames, and nothing is trained twice."""

import json
from pathlib import Path

import pytest
from programs import load_program

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "benchmarks" / "cotraining.py"


@pytest.fixture(scope="module")
def program():
    return load_program(PROGRAM)


def test_both_arms_see_the_same_frames_in_every_step(program):
    options = program.parse(["--frames", "48", "--ratio", "0.25"])
    alone, together = (program.settings(name, 3, options) for name in (program.ALONE, program.TOGETHER))
    batch = "--training.per_device_train_batch_size"
    assert alone[alone.index(batch) + 1] == "48"
    assert together[together.index(batch) + 1] == "64"
    assert "--data.questions" not in alone


@pytest.mark.slow
def test_a_small_comparison_writes_its_table_and_trains_nothing_twice(program, tiny_v30, tmp_path, capsys):
    arguments = ["--dataset", tiny_v30, "--output", tmp_path / "out", "--docs", tmp_path / "page.md"]
    arguments += ["--steps", 1, "--frames", 4, "--seeds", 0, "--held-out", 8]
    arguments += ["--data.cache_dir", tmp_path / "frames"]
    assert program.main([str(argument) for argument in arguments]) == 0
    page = (tmp_path / "page.md").read_text()
    assert "| before |" in page and "| frames only |" in page and "| frames and questions |" in page
    results = json.loads((tmp_path / "out/results.json").read_text())["results"]
    assert [result["questions"] for result in results] == [8, 8, 8]
    assert all(0 <= result["exact_match"] <= 1 for result in results)
    capsys.readouterr()
    assert program.main([str(argument) for argument in arguments]) == 0
    assert "train_runtime" not in capsys.readouterr().out
    assert (tmp_path / "page.md").read_text() == page
