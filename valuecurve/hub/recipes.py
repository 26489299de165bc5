"""The recipe of a run as others can read and use it: what makes the model, and nothing of the machine."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

# Of `training`: places, names and habits of one machine or user; they change nothing of the weights.
OF_THE_MACHINE = {
    *("output_dir", "logging_dir", "run_name", "project", "report_to", "disable_tqdm", "log_level"),
    *("log_level_replica", "log_on_each_node", "local_rank", "use_cpu", "resume_from_checkpoint"),
    *("deepspeed", "fsdp", "fsdp_config", "accelerator_config", "parallelism_config", "ddp_backend"),
    *("ddp_timeout", "tpu_num_cores", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers", "debug"),
    *("dataloader_prefetch_factor", "dataloader_multiprocessing_context", "skip_memory_metrics"),
    *("activation_checkpointing", "gradient_checkpointing", "greater_is_better"),
    *("do_train", "do_eval", "do_predict", "logging_strategy", "logging_first_step", "save_on_each_node"),
}
OF_THE_DATA = ("cache_dir", "values")  # folders
DATASETS = ("dataset", "questions", "questions_images")  # folders, files, or names of the Hub
BACKBONES = ("base", "vision", "text", "tokenizer")


def read_run(path: Path) -> dict[str, Any]:
    """`config.yaml` of a run; empty where there is none, or where it cannot be read."""
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    if not isinstance(read, dict):
        return {}
    sections = (read.get(name) or {} for name in ("data", "model", "training"))
    return read if all(isinstance(section, dict) for section in sections) else {}


def public_recipe(config: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    """A run's settings without what belongs to its machine, and without defaults: a recipe to train by.

    Args:
        config: as `config.yaml` holds it.
        keys: names of the datasets of the split, in the order of the mixture: they stand for folders.
    """
    if not config:
        return {}
    from ..training.config import DataConfig, ModelConfig, ValueTrainingArguments

    data, model = dict(config.get("data") or {}), dict(config.get("model") or {})
    names = iter(keys)
    parts = [data] if data.get("dataset") else list(data.get("mixture") or [])
    parts = [_public_part(dict(part), next(names, None)) for part in parts]
    if data.get("dataset"):
        data = parts[0]
    elif parts:
        data = _public_part(data, None) | {"mixture": parts}
    model |= {key: name_of(model[key]) for key in BACKBONES if model.get(key)}
    training = config.get("training") or {}
    training = {k: v for k, v in training.items() if k not in OF_THE_MACHINE and not k.startswith("hub_")}
    training.pop("push_to_hub", None)
    return {
        "data": _changed(data, DataConfig),
        "model": _changed(model, ModelConfig),
        "training": _changed(training, ValueTrainingArguments),
    }


def _public_part(part: dict[str, Any], key: str | None) -> dict[str, Any]:
    part = {name: value for name, value in part.items() if name not in OF_THE_DATA}
    part |= {name: name_of(part[name]) for name in DATASETS if part.get(name)}
    return part | {"dataset": key} if key else part


def name_of(place: str) -> str:
    """A name of the Hub as it is, and the last part of a folder or file of this machine."""
    path = Path(place)
    return path.name if path.is_absolute() or path.exists() or len(path.parts) != 2 else str(place)


def _changed(values: dict[str, Any], cls: type) -> dict[str, Any]:
    """What differs from the defaults."""
    defaults = {f.name: f.default for f in fields(cls)}
    return {
        name: value
        for name, value in values.items()
        if name in defaults and value != defaults[name] and value not in (None, {}, [])
    }


def recipe_yaml(recipe: dict[str, Any]) -> str:
    """`recipe.yaml` of a pushed model."""
    head = "# What this model was trained by: accelerate launch trainer/run.py --config recipe.yaml\n"
    return head + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
