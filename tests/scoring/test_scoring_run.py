"""Scoring whole datasets: the values are those of the frame store, whatever the parts, and in any layout."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny_datasets import TOP, WRIST

from valuecurve import ValueModel
from valuecurve.episodes import images, open_dataset
from valuecurve.metrics import quantiles
from valuecurve.returns import bin_centers
from valuecurve.scoring import forward, predict, read_scores
from valuecurve.scoring.checkpoint import load_checkpoint
from valuecurve.scoring.job import Job, Settings
from valuecurve.scoring.pictures import Pictures, read_camera
from valuecurve.scoring.run import interpolate, score_dataset


def score(trained, dataset, folder, **settings):
    """Scores of a dataset under the tag "t" in a folder, in two threads, in float32 as training here."""
    opened = open_dataset(dataset)
    checkpoint = load_checkpoint(str(trained.folder))
    score_dataset(checkpoint, opened, "t", folder, Settings(**{"dtype": "float32", **settings}), threads=2)
    return read_scores(opened, "t", folder)


@pytest.fixture(scope="module")
def probabilities(trained):
    collator, model = trained.prepared.collator, trained.prepared.model
    return predict(model, collator, np.arange(len(trained.prepared.data.targets)), batch_size=16)


@pytest.mark.parametrize(("batch_size", "part_frames"), [(32, 4096), (5, 20), (64, 1)])
def test_values_are_those_of_the_frame_store(
    trained, tiny_v30, probabilities, tmp_path, batch_size, part_frames
):
    scores = score(
        trained, tiny_v30, tmp_path, batch_size=batch_size, part_frames=part_frames, distribution=True
    )
    centers = bin_centers(201)
    expected = probabilities @ centers
    std = np.sqrt(probabilities @ centers**2 - expected**2)
    assert scores.rows.tolist() == list(range(57))
    np.testing.assert_allclose(scores.value, expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(scores.value_std, std, atol=1e-5, rtol=0)
    np.testing.assert_allclose(scores.columns["distribution"], probabilities, atol=1e-5, rtol=0)
    assert np.ptp(scores.value) > 1e-3  # or the comparison would say little


def test_values_do_not_depend_on_how_many_images_are_encoded_at_a_time(
    trained, tiny_v30, probabilities, tmp_path, monkeypatch
):
    seen = []
    encode = ValueModel.get_image_features
    monkeypatch.setattr(
        ValueModel, "get_image_features", lambda self, x: seen.append(len(x)) or encode(self, x)
    )
    monkeypatch.setattr(forward, "SLICE", 80)  # five images of 16 tokens
    scores = score(trained, tiny_v30, tmp_path, batch_size=16)
    assert max(seen) <= 5 and sum(seen) == 57 * 2
    np.testing.assert_allclose(scores.value, probabilities @ bin_centers(201), atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk_bytes", [1, 3 * 48 * 64 * 3, 1 << 22])
def test_the_pictures_are_those_of_the_frame_store_to_the_byte(trained, tiny_v30, monkeypatch, chunk_bytes):
    monkeypatch.setattr(images, "CHUNK_BYTES", chunk_bytes)
    dataset = open_dataset(tiny_v30)
    job = Job(dataset, load_checkpoint(str(trained.folder)), Settings(), torch.device("cpu"))
    for camera in job.cameras:
        found = list(read_camera(dataset, camera, job.parts[0], 32, "bicubic"))
        chunks = [pictures.images for pictures in found if isinstance(pictures, Pictures)]
        assert max(map(len, chunks)) == {1: 1, 1 << 22: 16}.get(chunk_bytes, 3)
        expected = trained.prepared.collator.stores[0].gather(camera.key, np.arange(57))
        np.testing.assert_array_equal(torch.cat(chunks).numpy(), expected)


def test_quantiles_are_those_of_the_distribution(trained, tiny_v30, probabilities, tmp_path):
    scores = score(trained, tiny_v30, tmp_path, quantiles=(0.1, 0.5, 0.9))
    assert scores.manifest["scores"]["quantile_levels"] == [0.1, 0.5, 0.9]
    expected = quantiles(probabilities, [0.1, 0.5, 0.9]).T
    np.testing.assert_allclose(scores.columns["quantiles"], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"version": "v2.1"},
        {"image_cameras": (WRIST,)},
        {"image_cameras": (TOP, WRIST), "files": 1},
        {"state_size": 0},
        {"lengths": (1, 2, 70, 1, 20, 3, 1), "files": 1},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_layout_gives_the_values_of_its_frame_store(train, make, tmp_path, options):
    dataset = make(**options)
    trained = train(dataset)
    rows = np.arange(len(trained.prepared.data.targets))
    expected = predict(trained.prepared.model, trained.prepared.collator, rows) @ bin_centers(201)
    scores = score(trained, dataset, tmp_path / "values", batch_size=8, part_frames=15)
    np.testing.assert_allclose(scores.value, expected, atol=1e-5, rtol=0)


def test_some_episodes_and_the_index_of_the_dataset(trained, tiny_v30, tmp_path):
    scores = score(trained, tiny_v30, tmp_path, episodes="1:3, 5")
    dataset = open_dataset(tiny_v30)
    np.testing.assert_array_equal(scores.rows, dataset.episode_rows([1, 2, 5]))
    assert scores.manifest["scores"]["episodes"] == [1, 2, 5]
    table = pq.read_table(scores.folder / "scores" / "part-00000.parquet")
    np.testing.assert_array_equal(table["index"].to_numpy(), dataset.frames["index"].to_numpy()[scores.rows])


def test_every_third_frame_is_scored_and_the_others_lie_between(trained, tiny_v30, tmp_path):
    whole = score(trained, tiny_v30, tmp_path / "whole", distribution=True)
    sparse = score(trained, tiny_v30, tmp_path / "sparse", every=3, distribution=True, part_frames=20)
    assert sparse.manifest["scores"]["every"] == 3
    dataset = open_dataset(tiny_v30)
    last = np.isin(np.arange(57), dataset.starts + dataset.lengths - 1)
    scored = (dataset.frame_index % 3 == 0) | last
    np.testing.assert_allclose(sparse.value[scored], whole.value[scored], atol=1e-5, rtol=0)
    np.testing.assert_allclose(
        sparse.value[1], whole.value[0] * 2 / 3 + whole.value[3] / 3, atol=1e-5, rtol=0
    )
    mixed = whole.columns["distribution"][0] / 3 + whole.columns["distribution"][3] * 2 / 3
    np.testing.assert_allclose(sparse.columns["distribution"][2], mixed, atol=1e-5, rtol=0)


def test_interpolation_by_hand():
    rows, known = np.array([0, 1, 2, 3, 4, 10, 11]), np.array([0, 3, 4, 10, 11])
    values = np.array([0.0, 3.0, -1.0, 5.0, 7.0], np.float32)
    assert interpolate(rows, known, values).tolist() == [0.0, 1.0, 2.0, 3.0, -1.0, 5.0, 7.0]
    both = interpolate(rows, known, np.stack([values, -values], axis=1))
    assert both[:, 1].tolist() == [0.0, -1.0, -2.0, -3.0, 1.0, -5.0, -7.0]


def test_the_manifest_says_what_was_done_and_names_no_machine(trained, tiny_v30, tmp_path):
    scores = score(trained, tiny_v30, tmp_path / "values")
    manifest = json.loads((scores.folder / "manifest.json").read_text())
    about = manifest["scores"]
    assert manifest["dataset"] == {
        "key": "v30",
        "fingerprint": open_dataset(tiny_v30).fingerprint,
        "frames": 57,
        "episodes": 6,
    }
    assert about["model"].endswith("/model") and about["model"].count("/") == 1
    assert about["scales"] == trained.prepared.processor.scales and about["fps"] == 10
    assert (about["v_min"], about["v_max"], about["num_bins"]) == (-1.0, 0.0, 201)
    assert about["columns"] == ["index", "episode_index", "frame_index", "value", "value_std"]
    assert about["complete"] and about["failed_episodes"] == {} and about["episodes"] == "all"
    assert len(about["weights"]) == 64 and about["versions"]["torch"] == torch.__version__
    assert str(tmp_path) not in json.dumps(manifest)
    assert sorted(path.name for path in scores.folder.rglob("*")) == [
        "manifest.json",
        "part-00000.parquet",
        "scores",
    ]


def test_another_dataset_of_the_same_robot_takes_the_only_statistics(trained, tiny_v30, make, tmp_path):
    scores = score(trained, make(), tmp_path / "values")
    assert scores.manifest["scores"]["statistics"] == "v30"
    np.testing.assert_array_equal(scores.value, score(trained, tiny_v30, tmp_path / "own").value)


def test_bfloat16_is_close_and_its_head_is_exact(trained, tiny_v30, tmp_path):
    exact = score(trained, tiny_v30, tmp_path / "a", dtype="float32")
    rough = score(trained, tiny_v30, tmp_path / "b", dtype="bfloat16")
    assert rough.manifest["scores"]["dtype"] == "bfloat16"
    assert 0 < np.abs(exact.value - rough.value).max() < 0.01
    assert len(np.unique(rough.value)) > 50  # a head in bfloat16 would round to 8 bits


def test_a_model_without_state_reads_none(train, tiny_v30, tmp_path):
    trained = train(tiny_v30, data={"use_state": False})
    rows = np.arange(57)
    expected = predict(trained.prepared.model, trained.prepared.collator, rows) @ bin_centers(201)
    scores = score(trained, tiny_v30, tmp_path)
    assert scores.manifest["scores"]["statistics"] is None
    np.testing.assert_allclose(scores.value, expected, atol=1e-5, rtol=0)
