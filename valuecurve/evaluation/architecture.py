"""What a recipe, a checkpoint or a configuration builds: its parts and their parameters, without any weights.

The model is instantiated on the meta device, so that the largest one takes no memory; its sizes come from the
backbones on disk, or else from `backbones.py`. Nothing is downloaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedConfig

from .. import ValueConfig, ValueModel
from ..training import ConfigError, RunConfig, load_config
from ..training.build import fields_of, merged
from ..training.config import one_line, read_yaml
from ..training.lora import add_lora
from .backbones import BACKBONES

PARTS = ("vision", "projector", "text", "embeddings", "head")
COLUMNS = ("recipe", *PARTS, "total", "trainable")


@dataclass
class Architecture:
    """A model on the meta device, and what its configuration does not say."""

    name: str
    model: ValueModel
    backbones: tuple[str, str] = ("", "")  # what the recipe names for vision and text
    lora_rank: int = 0
    use_state: bool = True

    @property
    def config(self) -> ValueConfig:
        return self.model.config

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter once, by part: the language head shares the embeddings' where it is tied."""
        model, embeddings = self.model, self.model.get_input_embeddings()
        parts = {"vision": model.vision_tower, "projector": model.projector, "embeddings": embeddings}
        found = {name: list(module.parameters()) for name, module in parts.items()}
        known = {id(parameter) for parameters in found.values() for parameter in parameters}
        text = [*model.text_model.parameters(), *model.lm_head.parameters()]
        found["text"] = [parameter for parameter in text if id(parameter) not in known]
        known |= {id(parameter) for parameter in found["text"]}
        found["head"] = [p for p in model.parameters() if id(p) not in known]  # value token and readout too
        return {name: found[name] for name in PARTS}

    def counts(self) -> dict[str, int]:
        """Parameters of each part, "total" and "trainable"."""
        parts = self.parts()
        counts = {name: sum(p.numel() for p in parameters) for name, parameters in parts.items()}
        trained = sum(p.numel() for group in parts.values() for p in group if p.requires_grad)
        return counts | {"total": sum(counts.values()), "trainable": trained}

    def trained_share(self, part: str) -> float:
        """Share of the part's parameters that training changes."""
        parameters = self.parts()[part]
        trained = sum(p.numel() for p in parameters if p.requires_grad)
        return trained / max(sum(p.numel() for p in parameters), 1)


def read_architecture(source: str | Path) -> Architecture:
    """The architecture of a recipe (YAML), a checkpoint (folder or Hub id) or a `config.json`.

    Raises:
        ConfigError: when it cannot be read, is none of these, or names a backbone that is neither on disk nor
            known by its size.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        recipe = _load_recipe(path)
        config, training = recipe.model, recipe.training
        names = ("", "") if config.base else (config.vision or "", config.text or "")
        with fields_of(str(path)), torch.device("meta"):
            model = ValueModel(_recipe_config(recipe))
        lora = training.lora_settings()
        if lora:
            add_lora(model, lora)
        rank = lora.r if lora else 0
        return Architecture(path.stem, model, names, rank, recipe.data.use_state)
    try:
        kind = PreTrainedConfig.get_config_dict(source)[0].get("model_type")
    except (OSError, ValueError, TypeError, AttributeError) as error:  # the latter: no mapping
        raise ConfigError(
            f"{source} is no recipe (YAML), checkpoint or config.json: {one_line(error)}"
        ) from error
    if kind != ValueConfig.model_type:
        raise ConfigError(
            f"{source} is no recipe (YAML), checkpoint or config.json of a value model: "
            f"its model_type is {kind!r}, not {ValueConfig.model_type!r}."
        )
    with fields_of(str(source)), torch.device("meta"):
        model = ValueModel(ValueConfig.from_pretrained(source))
    return Architecture(path.parent.name if path.suffix == ".json" else path.name, model)


def _load_recipe(path: Path) -> RunConfig:
    """A recipe without its data and its machine: neither is needed to build the model."""
    overrides = ["--training.bf16", "false"]
    raw = read_yaml(path) if path.is_file() else None
    data = raw.get("data") if isinstance(raw, dict) else None
    if not isinstance(data, dict) or not (data.get("dataset") or data.get("mixture")):
        overrides += ["--data.dataset", "none"]
    return load_config(path, overrides)


def _recipe_config(recipe: RunConfig) -> ValueConfig:
    model = recipe.model
    fields: dict[str, Any] = dict(model.config)
    if model.base:
        fields = merged(ValueConfig.from_pretrained(model.base).to_dict(), fields)
    elif model.vision and model.text:
        halves = {"vision_config": model.vision, "text_config": model.text}
        for key, name in halves.items():
            half = _backbone_config(name, key)
            half.update(fields.get(key) or {})
            fields[key] = half
    else:
        fields["text_config"] = {"vocab_size": model.vocab_size} | (fields.get("text_config") or {})
    return ValueConfig(**fields)


def _backbone_config(name: str, half: str) -> PreTrainedConfig:
    """The vision or text configuration of a checkpoint on disk (of a value model too), or of a known size."""
    try:
        kind = PreTrainedConfig.get_config_dict(name, local_files_only=True)[0].get("model_type")
    except OSError as error:
        if name not in BACKBONES:
            raise ConfigError(
                f"{name} is not on this machine, and its size is not known here "
                f"(known: {', '.join(BACKBONES)}): give a folder with its config.json."
            ) from error
        known = dict(BACKBONES[name])
        return AutoConfig.for_model(known.pop("model_type"), **known)
    if kind == ValueConfig.model_type:
        return getattr(ValueConfig.from_pretrained(name), half)
    config = AutoConfig.from_pretrained(name, local_files_only=True)
    return config.get_text_config() if half == "text_config" else getattr(config, half, config)


def shipped_recipes(folder: Path = Path("trainer/recipes")) -> list[Path]:
    """The recipes of a checkout that train a value model, the small ones last."""
    files = [path for path in folder.glob("*.yaml") if "data" in (read_yaml(path) or {})]
    if not files:
        raise ConfigError(f"there are no recipes in {folder}: name some.")
    return sorted(files, key=lambda path: ("_tiny" in path.stem, path.stem))


def parameter_rows(sources: Sequence[str | Path]) -> list[dict[str, Any]]:
    """One row a recipe: its name and the parameters of each part, "total" and "trainable"."""
    return [
        {"recipe": architecture.name} | architecture.counts()
        for architecture in (read_architecture(source) for source in sources)
    ]


def parameter_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    for row in rows:
        cells = [row["recipe"], *(short_number(row[name]) for name in COLUMNS[1:])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def short_number(count: int) -> str:
    """428225600 as "428.2 M", 76929 as "76.9 k"."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)
