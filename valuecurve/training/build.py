"""Builds the processor and the model that a configuration describes."""

from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .. import ValueConfig, ValueModel, ValueProcessor
from .config import ConfigError, ModelConfig
from .data import RobotData
from .tokenizer import train_tokenizer


def build_model(config: ModelConfig, data: RobotData) -> tuple[ValueModel, ValueProcessor]:
    """The model and its processor, with the statistics of `data`.

    From `model.base` (a value checkpoint), or from the backbones `model.vision` and `model.text`, or, with
    neither, from random weights; with float32 weights, whatever they are stored in. Fields of `model.config`
    replace those of the base.

    Raises:
        ConfigError: when only one backbone is named.
    """
    if config.base:
        fields = _merged(ValueConfig.from_pretrained(config.base).to_dict(), config.config)
        model = ValueModel.from_pretrained(config.base, config=ValueConfig(**fields), dtype=torch.float32)
        processor = ValueProcessor.from_pretrained(config.base)
        _fit(processor, model, data)
        return model, processor
    if bool(config.vision) != bool(config.text):
        missing = "text" if config.vision else "vision"
        raise ConfigError(f"model.{missing} is not set: name both backbones, or neither for random weights.")
    tokenizer = build_tokenizer(config, data)
    fields: dict[str, Any] = config.config | {
        "image_token_id": tokenizer.convert_tokens_to_ids(config.image_token),
        "value_token_id": tokenizer.convert_tokens_to_ids(config.value_token),
    }
    if config.vision and config.text:
        model = ValueModel.from_backbones(config.vision, config.text, fields, dtype=torch.float32)
    else:
        text = dict(config.config.get("text_config") or {})
        text |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        text |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
        fields["text_config"] = text
        model = ValueModel(ValueConfig(**fields))
    processor = ValueProcessor(
        tokenizer,
        resample=config.resample,
        image_token=config.image_token,
        value_token=config.value_token,
    )
    _fit(processor, model, data)
    return model, processor


def build_tokenizer(config: ModelConfig, data: RobotData) -> PreTrainedTokenizerBase:
    """The named tokenizer, or the text backbone's, or a small one trained on the prompts of the data."""
    if config.tokenizer or config.text:
        return AutoTokenizer.from_pretrained(config.tokenizer or config.text)
    prompts = [f"Task: {task}, State: 128; Question: {task}? Answer: {task}" for task in data.dataset.tasks]
    return train_tokenizer(prompts * 10, config.vocab_size)


def _merged(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`fields` with `changes`, which may name single fields of the backbones' configurations."""
    nested = {k: _merged(fields[k], v) if isinstance(v, dict) else v for k, v in changes.items()}
    return fields | nested


def _fit(processor: ValueProcessor, model: ValueModel, data: RobotData) -> None:
    """Gives the processor the image layout of the model; cameras, statistics, scales, fps of the data."""
    dataset = data.dataset
    processor.image_size = model.config.vision_config.image_size
    processor.vision_tokens_per_image = model.config.vision_tokens_per_image
    processor.cameras = data.camera_names
    processor.state_statistics = {dataset.key: data.state_statistics()} if dataset.state_key else {}
    processor.scales = {task: float(scale) for task, scale in data.scales.items()}
    processor.fps = float(dataset.fps)
