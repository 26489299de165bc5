"""Parts: how a dataset is divided, and who takes which."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from valuecurve.episodes import open_dataset
from valuecurve.scoring.checkpoint import load_checkpoint
from valuecurve.scoring.claims import Claims
from valuecurve.scoring.job import Job, Settings
from valuecurve.scoring.pictures import Part
from valuecurve.scoring.scores import part_path


@pytest.fixture(scope="module")
def make_job(trained, tiny_v30):
    checkpoint, dataset = load_checkpoint(str(trained.folder)), open_dataset(tiny_v30)
    return lambda **settings: Job(dataset, checkpoint, Settings(**settings), torch.device("cpu"))


@pytest.fixture
def parts(tmp_path):
    (tmp_path / "scores").mkdir()
    return [Part(number, [number], np.arange(3) + 3 * number) for number in range(4)]


def test_parts_are_whole_episodes_of_about_so_many_frames(make_job):
    # lengths 12, 7, 9, 10, 8, 11: an episode belongs to the part in which it begins
    assert [part.episodes for part in make_job(part_frames=20).parts] == [[0, 1, 2], [3, 4], [5]]
    assert [part.episodes for part in make_job(part_frames=1).parts] == [[0], [1], [2], [3], [4], [5]]
    assert [part.episodes for part in make_job().parts] == [[0, 1, 2, 3, 4, 5]]
    some = make_job(part_frames=12, episodes=[5, 2, 3]).parts
    assert [part.episodes for part in some] == [[2, 3], [5]]
    np.testing.assert_array_equal(some[1].rows, np.arange(46, 57))


def test_every_third_frame_and_the_last_are_wanted(make_job):
    (part,) = make_job(every=3, episodes=[1, 2]).parts
    assert part.rows.tolist() == [12, 15, 18, 19, 22, 25, 27]


def test_pairs_want_their_later_frames_too(trained_pairs, tiny_v30):
    checkpoint = load_checkpoint(str(trained_pairs.folder))
    settings = Settings(every=6, horizon=4, episodes=[0])
    (part,) = Job(open_dataset(tiny_v30), checkpoint, settings, torch.device("cpu")).parts
    assert part.rows.tolist() == [0, 4, 6, 10, 11]


def test_two_processes_take_each_part_once(tmp_path, parts):
    with Claims(tmp_path, parts) as first, Claims(tmp_path, parts) as second:
        assert first.get(0) is parts[0] and second.get(0) is parts[1]
        assert first.get(0) is parts[0]  # asked by another thread
        assert second.get(1) is parts[2] and first.get(1) is parts[3]
        assert first.get(2) is None and second.get(2) is None


def test_finished_parts_are_not_taken(tmp_path, parts):
    part_path(tmp_path, 0).write_bytes(b"")
    with Claims(tmp_path, parts) as claims:
        assert claims.get(0) is parts[1]
        part_path(tmp_path, 2).write_bytes(b"")
        assert claims.get(1) is parts[3]


def test_the_parts_of_a_killed_process_are_free(tmp_path, parts):
    code = (
        "import sys, time, pathlib, numpy\n"
        "from valuecurve.scoring.claims import Claims\n"
        "from valuecurve.scoring.pictures import Part\n"
        "claims = Claims(pathlib.Path(sys.argv[1]), [Part(0, [0], numpy.arange(3))])\n"
        "assert claims.get(0)\n"
        "print('taken', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"taken\n"
    with Claims(tmp_path, parts[:1]) as claims:
        assert claims.get(0) is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    taken = None
    while taken is None and time.monotonic() < deadline:
        with Claims(tmp_path, parts[:1]) as claims:
            taken = claims.get(0)
    assert taken is parts[0]
