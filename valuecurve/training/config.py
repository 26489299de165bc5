"""The configuration of a training run: a YAML recipe, then overrides from the command line.

Three sections: `data` (what to learn from), `model` (what to build or to start from) and `training`
(transformers' `TrainingArguments` and ours). Anything that is not known is an error with a suggestion.
"""

import dataclasses
import difflib
import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, TrainingArguments

from .. import ValueConfig


class ConfigError(ValueError):
    """A configuration that cannot be used; says which key, and which one may be meant."""


@dataclass
class DataConfig:
    dataset: str = field(default="", metadata={"help": "LeRobot dataset folder (v3.0 or v2.1)."})
    outcome_column: str | None = field(
        default=None, metadata={"help": "Column that holds success; default: found."}
    )
    assume_outcome: str | None = field(
        default=None, metadata={"help": "'success' or 'failure' for all episodes."}
    )
    cameras: list[str] | None = field(default=None, metadata={"help": "Camera names to use; default: all."})
    use_state: bool = field(default=True, metadata={"help": "Put the binned state into the prompt."})
    scale: str | float = field(default="task_max", metadata={"help": "'task_max', 'episode', or steps."})
    fail: str = field(default="floor", metadata={"help": "'floor' or 'penalty' for failed episodes."})
    fail_penalty: float = field(default=0.0, metadata={"help": "Steps, for fail: penalty."})
    split_seed: int = field(default=0, metadata={"help": "Seed of the 8:1:1 split by episode."})
    cache_dir: str | None = field(
        default=None, metadata={"help": "Where frame stores live; default: user cache."}
    )


@dataclass
class ModelConfig:
    base: str | None = field(default=None, metadata={"help": "A value checkpoint to start from."})
    vision: str | None = field(default=None, metadata={"help": "Vision backbone checkpoint (SigLIP, …)."})
    text: str | None = field(default=None, metadata={"help": "Text backbone checkpoint (Gemma 3, …)."})
    tokenizer: str | None = field(default=None, metadata={"help": "Tokenizer; default: the text backbone's."})
    vocab_size: int = field(default=1024, metadata={"help": "Of the tokenizer trained when none is named."})
    resample: str = field(default="bicubic", metadata={"help": "'bicubic' or 'bilinear'."})
    image_token: str = field(default="<image_soft_token>", metadata={"help": "Reserved token of images."})
    value_token: str = field(default="<unused0>", metadata={"help": "Reserved token of the readout."})
    config: dict[str, Any] = field(default_factory=dict, metadata={"help": "Fields of ValueConfig."})


@dataclass
class ValueTrainingArguments(TrainingArguments):
    """transformers' `TrainingArguments` plus what a value function needs; defaults that suit it."""

    output_dir: str = field(default="outputs/value", metadata={"help": "Folder of the run."})
    ema_decay: float = field(default=0.0, metadata={"help": "EMA of the weights, kept in float32; 0 is off."})
    state_dropout: float = field(default=0.0, metadata={"help": "Share of training rows without state."})
    random_shift: int = field(
        default=0, metadata={"help": "Random image shift in pixels (Kostrikov et al. 2020)."}
    )
    max_validation_frames: int = field(
        default=4096, metadata={"help": "Validation frames used, evenly spaced."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Rows are frame numbers: keep them."}
    )
    dataloader_pin_memory: bool = field(
        default_factory=torch.accelerator.is_available, metadata={"help": "Where there is an accelerator."}
    )
    report_to: str | list[str] | None = field(
        default="none", metadata={"help": "wandb, trackio, tensorboard."}
    )
    eval_strategy: str = field(default="steps", metadata={"help": "When to validate."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept (last and best)."})
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "Export the best by validation loss."}
    )
    metric_for_best_model: str | None = field(
        default="loss", metadata={"help": "Chooses the best checkpoint."}
    )
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning-rate schedule."})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "A NaN loss must be seen."})


@dataclass
class RunConfig:
    data: DataConfig
    model: ModelConfig
    training: ValueTrainingArguments

    def resolved(self) -> dict[str, Any]:
        """Everything as plain values, defaults included; what `config.yaml` of a run holds."""
        training = {k: v for k, v in self.training.to_dict().items() if not k.startswith("_")}
        return {
            "data": dataclasses.asdict(self.data),
            "model": dataclasses.asdict(self.model),
            "training": training,
        }


def load_config(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Reads a recipe and applies overrides such as `["--training.max_steps", "10"]`.

    Raises:
        ConfigError: for a file that is not there or no YAML mapping, and for every unknown key.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(
            f"no recipe at {path}. Recipes are YAML files, for example trainer/recipes/value_tiny.yaml."
        )
    raw = yaml.safe_load(path.read_text()) or {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a recipe is a mapping with the sections data, model and training.")
    for key, value in parse_overrides(overrides or []):
        _set(raw, key.split("."), value)
    _check_keys(raw, ["data", "model", "training"], "", str(path))
    sections = {name: raw.get(name) or {} for name in ("data", "model", "training")}
    for name, cls in (("data", DataConfig), ("model", ModelConfig), ("training", ValueTrainingArguments)):
        _check_keys(sections[name], [f.name for f in dataclasses.fields(cls) if f.init], name, str(path))
    _check_model_fields(sections["model"].get("config") or {}, str(path))
    if not sections["data"].get("dataset"):
        raise ConfigError(f"{path}: data.dataset is not set. Give a dataset folder: --data.dataset PATH.")
    return RunConfig(
        DataConfig(**sections["data"]),
        ModelConfig(**sections["model"]),
        ValueTrainingArguments(**sections["training"]),
    )


def parse_overrides(arguments: list[str]) -> list[tuple[str, Any]]:
    """`["--a.b", "1", "--c.d=x"]` to `[("a.b", 1), ("c.d", "x")]`; values are read as YAML."""
    pairs, rest = [], list(arguments)
    while rest:
        head = rest.pop(0)
        if not head.startswith("--"):
            raise ConfigError(
                f"cannot read the argument {head!r}: overrides look like --training.max_steps 10."
            )
        key, equals, value = head[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"--{key} has no value: overrides look like --training.max_steps 10.")
            value = rest.pop(0)
        pairs.append((key, _scalar(value)))
    return pairs


def _scalar(text: str) -> Any:
    """YAML, plus floats such as 1e-4, which YAML 1.1 reads as text."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _set(tree: dict, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--{'.'.join(keys)}: {key!r} is a value, not a section.")
    tree[keys[-1]] = value


def _check_keys(section: dict, known: list[str], name: str, where: str) -> None:
    if not isinstance(section, dict):
        raise ConfigError(f"{where}: section {name!r} must be a mapping, got {section!r}.")
    for key in section:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            dotted = f"{name}.{key}" if name else str(key)
            hint = (
                f"Did you mean {f'{name}.' if name else ''}{near[0]}?"
                if near
                else f"Known: {', '.join(known)}."
            )
            raise ConfigError(f"{where}: unknown key {dotted!r}. {hint}")


def _check_model_fields(config: dict, where: str) -> None:
    """Fields of ValueConfig, and of both backbones where they are given by hand."""
    known = [p for p in inspect.signature(ValueConfig.__init__).parameters if p not in ("self", "kwargs")]
    _check_keys(config, known, "model.config", where)
    for name, default in (("vision_config", "siglip_vision_model"), ("text_config", "gemma3_text")):
        backbone = config.get(name) or {}
        model_type = backbone.get("model_type", default)
        fields = [*AutoConfig.for_model(model_type).to_dict(), "sliding_window_pattern"]
        _check_keys(backbone, fields, f"model.config.{name}", where)
