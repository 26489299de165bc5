"""The speed benchmark of scoring runs, and what it compares with reads the same frames."""

from pathlib import Path

import numpy as np
import pytest
from programs import load_program
from tiny_models import write_recipe

from valuecurve.episodes import decode_video, open_dataset
from valuecurve.scoring import load_checkpoint
from valuecurve.training import load_config, prepare

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "scoring.py"


@pytest.fixture(scope="module")
def program():
    return load_program(PROGRAM)


@pytest.fixture(scope="module")
def contenders(program, tiny_v30, tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed")
    prepared = prepare(load_config(write_recipe(folder / "recipe.yaml", tiny_v30, folder / "run")))
    prepared.processor.state_statistics = {}
    prepared.model.save_pretrained(folder / "model")
    prepared.processor.save_pretrained(folder / "model")
    checkpoint = load_checkpoint(str(folder / "model"))
    return program.Contenders(checkpoint, open_dataset(tiny_v30), [0, 1, 4], folder / "values")


def test_a_seek_finds_the_frame_that_decoding_in_order_gives(contenders):
    dataset = contenders.dataset
    for camera, place in zip(contenders.job.cameras, contenders.places, strict=True):
        for first, images in decode_video(dataset, camera.key, [1, 4]):
            for row in (first, first + len(images) - 1):
                np.testing.assert_array_equal(
                    contenders.seek(place, row), images[row - first].transpose(1, 2, 0)
                )


def test_every_contender_has_a_speed(contenders):
    speeds = [contenders.ours(), contenders.decode(), contenders.forward(64), contenders.usual(16)]
    assert all(speed.wall > 0 and speed.cpu > 0 for speed in speeds)


def test_the_table_relates_ours_to_the_slower_and_to_both(program):
    row = {"model": "tiny", "data": "h264", "frames": 100, "cameras": 2}
    speeds = {"ours": (90.0, 12.0), "decode": (100.0, 8.0), "forward": (400.0, 2.0), "usual": (9.0, 99.0)}
    row |= {name: program.Speed(*speed) for name, speed in speeds.items()}
    lines = program.table([row])
    assert lines[2] == "| tiny, h264 | 100 x 2 | 90 | 100 | 400 | 90% | 112% | 9 | 10.0 |"
    assert lines[-1] == "| tiny, h264 | 12.00 | 8.00 | 2.00 | +20% | 99.00 |"


def test_made_up_data_is_a_dataset_in_either_codec(program, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "SIZE", (96, 128))
    for codec in ("h264", "av1"):
        dataset = open_dataset(program.made_up(tmp_path / codec, codec, 2, 12, 1))
        decoded = [images for _, images in decode_video(dataset, "camera_0")]
        assert sum(map(len, decoded)) == 24
        assert np.abs(decoded[0][5].transpose(1, 2, 0) - program.pictures(0, 0, 12)[5].astype(int)).mean() < 8
