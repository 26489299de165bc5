"""The speed benchmark runs, its parts add up, and what it compares with reads the same frames."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from programs import load_program
from tiny_datasets import make_dataset
from tiny_models import write_recipe

from valuecurve.episodes import open_dataset
from valuecurve.processing_value import resize_images
from valuecurve.training import load_config, prepare

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "train_throughput.py"
ROOT = PROGRAM.parents[1]


@pytest.fixture(scope="module")
def program():
    return load_program(PROGRAM)


def test_a_stopwatch_counts_each_part_without_those_inside(program):
    def work(seconds):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    watch = program.Stopwatch()
    with watch.part("outer"):
        work(0.02)
        with watch.part("inner"):
            work(0.06)
    assert set(watch.seconds) == {"outer", "inner"}
    assert watch.seconds["inner"] > 2 * watch.seconds["outer"] > 0.02


def test_the_usual_loader_finds_the_frames_of_the_frame_store(program, tiny_v30, tmp_path):
    """Or the comparison would be worth nothing. Its resize is on float32, so not to the bit."""
    prepared = prepare(load_config(write_recipe(tmp_path / "r.yaml", tiny_v30, tmp_path / "run")))
    rows = np.array([30, 3, 17, 56])
    ours, theirs = prepared.collator(rows), program.PeerLoader(prepared).batch(rows)
    seen = (theirs["pixel_values"] * 0.5 + 0.5) * 255
    assert (seen - ours["pixel_values"].float()).abs().mean() < 3
    assert torch.equal(theirs["input_ids"], ours["input_ids"])
    assert torch.equal(theirs["value_targets"], ours["value_targets"])
    frame = program.PeerLoader(prepared).frame(prepared.data.cameras[0], 17) * 255
    resized = resize_images(frame.byte()[None], 32)[0]
    assert (resized.float() - ours["pixel_values"][4].float()).abs().mean() < 3


def test_a_third_camera_is_the_first_one_again(program, tmp_path):
    source = make_dataset(tmp_path / "source")
    for _ in range(2):  # the second time it is there already
        dataset = open_dataset(program.with_a_third_camera(source, tmp_path / "three"))
    first, _, third = dataset.cameras
    assert third == f"{first}_again"
    assert [p.resolve() for p in dataset.video_files(third)[0]] == [
        p.resolve() for p in dataset.video_files(first)[0]
    ]


@pytest.mark.slow
def test_the_tables_are_written_between_their_markers(program, tmp_path, capsys):
    page = tmp_path / "RESULTS.md"
    call = ["--sizes", "tiny", "--steps", "1", "--warmup", "1", "--rounds", "1", "--batch-size", "4"]
    call += ["--profile", "--peer", "--work", str(tmp_path), "--results", str(page)]
    call += ["--data.episodes", "0:10", "--data.cache_dir", str(tmp_path / "frames")]
    assert program.main(call) == 0
    text = page.read_text()
    assert text.count("<!-- train_throughput cpu tiny -->") == 1
    assert "| tiny, 4 samples, 8 images" in text and "| the usual way |" in text
    shares = [line.rsplit("|", 2)[1] for line in text.split("| ms of CPU |")[1].splitlines()[2:-1]]
    assert sum(float(share.strip().rstrip("%")) for share in shares) == pytest.approx(100, abs=1)
