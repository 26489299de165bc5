"""The labels benchmark, small: both ways agree, and a difference would be seen."""

from pathlib import Path

import numpy as np
import pytest
from programs import load_program

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "labels.py"


@pytest.fixture(scope="module")
def program():
    return load_program(PROGRAM)


def test_a_small_run_writes_its_table(program, tmp_path, capsys):
    page = tmp_path / "page.md"
    assert program.main(["--frames", "60000", "--loop-frames", "20000", "--docs", str(page)]) == 0
    text = page.read_text()
    assert "60,000 frames, 20 tasks" in text and "| **thresholds and indicators** |" in text
    assert text in capsys.readouterr().out or "| advantages (n-step, 50) |" in text


def test_the_frames_are_as_many_as_asked_for(program):
    data = program.made_up(12_345)
    assert data["lengths"].sum() == 12_345 == len(data["values"]) and data["lengths"].min() >= 1


def test_a_result_that_differs_fails(program):
    data = program.made_up(20_000)
    _, loop, frames = program.plain_loop(data, 10_000)
    program.check_equal(data, loop, frames)
    loop["advantages"][500] += 0.01
    with pytest.raises(AssertionError):
        program.check_equal(data, loop, frames)
    assert np.isfinite(loop["advantages"]).all()
