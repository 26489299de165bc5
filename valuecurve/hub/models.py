"""Models to the Hub: which files of a run, with which weights, in one commit with their card and results.

Weights are safetensors only; whatever else could hold weights (pickles) is left where it is. The code that
ships is that of this version, with which the checkpoint was loaded or could be.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from valuecurve.hub.cards import merge_card
from valuecurve.hub.recipes import name_of, public_recipe, read_run, recipe_yaml
from valuecurve.hub.upload import HubError, Pushed, Target, push_files, read_remote

Weights = Literal["ema", "raw"]
PACKAGE = Path(__file__).parent.parent
CODE = ("configuration_value", "modeling_value", "processing_value", "pipeline_value")
MODEL_TYPE = "valuecurve"
BESIDE = (  # the weights, in a checkpoint's folder
    *("generation_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model"),
    *("chat_template.jinja", "split.json"),
)

EMA_FILE = "ema.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
MAX_SHARD = "5GB"  # as transformers' own default was; downloads of parts can be continued


@dataclass
class ModelFolder:
    """A checkpoint on disk. `run` is the folder of the training that made it, where that is known."""

    folder: Path
    run: Path | None
    adapter: bool = False
    config: dict[str, Any] = field(default_factory=dict)  # config.json, or adapter_config.json
    settings: dict[str, Any] = field(default_factory=dict)  # config.yaml of the run
    split: dict[str, Any] = field(default_factory=dict)  # split.json

    @property
    def step(self) -> int | None:
        """Of a `checkpoint-N` of a run, which holds raw and averaged weights."""
        name = self.folder.name.removeprefix("checkpoint-")
        return int(name) if name.isdigit() and (self.folder / "trainer_state.json").is_file() else None

    @property
    def ema_decay(self) -> float:
        return float((self.settings.get("training") or {}).get("ema_decay") or 0.0)

    @property
    def datasets(self) -> list[dict[str, Any]]:
        """The entries of the split: "dataset" (its key), train, validation, test, …"""
        return list(self.split.get("datasets") or [])


def find_model(place: str | Path) -> ModelFolder:
    """The checkpoint in a folder: of a run, its export.

    Raises:
        HubError: there is none, or it is of another kind.
    """
    folder = Path(place)
    if not folder.is_dir():
        raise HubError(f"there is no folder {place}: name a checkpoint, or the folder of a run")
    if not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
        folder = folder / "model"
    adapter = (folder / "adapter_config.json").is_file()
    path = folder / ("adapter_config.json" if adapter else "config.json")
    if not path.is_file():
        raise HubError(
            f"{place} holds no checkpoint: no config.json, no model/config.json, no adapter_config.json"
        )
    config = _read_json(path)
    if not adapter and config.get("model_type") != MODEL_TYPE:
        raise HubError(
            f"{path}: model_type is {config.get('model_type')!r}, a value model has {MODEL_TYPE!r}"
        )
    places = (folder, folder.absolute().parent)
    run = next((here for here in places if (here / "config.yaml").is_file()), None)
    split = next((here / "split.json" for here in places if (here / "split.json").is_file()), None)
    return ModelFolder(
        folder,
        run,
        adapter,
        config,
        read_run(run / "config.yaml") if run else {},
        _read_split(split) if split else {},
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HubError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise HubError(f"{path} holds no JSON object, but {type(found).__name__}")
    return found


def _read_split(path: Path) -> dict[str, Any]:
    split = _read_json(path)
    for entry in split.get("datasets") or []:
        missing = [key for key in ("dataset", "fingerprint", "train", "test") if key not in entry]
        if missing:
            raise HubError(
                f"{path}: an entry of datasets has no {missing[0]!r}; it is no split of a training"
            )
    return split


# --- weights ---------------------------------------------------------------------------------------------


def weight_files(folder: Path) -> dict[str, Path]:
    """The safetensors files of a checkpoint, and the index of its shards.

    Raises:
        HubError: it has none.
    """
    files = {path.name: path for path in sorted(folder.glob("*.safetensors")) if path.name != EMA_FILE}
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files[index.name] = index
    if not files:
        pickled = [path.name for pattern in PICKLES for path in sorted(folder.glob(pattern))]
        seen = f"; {pickled[0]} is a pickle, which may run anything when it is loaded" if pickled else ""
        raise HubError(f"{folder} holds no weights as safetensors{seen}")
    for path in files.values():
        if path.suffix == ".safetensors":
            _check_safetensors(path)
    return files


def _check_safetensors(path: Path) -> None:
    """Raises HubError for a file that is none, whatever its name says: its header is read, no tensor."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise HubError(f"{path} is no safetensors file ({error}): it is damaged, or a pickle") from error


def chosen_weights(
    model: ModelFolder, wanted: Weights | None, scratch: Path, max_shard: str = MAX_SHARD
) -> dict[str, Path]:
    """The files of the wanted weights, written to `scratch` where they must be made.

    Raises:
        HubError: they are not there, or one must choose.
    """
    if model.adapter:
        if wanted == "raw" and model.ema_decay:
            raise HubError(f"{model.folder} holds averaged weights only, as training exports adapters")
        return weight_files(model.folder)
    if model.step is not None:
        if wanted is None:
            raise HubError(
                f"{model.folder} holds raw and averaged weights: choose with --weights raw or --weights ema"
            )
        return _built(model, model.folder, wanted, scratch, max_shard)
    if wanted == "ema" and not model.ema_decay:
        why = "the run was trained with ema_decay 0" if model.run else "which weights it holds is not known"
        raise HubError(f"{model.folder} has no averaged weights to choose: {why}. Leave --weights out")
    if wanted == "raw" and model.ema_decay:
        return _built(model, _raw_checkpoint(model), "raw", scratch, max_shard)
    files = weight_files(model.folder)
    if max(path.stat().st_size for path in files.values()) > bytes_of(max_shard):
        return _built(model, model.folder, None, scratch, max_shard)
    return files


def _raw_checkpoint(model: ModelFolder) -> Path:
    """The checkpoint whose averaged weights were exported: it holds the raw ones too."""
    assert model.run is not None
    metrics = model.run / "metrics.json"
    step = _read_json(metrics).get("best_step") if metrics.is_file() else None
    kept = sorted(path.name for path in model.run.glob("checkpoint-*") if path.is_dir())
    folder = model.run / f"checkpoint-{step}"
    if not folder.is_dir():
        raise HubError(
            f"{model.run} has no checkpoint-{step} any more, which holds the raw weights of this model. "
            f"It keeps {', '.join(kept) or 'no checkpoint'}: push one of those, with --weights raw"
        )
    return folder


def _built(
    model: ModelFolder, source: Path, wanted: Weights | None, scratch: Path, max_shard: str
) -> dict[str, Path]:
    """Weights of a checkpoint as a plain model's, averaged or raw, adapters merged, in shards."""
    import torch
    from safetensors.torch import load_file

    from .. import ValueConfig, ValueModel
    from ..training.config import LoraSettings
    from ..training.lora import merged_state_dict

    paths = [path for path in weight_files(source).values() if path.suffix == ".safetensors"]
    state = {name: tensor for path in paths for name, tensor in load_file(path).items()}
    if wanted == "ema":
        if not (source / EMA_FILE).is_file():
            raise HubError(f"{source} holds no averaged weights: the run was trained with ema_decay 0")
        averages = load_file(source / EMA_FILE)
        state |= {name: tensor.to(state[name].dtype) for name, tensor in averages.items() if name in state}
    lora = (model.settings.get("training") or {}).get("lora")
    if any(".lora_" in name for name in state):
        if not lora:
            raise HubError(f"{source} holds adapters, and the run's config.yaml does not say how they count")
        state = merged_state_dict(state, LoraSettings(**lora))
    with torch.device("meta"):
        plain = ValueModel(ValueConfig.from_pretrained(source))
    plain.save_pretrained(scratch, state_dict=state, max_shard_size=max_shard)
    return weight_files(scratch)


def bytes_of(size: str) -> int:
    """A size such as "5GB" in bytes."""
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
    number, unit = size[:-2].strip(), size[-2:].upper()
    if unit not in units or not number.replace(".", "", 1).isdigit() or not float(number):
        raise HubError(f"--max-shard-size is written as 5GB or 200MB, got {size!r}")
    return int(float(number) * units[unit])


# --- files -----------------------------------------------------------------------------------------------


def public_config(config: dict[str, Any]) -> str:
    """config.json with the classes and pipelines of this version, and without places of this machine."""
    from ..configuration_value import AUTO_MAP, PIPELINES

    config = _without_places(config) | {"auto_map": dict(AUTO_MAP), "custom_pipelines": PIPELINES}
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    """`_name_or_path` is where a checkpoint was once loaded from."""
    return {
        key: _without_places(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key != "_name_or_path"
    }


def model_files(
    model: ModelFolder, weights: dict[str, Path], dataset_ids: list[str]
) -> dict[str, Path | str]:
    """All that a model's repository holds but its card and results: path in it -> file or content."""
    files: dict[str, Path | str] = dict(weights)
    files |= {name: model.folder / name for name in BESIDE if (model.folder / name).is_file()}
    if model.adapter:
        files["adapter_config.json"] = json.dumps(model.config, indent=2, sort_keys=True) + "\n"
    else:
        files["config.json"] = public_config(model.config)
        files |= {f"{name}.py": PACKAGE / f"{name}.py" for name in CODE}
    if model.split:
        files["split.json"] = json.dumps(model.split, indent=1) + "\n"
    if recipe := public_recipe(model.settings, dataset_ids):
        files["recipe.yaml"] = recipe_yaml(recipe)
    return files


def with_base(model: ModelFolder, base: str | None) -> ModelFolder:
    """An adapter that names its base on the Hub.

    Raises:
        HubError: which one it is, is not known, or it is a folder of this machine.
    """
    settings = model.settings.get("model") or {}
    named = (
        base or model.config.get("base_model_name_or_path") or settings.get("text") or settings.get("base")
    )
    if not named or name_of(named) != named:
        seen = f"it names {Path(named).name!r}, a folder of this machine" if named else "it names none"
        raise HubError(
            f"{model.folder} is an adapter, and needs the model of the Hub that it adapts: {seen}. "
            "Say which with --base owner/name"
        )
    config = model.config | {"base_model_name_or_path": named}
    return ModelFolder(model.folder, model.run, True, config, model.settings, model.split)


# --- push ------------------------------------------------------------------------------------------------


def push_model(
    place: str | Path,
    target: Target,
    *,
    weights: Weights | None = None,
    base: str | None = None,
    report: str | Path | None = None,
    dataset_ids: list[str] | None = None,
    license: str | None = None,
    max_shard: str = MAX_SHARD,
    message: str | None = None,
    dry_run: bool = False,
    show: Callable[[str], object] = print,
) -> Pushed | None:
    """Push a checkpoint with its code, processor, split, recipe, card and results, in one commit.

    Args:
        place: a checkpoint's folder, that of a run, or an adapter's.
        weights: "ema" (averaged) or "raw"; None: those that training exported.
        base: of an adapter: the model of the Hub that it adapts.
        report: folder of `valuecurve evaluate`; default: `report` in the folder or beside it.
        dataset_ids: names on the Hub of the datasets of the split, in its order; default: their keys.
        license: of the weights; default: what the backbones ask for.
        max_shard: largest file of weights.
        dry_run: only list, without the Hub.

    Raises:
        HubError: as `find_model`, `chosen_weights` and `push_files`.
    """
    from valuecurve.hub.model_cards import card_of
    from valuecurve.hub.model_results import evaluation_files, find_report

    model = find_model(place)
    if model.adapter:
        model = with_base(model, base)
    keys = [entry["dataset"] for entry in model.datasets]
    names = [*(dataset_ids or []), *keys[len(dataset_ids or []) :]]
    with tempfile.TemporaryDirectory() as folder:
        files = chosen_weights(model, weights, Path(folder), max_shard)
        everything: dict[str, Any] = model_files(model, files, names)
        exported = model.step is None and not (weights == "raw" and model.ema_decay)
        found = find_report(model, report, exported, names)
        everything |= evaluation_files(found)
        card = card_of(model, target.repo, found, names, weights_in_words(model, weights), license)
        everything["README.md"] = card if dry_run else merge_card(read_remote(target, "README.md"), card)
        words = message or ("Adapter of a value model" if model.adapter else "Value model")
        return push_files(target, everything, words, dry_run=dry_run, show=show)


def weights_in_words(model: ModelFolder, weights: Weights | None) -> str:
    """For the card: which weights these are."""
    decay = model.ema_decay
    if decay and weights != "raw":
        return f"averaged (EMA, decay {decay:g})"
    return "raw, as the optimiser left them" if model.settings or weights == "raw" else ""
