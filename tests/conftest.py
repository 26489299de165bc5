"""Fixtures shared by all tests: tiny real datasets (see tiny_datasets.py)."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several test processes: a core for each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))  # tests import tiny_datasets by its name

from tiny_datasets import make_dataset  # noqa: E402


@pytest.fixture(scope="session")
def tiny_v30(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A v3.0 dataset of 6 episodes, 2 tasks, 2 cameras, 2 files per camera. Read only."""
    return make_dataset(tmp_path_factory.mktemp("tiny") / "v30")


@pytest.fixture(scope="session")
def tiny_v21(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as v2.1. Read only."""
    return make_dataset(tmp_path_factory.mktemp("tiny") / "v21", version="v2.1")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """make(**options): a dataset of one's own to break."""
    return lambda **options: make_dataset(tmp_path / "dataset", **options)
