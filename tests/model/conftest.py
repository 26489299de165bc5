"""A tiny model and a processor that belongs to it, and the sample batch that most tests use."""

import numpy as np
import pytest
import torch

from valuecurve import ValueConfig, ValueModel, ValueProcessor
from valuecurve.training.tokenizer import train_tokenizer

TASKS = ["push the puck to the goal", "open the drawer"]
VISION = {
    "model_type": "siglip_vision_model",
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT = {
    "model_type": "gemma3_text",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 8,  # far shorter than a prefix: a sliding layer that cut it would show
    "sliding_window_pattern": 3,
    "max_position_embeddings": 512,
    "initializer_range": 0.18,
}


def make_config(tokenizer, **fields) -> ValueConfig:
    ids = {
        "image_token_id": tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        "value_token_id": tokenizer.convert_tokens_to_ids("<unused0>"),
    }
    text = TEXT | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    return ValueConfig(**{"vision_config": VISION, "text_config": text} | ids | fields)


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
