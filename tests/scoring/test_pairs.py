"""Pairwise checkpoints: the columns of seed 3, against the model's own forward pass on pairs of frames."""

import numpy as np
import pytest
import torch
from test_scoring_run import score

from valuecurve.episodes import open_dataset
from valuecurve.scoring import predict
from valuecurve.scoring.checkpoint import load_checkpoint
from valuecurve.scoring.job import Job, Settings
from valuecurve.scoring.passes import ahead


def pair_values(trained, references: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The model's values of (reference, frame), one forward pass over both frames' pixels for each pair."""
    prepared = trained.prepared
    collator, store, part = prepared.collator, prepared.collator.stores[0], prepared.data.only
    batch = prepared.processor.assemble(collator.with_state[frames], images_per_row=2 * len(part.cameras))
    shown = [store.gather(key, rows) for rows in (references, frames) for key in part.cameras]
    batch["pixel_values"] = torch.from_numpy(np.stack(shown, axis=1)).flatten(0, 1)
    with torch.inference_mode():
        return prepared.model.eval()(**batch).value.numpy()


@pytest.mark.parametrize(("batch_size", "part_frames"), [(32, 4096), (4, 20)])
def test_pairs_give_the_columns_of_seed_3(trained_pairs, tiny_v30, tmp_path, batch_size, part_frames):
    scores = score(
        trained_pairs, tiny_v30, tmp_path, horizon=6, batch_size=batch_size, part_frames=part_frames
    )
    dataset = open_dataset(tiny_v30)
    rows = np.arange(57)
    first, last = (
        np.repeat(dataset.starts, dataset.lengths),
        np.repeat(dataset.starts + dataset.lengths - 1, dataset.lengths),
    )
    absolute = pair_values(trained_pairs, first, rows)
    absolute[rows == first] = 0
    later = np.minimum(rows + 6, last)
    passed = np.maximum(later - rows, 1)
    relative = np.where(rows == last, 0, pair_values(trained_pairs, rows, later) / passed * 6).clip(-1, 1)
    advantage = np.where(rows == last, 0, (absolute[later] - absolute) / passed * 6).clip(-1, 1)
    for name, expected in (
        ("absolute_value", absolute),
        ("relative", relative),
        ("absolute_advantage", advantage),
    ):
        np.testing.assert_allclose(scores.columns[name], expected, atol=2e-5, rtol=0, err_msg=name)
    np.testing.assert_array_equal(scores.value, scores.columns["absolute_value"])
    assert scores.manifest["scores"]["horizon"] == 6 and scores.manifest["scores"]["scales"] == {}
    assert np.abs(relative).max() > 1e-3 and np.ptp(absolute) > 1e-3


def test_the_absolute_value_is_what_training_evaluates(trained_pairs, tiny_v30, tmp_path):
    scores = score(trained_pairs, tiny_v30, tmp_path, distribution=True)
    probabilities = predict(trained_pairs.prepared.model, trained_pairs.prepared.collator, np.arange(57))
    np.testing.assert_allclose(scores.columns["distribution"], probabilities, atol=1e-5, rtol=0)


def test_every_image_is_encoded_once(trained_pairs, tiny_v30, tmp_path, monkeypatch):
    from valuecurve import ValueModel

    encoded = []
    encode = ValueModel.get_image_features

    def counting(self, pixel_values):
        encoded.append(len(pixel_values))
        return encode(self, pixel_values)

    monkeypatch.setattr(ValueModel, "get_image_features", counting)
    score(trained_pairs, tiny_v30, tmp_path, horizon=3, batch_size=4)
    assert sum(encoded) == 2 * 57


def test_every_third_frame_of_pairs(trained_pairs, tiny_v30, tmp_path):
    whole = score(trained_pairs, tiny_v30, tmp_path / "whole", horizon=4)
    sparse = score(trained_pairs, tiny_v30, tmp_path / "sparse", horizon=4, every=3)
    dataset = open_dataset(tiny_v30)
    scored = dataset.frame_index % 3 == 0
    for name in ("relative", "absolute_value"):
        np.testing.assert_allclose(
            sparse.columns[name][scored], whole.columns[name][scored], atol=1e-5, rtol=0
        )


def test_differences_are_scaled_to_the_horizon_by_hand(trained_pairs, tiny_v30):
    checkpoint = load_checkpoint(str(trained_pairs.folder))
    job = Job(open_dataset(tiny_v30), checkpoint, Settings(horizon=6), torch.device("cpu"))
    rows = np.array([0, 5, 6, 10, 11])  # episode 0 has 12 frames
    differences = np.array([0.1, -0.2, 0.1, 0.1, 0.3], np.float32)
    expected = [0.1, -0.2, 0.1 / 5 * 6, 0.1 / 1 * 6, 0.0]
    np.testing.assert_allclose(ahead(job, rows, differences), expected, rtol=1e-6)
    np.testing.assert_allclose(ahead(job, rows, -10 * differences), [-1, 1, -1, -1, 0])
