"""Tiny checkpoints of random weights with their split, as training leaves them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_datasets import make_dataset
from tiny_models import make_checkpoint

from valuecurve.episodes import save_splits
from valuecurve.training import Prepared

LENGTHS = (12, 7, 9, 10, 8, 11) * 5  # 30 episodes: three for the test split


@dataclass
class Held:
    """A checkpoint folder, its dataset, and what was prepared for its training."""

    folder: Path
    dataset: Path
    prepared: Prepared

    @property
    def test_rows(self):
        return self.prepared.data.rows("test")


@pytest.fixture(scope="session")
def many_v30(tmp_path_factory) -> Path:
    """A v3.0 dataset of 30 episodes, 2 tasks, 2 cameras. Read only."""
    return make_dataset(tmp_path_factory.mktemp("many") / "v30", lengths=LENGTHS)


@pytest.fixture(scope="session")
def hold(tmp_path_factory) -> Callable[..., Held]:
    """hold(dataset, model={…}, data={…}): a checkpoint fitted to the dataset, with a split."""

    def make(dataset: Path, model: dict | None = None, data: dict | None = None) -> Held:
        folder = tmp_path_factory.mktemp("held")
        prepared = make_checkpoint(folder, dataset, model, data)
        save_splits(folder / "model" / "split.json", [(p.dataset, p.split) for p in prepared.data.parts])
        return Held(folder / "model", dataset, prepared)

    return make


@pytest.fixture(scope="session")
def held(hold, many_v30) -> Held:
    """A checkpoint of single frames of `many_v30`, with the state in its prompts."""
    return hold(many_v30)
