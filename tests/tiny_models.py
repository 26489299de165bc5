"""Tiny models of the real classes for tests, checkpoints of them, and a recipe that trains one in seconds."""

from pathlib import Path
from typing import Any

import yaml

from valuecurve import ValueConfig
from valuecurve.training import Prepared, load_config, prepare

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
    text = TEXT | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    defaults: dict[str, Any] = {
        "vision_config": VISION,
        "text_config": text,
        "image_token_id": tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        "value_token_id": tokenizer.convert_tokens_to_ids("<unused0>"),
    }
    return ValueConfig(**defaults | fields)


def write_recipe(path: Path, dataset: Path, output: Path, **training) -> Path:
    """A recipe for a tiny model on `dataset`; `training` overrides its training section."""
    recipe = {
        "data": {"dataset": str(dataset), "cache_dir": str(path.parent / "frames")},
        "model": {"config": {"vision_config": VISION, "text_config": TEXT}},
        "training": {
            "output_dir": str(output),
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "learning_rate": 0.003,
            "eval_steps": 2,
            "save_steps": 2,
            "logging_steps": 1,
            "ema_decay": 0.9,
            "disable_tqdm": True,
        }
        | training,
    }
    path.write_text(yaml.safe_dump(recipe))
    return path


def make_checkpoint(
    folder: Path, dataset: Path, model: dict | None = None, data: dict | None = None, **training
) -> Prepared:
    """A checkpoint with random weights, fitted to the dataset, in `folder`/model; nothing is trained.

    `model`, `data` and `training` override those sections of the recipe. Returns what was prepared.
    """
    path = write_recipe(folder / "recipe.yaml", dataset, folder / "run", **training)
    recipe = yaml.safe_load(path.read_text())
    recipe["model"]["config"] |= model or {}
    recipe["data"] |= data or {}
    path.write_text(yaml.safe_dump(recipe))
    prepared = prepare(load_config(path))
    for part in (prepared.model, prepared.processor):
        part.save_pretrained(folder / "model")
    return prepared
