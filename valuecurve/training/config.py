"""The configuration of a training run: a YAML recipe, then overrides from the command line.

Three sections: `data` (what to learn from), `model` (what to build or to start from) and `training`
(transformers' `TrainingArguments` and ours). Anything that is not known is an error with a suggestion.
"""

import dataclasses
import difflib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
import yaml
from transformers import CONFIG_MAPPING, AutoConfig, TrainingArguments

from .. import ValueConfig
from .augmentation import Augmentation, jitter_strengths


class ConfigError(ValueError):
    """A configuration that cannot be used; says which key, and which one may be meant."""


@dataclass
class PartConfig:
    """What each dataset of a mixture may have of its own."""

    dataset: str = field(
        default="", metadata={"help": "LeRobot dataset: a folder, or org/name@revision of the Hub."}
    )
    weight: float | None = field(default=None, metadata={"help": "Share of the frames; default: by size."})
    episodes: str | list[int] | None = field(
        default=None, metadata={"help": "Episodes to use: a list, or '0:100, 150'; default: all."}
    )
    cameras: list[str] | None = field(default=None, metadata={"help": "Camera names to use; default: all."})
    outcome_column: str | None = field(
        default=None, metadata={"help": "Column that holds success; default: found."}
    )
    assume_outcome: str | None = field(
        default=None, metadata={"help": "'success' or 'failure' for all episodes."}
    )
    values: str | None = field(
        default=None, metadata={"help": "Folder of sidecars (outcomes); default: DATASET/values."}
    )
    reward_column: str | None = field(
        default=None, metadata={"help": "Column of dense rewards, in steps; default: -1 a step."}
    )


@dataclass
class DataConfig(PartConfig):
    mixture: list[dict[str, Any]] | None = field(
        default=None, metadata={"help": "Several datasets: a list of mappings with the keys above."}
    )
    fps: float | None = field(default=None, metadata={"help": "Common frame rate; default: the datasets'."})
    use_state: bool = field(default=True, metadata={"help": "Put the binned state into the prompt."})
    scale: str | float = field(default="task_max", metadata={"help": "'task_max', 'episode', or steps."})
    fail: str = field(default="floor", metadata={"help": "'floor' or 'penalty' for failed episodes."})
    fail_penalty: float = field(default=0.0, metadata={"help": "Steps, for fail: penalty."})
    split_seed: int = field(default=0, metadata={"help": "Seed of the 8:1:1 split by episode."})
    questions: str | None = field(
        default=None, metadata={"help": "Questions about images to train on as well (VQA)."}
    )
    questions_layout: str | None = field(default=None, metadata={"help": "Their layout; default: found."})
    questions_images: str | None = field(
        default=None, metadata={"help": "Folder of the images that they name; default: found beside them."}
    )
    stream_questions: bool = field(default=False, metadata={"help": "Read them while training."})
    question_ratio: float = field(default=0.25, metadata={"help": "Their share of every batch."})
    wrist_cameras: list[str] | None = field(
        default=None, metadata={"help": "Cameras that are never shifted or turned; default: by their names."}
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "Where frame stores live; default: user cache."}
    )

    def parts(self) -> list[PartConfig]:
        """One for each dataset; what a dataset of the mixture leaves out, it has from here."""
        common = {f.name: getattr(self, f.name) for f in dataclasses.fields(PartConfig)}
        return [PartConfig(**common | entry) for entry in self.mixture or [{}]]


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


LOWER_IS_BETTER = ("nll", "mae", "rmse", "crps", "ece")  # of the validation metrics
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass
class LoraSettings:
    r: int = field(default=16, metadata={"help": "Rank of the adapters."})
    alpha: float = field(default=32.0, metadata={"help": "The adapters count alpha / r times."})
    dropout: float = field(default=0.0, metadata={"help": "Share of their inputs dropped in training."})
    target_modules: list[str] = field(
        default_factory=lambda: list(LORA_TARGETS),
        metadata={"help": "Linear layers of the text backbone that get one."},
    )


@dataclass
class ValueTrainingArguments(TrainingArguments):
    """transformers' `TrainingArguments` plus what a value function needs; defaults that suit it."""

    output_dir: str = field(default="outputs/value", metadata={"help": "Folder of the run."})
    ema_decay: float = field(default=0.0, metadata={"help": "EMA of the weights, kept in float32; 0 is off."})
    state_dropout: float = field(default=0.0, metadata={"help": "Share of training rows without state."})
    random_shift: int = field(
        default=0, metadata={"help": "Training images are shifted by up to this many pixels."}
    )
    random_crop: float = field(
        default=1.0, metadata={"help": "Smallest share of each side that is kept and scaled back; 1 is off."}
    )
    random_rotation: float = field(default=0.0, metadata={"help": "Up to this many degrees either way."})
    color_jitter: float | dict[str, Any] = field(
        default=0.0, metadata={"help": "{brightness, contrast, saturation, hue}, or one number for 3."}
    )
    max_validation_frames: int = field(
        default=4096, metadata={"help": "Validation frames used, evenly spaced."}
    )
    lora: dict[str, Any] | None = field(
        default=None, metadata={"help": "LoRA on the text backbone: r, alpha, dropout, target_modules."}
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

    def __post_init__(self):
        name = (self.metric_for_best_model or "loss").removeprefix("eval_")
        if self.greater_is_better is None and name in LOWER_IS_BETTER:
            self.greater_is_better = False  # transformers takes all but losses for better when greater
        super().__post_init__()

    def augmentation(self) -> Augmentation:
        """How training images are varied; raises ValueError for strengths that cannot be."""
        return Augmentation(
            shift=self.random_shift,
            crop=self.random_crop,
            rotation=self.random_rotation,
            **jitter_strengths(self.color_jitter),
        )

    def lora_settings(self) -> LoraSettings | None:
        """`lora` with its defaults; None without LoRA."""
        return None if self.lora is None else LoraSettings(**self.lora)


@dataclass
class AlignmentConfig:
    questions: str = field(default="", metadata={"help": "Questions or captions: folder, file or Hub name."})
    layout: str | None = field(default=None, metadata={"help": "Their layout; default: found."})
    images: str | None = field(default=None, metadata={"help": "Folder of their images; default: beside."})
    max_held_out: int = field(default=512, metadata={"help": "Held-out questions of a validation."})
    training: dict[str, Any] = field(default_factory=dict, metadata={"help": "Fields of TRL's SFTConfig."})


@dataclass
class RunConfig:
    data: DataConfig
    model: ModelConfig
    training: ValueTrainingArguments
    alignment: AlignmentConfig | None = None

    def resolved(self) -> dict[str, Any]:
        """Everything as plain values, defaults included; what `config.yaml` of a run holds."""
        training = {k: v for k, v in self.training.to_dict().items() if not k.startswith("_")}
        sections = {
            "data": dataclasses.asdict(self.data),
            "model": dataclasses.asdict(self.model),
            "training": training,
        }
        return sections | ({"alignment": dataclasses.asdict(self.alignment)} if self.alignment else {})


def load_config(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Reads a recipe and applies overrides such as `["--training.max_steps", "10"]`.

    Raises:
        ConfigError: for a file that is not there or no YAML mapping, for every unknown key, and for values of
            the wrong type or out of range.
    """
    raw = read_recipe(path, overrides)
    classes = {"data": DataConfig, "model": ModelConfig, "training": ValueTrainingArguments}
    for name, cls in classes.items():  # --max_steps for --training.max_steps
        if bare := {f.name for f in dataclasses.fields(cls)} & (raw.keys() - {*classes, "alignment"}):
            key = min(bare)
            raise ConfigError(f"{path}: unknown key {key!r}. Did you mean {name}.{key}?")
    _check_keys(raw, [*classes, "alignment"], "", str(path))
    if raw.get("alignment"):
        classes["alignment"] = AlignmentConfig
    sections = {name: raw.get(name) or {} for name in classes}
    for name, cls in classes.items():
        _check_keys(sections[name], [f.name for f in dataclasses.fields(cls) if f.init], name, str(path))
    sections["data"] = {k: v for k, v in sections["data"].items() if k != "dataset" or v is not None}
    for name, cls in classes.items():
        sections[name] = _typed(sections[name], cls, name, str(path))
    _check_datasets(sections["data"], str(path))
    _check_model_fields(sections["model"].get("config") or {}, str(path))
    if lora := sections["training"].get("lora"):
        sections["training"]["lora"] = check_section(lora, LoraSettings, "training.lora", str(path))
    try:
        training = ValueTrainingArguments(**sections["training"])
    except (ValueError, RuntimeError, ImportError) as error:
        if "bf16" in str(error) and sections["training"].get("bf16"):
            raise ConfigError(
                f"{path}: training.bf16 needs a GPU that has bfloat16, and there is none here. For a CPU "
                "there is trainer/recipes/value_tiny_scratch.yaml; or set training.bf16 to false and "
                "training.use_cpu to true"
            ) from error
        raise ConfigError(f"{path}: section 'training': {one_line(error)}") from error
    alignment = AlignmentConfig(**sections["alignment"]) if "alignment" in sections else None
    config = RunConfig(DataConfig(**sections["data"]), ModelConfig(**sections["model"]), training, alignment)
    _check_values(config, str(path))
    return config


def read_recipe(path: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """A recipe as it is written, with the overrides in their places; only its form is checked."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(
            f"no recipe at {path}. Recipes are YAML files, for example trainer/recipes/value_tiny.yaml."
        )
    raw = read_yaml(path) or {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a recipe is a mapping with the sections data, model and training.")
    for key, value in parse_overrides(overrides or []):
        set_key(raw, key, value)
    return raw


def one_line(error: Exception, width: int = 400) -> str:
    """The message of an error of another library, for a message of ours."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= width else f"{text[: width - 1]}…"


class _Loader(yaml.SafeLoader):
    """YAML without the numbers to the base 60 of YAML 1.1: `10:50` is a range of episodes, not 650."""


def _not_to_the_base_60(read: Callable) -> Callable:
    return lambda loader, node: node.value if ":" in node.value else read(loader, node)


_Loader.add_constructor("tag:yaml.org,2002:int", _not_to_the_base_60(yaml.SafeLoader.construct_yaml_int))
_Loader.add_constructor("tag:yaml.org,2002:float", _not_to_the_base_60(yaml.SafeLoader.construct_yaml_float))


def read_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {one_line(error)}") from error


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
        pairs.append((key, read_scalar(key, value)))
    return pairs


def read_scalar(key: str, text: str) -> Any:
    """YAML, plus floats such as 1e-4, which YAML 1.1 reads as text."""
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--{key}: {text!r} cannot be read as YAML: {one_line(error)}") from error
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def set_key(tree: dict, dotted: str, value: Any) -> None:
    """Sets `a.b.c` in a tree of mappings; those that are missing are made."""
    keys = dotted.split(".")
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--{dotted}: {key!r} is a value, not a section.")
    tree[keys[-1]] = value


def check_section(section: dict, cls: type, name: str, where: str) -> dict:
    """A section whose keys are fields of the dataclass `cls`, with values of their types."""
    _check_keys(section, [f.name for f in dataclasses.fields(cls) if f.init], name, where)
    return _typed(section, cls, name, where)


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
        model_type = backbone.get("model_type", default) if isinstance(backbone, dict) else default
        if model_type not in CONFIG_MAPPING:
            near = difflib.get_close_matches(str(model_type), CONFIG_MAPPING, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The default is {default!r}."
            key = f"model.config.{name}.model_type"
            raise ConfigError(f"{where}: {key} {model_type!r} is not known to transformers. {hint}")
        fields = [*AutoConfig.for_model(model_type).to_dict(), "sliding_window_pattern"]
        _check_keys(backbone, fields, f"model.config.{name}", where)


def _check_datasets(data: dict, where: str) -> None:
    """One dataset or a mixture of some; the entries of a mixture are checked as sections are."""
    mixture = data.get("mixture") or []
    if bool(data.get("dataset")) == bool(mixture):
        seen = "both are set" if mixture else "data.dataset is not set"
        raise ConfigError(
            f"{where}: {seen}. Give one dataset folder (--data.dataset PATH), or several as data.mixture."
        )
    known = [f.name for f in dataclasses.fields(PartConfig)]
    for number, entry in enumerate(mixture):
        name = f"data.mixture[{number}]"
        _check_keys(entry, known, name, where)
        mixture[number] = entry = _typed(entry, PartConfig, name, where)
        if not entry.get("dataset"):
            raise ConfigError(f"{where}: {name}.dataset is not set.")
        weight = entry.get("weight")
        if weight is not None and not 0 < weight < math.inf:
            raise ConfigError(f"{where}: {name}.weight must be more than 0, got {weight!r}.")
    if mixture and len({entry.get("weight") is None for entry in mixture}) > 1:
        raise ConfigError(f"{where}: data.mixture: give every dataset a weight, or none of them.")


KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    NoneType: "null",
    list[str]: "a list of texts, such as [a, b]",
    list[int]: "a list of whole numbers, such as [0, 1]",
    list[dict[str, Any]]: "a list of mappings",
    dict: "a mapping",
}


def _typed(section: dict, cls: type, name: str, where: str) -> dict:
    """The section with values of its fields' types; a value that cannot be one is an error."""
    hints, typed = get_type_hints(cls), {}
    defaults = {f.name: f.default for f in dataclasses.fields(cls)}
    for key, value in section.items():
        union = get_origin(hints[key]) in (Union, UnionType)
        kinds = get_args(hints[key]) if union else (hints[key],)
        typed[key] = value = _converted(key, value, kinds)
        if value is defaults[key] or any(_is_a(value, kind) for kind in kinds):
            continue
        named = [KINDS.get(kind) or KINDS.get(get_origin(kind)) for kind in kinds]
        wanted = [name for name in named if name]
        dotted = f"{name}.{key}" if name else key
        raise ConfigError(f"{where}: {dotted} must be {' or '.join(wanted)}, got {value!r}.")
    return typed


def _converted(key: str, value: Any, kinds: tuple) -> Any:
    """What YAML 1.1 reads otherwise than it is meant: 1e-4 is a text, 1e3 no whole number, no is false."""
    if isinstance(value, str) and float in kinds and str not in kinds:
        try:
            return float(value)
        except ValueError:
            return value
    if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
        return int(value)
    return "no" if value is False and key.endswith("_strategy") else value


def _is_a(value: Any, kind: Any) -> bool:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return value in get_args(kind)
    if origin is list:
        items = get_args(kind)
        return isinstance(value, list) and all(_is_a(item, items[0]) for item in value if items)
    if isinstance(value, bool):
        return origin is bool
    return isinstance(value, int | float if origin is float else origin)


def check_numbers(args: TrainingArguments, section: str) -> None:
    """Numbers that transformers takes, and which no training could use."""
    rules = {
        "seed": (0 <= args.seed < 2**32, "0 or more"),
        "max_steps": (args.max_steps != 0, "1 or more, or -1 to go by num_train_epochs"),
        "num_train_epochs": (0 < args.num_train_epochs < math.inf, "more than 0"),
        "learning_rate": (0 <= args.learning_rate < math.inf, "0 or more"),
        "weight_decay": (0 <= args.weight_decay < math.inf, "0 or more"),
        "gradient_accumulation_steps": (args.gradient_accumulation_steps > 0, "1 or more"),
        "dataloader_num_workers": (args.dataloader_num_workers >= 0, "0 or more"),
        "per_device_train_batch_size": (args.per_device_train_batch_size > 0, "1 or more"),
        "per_device_eval_batch_size": (args.per_device_eval_batch_size > 0, "1 or more"),
    }
    for name, (fits, wanted) in rules.items():
        if not fits:
            raise ConfigError(f"{section}.{name} must be {wanted}, got {getattr(args, name)!r}.")


def _check_values(config: RunConfig, where: str) -> None:
    """Numbers and words that no later step could use."""
    data, model, training = config.data, config.model, config.training
    lora = training.lora_settings() or LoraSettings()
    number = data.scale if isinstance(data.scale, int | float) else 1.0
    word = data.scale in ("task_max", "episode") or data.scale == number
    rules = {
        "data.scale": (word and 0 < number < math.inf, "'task_max', 'episode' or a positive number of steps"),
        "data.fail": (data.fail in ("floor", "penalty"), "'floor' or 'penalty'"),
        "data.fail_penalty": (0 <= data.fail_penalty < math.inf, "0 or more steps"),
        "data.fps": (data.fps is None or 0 < data.fps < math.inf, "a positive number of frames per second"),
        "data.question_ratio": (0 < data.question_ratio < 1, "between 0 and 1"),
        "data.assume_outcome": (
            data.assume_outcome in (None, "success", "failure"),
            "'success' or 'failure'",
        ),
        "model.vocab_size": (model.vocab_size > 0, "1 or more"),
        "model.resample": (model.resample in ("bicubic", "bilinear"), "'bicubic' or 'bilinear'"),
        "training.label_smoothing_factor": (training.label_smoothing_factor == 0, "0: it has no effect here"),
        "training.train_sampling_strategy": (
            training.train_sampling_strategy == "random",
            "'random': the order is that of the mixture",
        ),
        "training.ema_decay": (0 <= training.ema_decay < 1, "0 or more and below 1"),
        "training.state_dropout": (0 <= training.state_dropout <= 1, "between 0 and 1"),
        "training.random_shift": (training.random_shift >= 0, "0 or more pixels"),
        "training.random_crop": (0 < training.random_crop <= 1, "above 0 and up to 1"),
        "training.random_rotation": (0 <= training.random_rotation <= 180, "0 to 180 degrees"),
        "training.max_validation_frames": (training.max_validation_frames > 0, "1 or more"),
    }
    check_numbers(training, f"{where}: training")
    for name, fits, wanted in (
        ("r", lora.r > 0, "1 or more"),
        ("alpha", 0 < lora.alpha < math.inf, "more than 0"),
        ("dropout", 0 <= lora.dropout < 1, "0 or more and below 1"),
        ("target_modules", bool(lora.target_modules), "at least one name"),
    ):
        if not fits:
            raise ConfigError(f"{where}: training.lora.{name} must be {wanted}, got {getattr(lora, name)!r}.")
    for key, (fits, wanted) in rules.items():
        section, name = key.split(".")
        if not fits:
            seen = getattr(getattr(config, section), name)
            raise ConfigError(f"{where}: {key} must be {wanted}, got {seen!r}.")
    try:
        training.augmentation()
    except ValueError as error:
        raise ConfigError(f"{where}: training.color_jitter: {error}") from error
