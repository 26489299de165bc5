"""Real tiny checkpoints, with the collator that their training would have used on the same dataset."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_models import make_checkpoint

from valuecurve.training import Prepared


@dataclass
class Trained:
    """A checkpoint folder, and what was prepared for its training."""

    folder: Path
    prepared: Prepared


@pytest.fixture(scope="session")
def train(tmp_path_factory) -> Callable[..., Trained]:
    """train(dataset, model={…}, data={…}): a checkpoint with random weights, fitted to the dataset."""

    def make(dataset: Path, model: dict | None = None, data: dict | None = None) -> Trained:
        folder = tmp_path_factory.mktemp("checkpoint")
        return Trained(folder / "model", make_checkpoint(folder, dataset, model, data))

    return make


@pytest.fixture(scope="session")
def trained(train, tiny_v30) -> Trained:
    """A checkpoint for single frames of `tiny_v30`."""
    return train(tiny_v30)


@pytest.fixture(scope="session")
def trained_pairs(train, tiny_v30) -> Trained:
    """A checkpoint for pairs of frames of `tiny_v30`."""
    return train(tiny_v30, {"frames_per_sample": 2, "v_min": -1.0, "v_max": 1.0}, {"scale": "episode"})
