"""Killed, continued and shared between processes, scoring ends byte-identical."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLED = Path(__file__).with_name("score_and_be_killed.py")
TWO = Path(__file__).parents[2] / "trainer" / "accelerate" / "cpu_2.yaml"  # --num_processes 2 would start one
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
OPTIONS = ["--part-frames", "6", "--batch-size", "4", "--distribution"]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def command(trained, dataset: Path, values: Path, *more: str) -> list[str]:
    return [str(trained.folder), str(dataset), "--tag", "t", "--values", str(values), *OPTIONS, *more]


def call(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, check=True
    )


@pytest.fixture(scope="module")
def whole(trained, tiny_v30, tmp_path_factory) -> dict[str, bytes]:
    """What an uninterrupted run in one process with one thread writes."""
    values = tmp_path_factory.mktemp("whole")
    call("-m", "valuecurve.scoring", *command(trained, tiny_v30, values, "--threads", "1"))
    assert len(contents(values)) == 7  # the manifest and six parts
    return contents(values)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_byte_identical(trained, tiny_v30, whole, tmp_path):
    out = call(KILLED, trained.folder, tiny_v30, tmp_path, 20).stdout
    finished = int(out.split()[-1])
    for number in range(finished):
        assert contents(tmp_path / str(number)) == whole, number
    assert finished >= 2


@pytest.mark.slow
def test_two_processes_write_the_same_and_so_does_one_that_continues_after_two(
    trained, tiny_v30, whole, tmp_path
):
    two = ["-m", "accelerate.commands.launch", "--config_file", str(TWO), "--tee", "3"]
    two += ["--log_dir", str(tmp_path / "logs"), "-m", "valuecurve.scoring"]
    call(*two, *command(trained, tiny_v30, tmp_path / "two"))
    assert contents(tmp_path / "two") == whole
    said = sorted(path.read_text() for path in (tmp_path / "logs").rglob("stdout.log"))
    assert len(said) == 2 and said[0] == "" and "57 frames in" in said[1]  # one reports what both did
    process = subprocess.Popen(
        [sys.executable, *two, *command(trained, tiny_v30, tmp_path / "killed")],
        env=ENVIRONMENT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    scores = tmp_path / "killed" / "t" / "scores"
    while process.poll() is None and not list(scores.glob("part-*")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    call("-m", "valuecurve.scoring", *command(trained, tiny_v30, tmp_path / "killed"))
    assert contents(tmp_path / "killed") == whole


@pytest.mark.slow
def test_the_parts_of_a_process_that_hangs_are_waited_for_and_those_of_a_killed_one_taken_over(
    trained, tiny_v30, whole, tmp_path
):
    """Two processes that know nothing of each other share a tag; one is stopped for a while, then killed."""
    arguments = [sys.executable, "-m", "valuecurve.scoring", *command(trained, tiny_v30, tmp_path)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": ENVIRONMENT}
    first = subprocess.Popen(arguments, **quiet)
    scores = tmp_path / "t" / "scores"
    while first.poll() is None and not list(scores.glob(".part-*.lock")):
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    second = subprocess.Popen(arguments, **quiet)
    finished, grown = -1, time.monotonic()
    while second.poll() is None and time.monotonic() - grown < 15:  # as long as it goes on, or starts
        time.sleep(0.05)
        if finished != (finished := len(list(scores.glob("part-*")))):
            grown = time.monotonic()
    first.kill()  # which holds a part or more that the second waits for
    first.wait()
    assert second.wait() == 0
    assert contents(tmp_path) == whole
