"""Builds the processor and the model that a configuration describes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from .. import ValueConfig, ValueForConditionalGeneration, ValueModel, ValueProcessor
from .config import ConfigError, ModelConfig, one_line
from .data import RobotData
from .tokenizer import train_tokenizer

Model = TypeVar("Model", bound=ValueModel)


def build_model(config: ModelConfig, data: RobotData) -> tuple[ValueModel, ValueProcessor]:
    """The model and its processor, with the statistics of `data`.

    From `model.base` (a value checkpoint), or from the backbones `model.vision` and `model.text` (either may
    be a value checkpoint: its half is taken, and the joints are new), or, with neither, from random weights;
    with float32 weights, whatever they are stored in. Fields of `model.config` replace those of the base.

    Raises:
        ConfigError: when only one backbone is named, a checkpoint cannot be loaded, or the fields of
            `model.config` make no model.
    """
    if config.base:
        with _loading("model.base", config.base):
            check_value_checkpoint(config.base)
            base = ValueConfig.from_pretrained(config.base)
        with fields_of("model.config"):
            base = ValueConfig(**merged(base.to_dict(), config.config))
        with _loading("model.base", config.base, wanted="processor_config.json"):
            model = load_whole(ValueModel, config.base, config=base)
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
        _check_folder("model.vision", config.vision)
        with _loading("model.text", config.text, f" or model.vision {config.vision!r}"):
            model = ValueModel.from_backbones(config.vision, config.text, fields, dtype=torch.float32)
    else:
        text = dict(config.config.get("text_config") or {})
        text |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        text |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
        fields["text_config"] = text
        with fields_of("model.config"):
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
        key = "model.tokenizer" if config.tokenizer else "model.text"
        with _loading(key, config.tokenizer or config.text, wanted="*token*"):
            tokenizer = AutoTokenizer.from_pretrained(config.tokenizer or config.text)
    else:
        prompts = [f"Task: {task}, State: 128; Question: {task}? Answer: {task}" for task in data.tasks]
        tokenizer = train_tokenizer(prompts * 10, config.vocab_size)
    for key in ("image_token", "value_token"):
        token = getattr(config, key)
        if tokenizer.convert_tokens_to_ids(token) in (None, tokenizer.unk_token_id):
            raise ConfigError(
                f"model.{key}: the tokenizer has no token {token!r}: name a reserved token of it."
            )
    if config.image_token == config.value_token:
        raise ConfigError(f"model.image_token and model.value_token are both {config.value_token!r}.")
    return tokenizer


def check_value_checkpoint(place: str) -> None:
    """Raises ValueError when the configuration at a folder or Hub id is not that of a value model."""
    kind = PreTrainedConfig.get_config_dict(place)[0].get("model_type")
    if kind != ValueConfig.model_type:
        raise ValueError(f"its model_type is {kind!r}, a value checkpoint has {ValueConfig.model_type!r}")


def load_whole(kind: type[Model], place: str, **options: Any) -> Model:
    """A checkpoint as this class, float32; raises ValueError when it lacks weights, which would be random."""
    loaded: Any = kind.from_pretrained(place, dtype=torch.float32, output_loading_info=True, **options)
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"it lacks weights of this model: {', '.join(missing[:5])}")
    return model


def answering(model: ValueModel) -> ValueForConditionalGeneration:
    """The same weights (no copy) as the class that answers questions."""
    if isinstance(model, ValueForConditionalGeneration):
        return model
    with torch.device("meta"):
        view = ValueForConditionalGeneration(model.config)
    for name, part in [*model.named_children(), *model.named_parameters(recurse=False)]:
        setattr(view, name, part)
    return view.train(model.training)


@contextmanager
def _loading(key: str, place: str | None, more: str = "", wanted: str = "config.json") -> Iterator[None]:
    """What goes wrong inside is an error of the checkpoint that `key` of the recipe names."""
    _check_folder(key, place, wanted)
    try:
        yield
    except (OSError, ValueError, RuntimeError, StrictDataclassError, SafetensorError) as error:
        raise ConfigError(f"{key} {place!r}{more} cannot be loaded: {one_line(error)}") from error


def _check_folder(key: str, place: str | None, wanted: str = "config.json") -> None:
    """A name that can only be a folder, or is one, must be one with a checkpoint."""
    folder = Path(str(place))
    if folder.is_dir() and not any(folder.glob(wanted)):
        raise ConfigError(f"{key}: the folder {place} is no checkpoint, it has no {wanted}.")
    if not folder.is_dir() and (folder.is_absolute() or folder.exists() or len(folder.parts) != 2):
        raise ConfigError(
            f"{key}: there is no folder {place}. Name a checkpoint's, or a model of the Hub (owner/name)."
        )


@contextmanager
def fields_of(place: str) -> Iterator[None]:
    """What goes wrong inside is an error of the fields of a configuration."""
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, TypeError, AttributeError, RuntimeError, StrictDataclassError) as error:
        raise ConfigError(f"{place} makes no model: {one_line(error)}") from error


def merged(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`fields` with `changes`, which may name single fields of the backbones' configurations."""
    nested = {k: merged(fields[k], v) if isinstance(v, dict) else v for k, v in changes.items()}
    return fields | nested


def _check_support(config: ValueConfig) -> None:
    """The bins hold all targets, which are in [-1, 0], and their differences in [-1, 1]."""
    low, high = (-1.0, 0.0) if config.frames_per_sample == 1 else (-1.0, 1.0)
    if config.v_min > low or config.v_max < high:
        raise ConfigError(
            f"model.config: the bins from v_min {config.v_min:g} to v_max {config.v_max:g} do not hold the "
            f"targets, which are from {low:g} to {high:g}."
        )


def _fit(processor: ValueProcessor, model: ValueModel, data: RobotData) -> None:
    """Gives the processor the image layout of the model; cameras, statistics, scales, fps and the cost
    of a failure of the data."""
    _check_support(model.config)
    processor.image_size = model.config.vision_config.image_size
    processor.vision_tokens_per_image = model.config.vision_tokens_per_image
    processor.frames_per_sample = model.config.frames_per_sample
    processor.add_value_token = model.config.readout == "value_token"
    processor.cameras = data.camera_names
    processor.state_statistics = data.state_statistics()
    processor.scales = {task: float(scale) for task, scale in data.scales.items()}
    processor.fps = float(data.fps)
    processor.fail, processor.fail_penalty = data.fail, float(data.fail_penalty)
