"""A tiny model and a processor that belongs to it, and the sample batch that most tests use."""

import numpy as np
import pytest
import torch
from tiny_models import TASKS, make_config

from valuecurve import ValueModel, ValueProcessor
from valuecurve.training.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(
        [f"Task: {task}, State: 128; Question: Answer: yes no" for task in TASKS] * 10, 1024
    )


@pytest.fixture
def processor(tokenizer) -> ValueProcessor:
    return ValueProcessor(
        tokenizer,
        image_size=32,
        vision_tokens_per_image=16,
        cameras=["side", "top"],
        state_statistics={"sample": {"q01": [0.0, -1.0, 5.0], "q99": [1.0, 1.0, 5.0]}},
        scales={TASKS[0]: 50.0, TASKS[1]: 80.0},
        fps=10.0,
    )


@pytest.fixture
def model(tokenizer) -> ValueModel:
    torch.manual_seed(0)
    return ValueModel(make_config(tokenizer)).eval()


@pytest.fixture
def frames() -> list[dict[str, np.ndarray]]:
    """Three rows of frames, 48 x 64 px; the second has one camera only."""
    rng = np.random.default_rng(0)
    rows = [
        {name: rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for name in ("side", "top")}
        for _ in range(3)
    ]
    del rows[1]["top"]
    return rows


@pytest.fixture
def batch(processor, frames):
    states = [[0.5, 0.0, 5.0], [0.0, 1.0, 5.0], [0.1, 0.2, 5.0]]
    return processor(images=frames, task=[TASKS[0], TASKS[1], TASKS[0]], state=states)
