"""What the card of a model says: from its configuration, its processor and the run that made it."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCardData

from valuecurve.evaluation.eval_results import is_hub_id
from valuecurve.evaluation.markdown import escaped
from valuecurve.hub.cards import render
from valuecurve.hub.model_results import Found, evaluation_fields, results_of
from valuecurve.hub.recipes import name_of

if TYPE_CHECKING:
    from valuecurve.hub.models import ModelFolder

TAGS = ["valuecurve", "value-function", "robotics"]
FAIL = {"floor": "every frame is at the lower end (`floor`)", "penalty": "the end costs more (`penalty`)"}
SHOWN_TRAINING = {
    "max_steps": "steps",
    "per_device_train_batch_size": "batch size, a device",
    "gradient_accumulation_steps": "batches a step",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "bf16": "bf16 autocast",
    "lora": "LoRA, merged",
}
GEMMA = (
    "The text backbone is Gemma. Gemma is provided under and subject to the Gemma Terms of Use found at "
    "[ai.google.dev/gemma/terms](https://ai.google.dev/gemma/terms); they hold for these weights too, with "
    "the [prohibited uses](https://ai.google.dev/gemma/prohibited_use_policy)."
)
SIGLIP = "The vision backbone is SigLIP (Zhai et al. 2023), Apache-2.0."
CODE = "The code is Apache-2.0."
GEMMA_VOCABULARY = 262_144  # tokens: of no other family, so that these weights come from Gemma


def card_of(
    model: "ModelFolder", repo: str, found: Found, names: Sequence[str], weights: str, license: str | None
) -> str:
    """The rendered card."""
    settings = model.settings.get("model") or {}
    backbones = {key: name_of(settings[key]) for key in ("vision", "text", "base") if settings.get(key)}
    notes = licence_notes(model, backbones)
    data = ModelCardData(
        license=license or ("gemma" if GEMMA in notes else "apache-2.0"),
        library_name="peft" if model.adapter else "transformers",
        pipeline_tag=None if model.adapter else "robotics",
        tags=TAGS + ([] if model.adapter else ["custom_code"]),
        base_model=_base_models(model, backbones),
        datasets=[name for name in names if is_hub_id(name)] or None,
        model_name=repo.split("/")[-1],
        eval_results=results_of(found),
    )
    fields = _adapter_fields(model) if model.adapter else _model_fields(model)
    fields |= _training_fields(model, names, backbones, weights) | evaluation_fields(found)
    return render(
        "model_card.md", data, model_name=repo.split("/")[-1], model_id=repo, licence_notes=notes, **fields
    )


def _base_models(model: "ModelFolder", backbones: dict[str, str]) -> list[str] | None:
    if model.adapter:
        return [model.config["base_model_name_or_path"]]
    return [name for name in backbones.values() if is_hub_id(name)] or None


def licence_notes(model: "ModelFolder", backbones: dict[str, str]) -> list[str]:
    """What the licences of the backbones ask of those who pass the weights on."""
    names = " ".join([*backbones.values(), str(model.config.get("base_model_name_or_path"))]).lower()
    text = model.config.get("text_config") or {}
    gemma = "gemma" in names or (
        str(text.get("model_type")).startswith("gemma") and (text.get("vocab_size") or 0) >= GEMMA_VOCABULARY
    )
    notes = [GEMMA] if gemma else []
    notes += [SIGLIP] if "siglip" in names else []
    return [*notes, CODE]


def _adapter_fields(model: "ModelFolder") -> dict[str, Any]:
    config = model.config
    rank = f"LoRA, rank {config.get('r')}, alpha {config.get('lora_alpha')}"
    return {"adapter": True, "base": config["base_model_name_or_path"], "architecture": rank}


def _model_fields(model: "ModelFolder") -> dict[str, Any]:
    """What config.json and the processor's configuration say."""
    config = model.config
    path = model.folder / "processor_config.json"
    processor = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    cameras = processor.get("cameras") or []
    statistics = list((processor.get("state_statistics") or {}).values())
    scales = processor.get("scales") or {}
    tasks = list(scales)
    pairs = config.get("frames_per_sample") == 2
    shown = ", ".join(f'"{name}": …' for name in cameras)
    videos = ", ".join(f'"{name}": "{name}.mp4"' for name in cameras)
    return {
        "num_bins": config.get("num_bins"),
        "v_min": _short(config.get("v_min")),
        "v_max": _short(config.get("v_max")) or "0",
        "pairs": pairs,
        "cameras": f"`{{{shown}}}`" if cameras else "",
        "pipeline_input": f"{{{videos}}}" if len(cameras) > 1 else "",
        "image_size": processor.get("image_size"),
        "uses_state": bool(statistics),
        "state_size": len(statistics[0]["q01"]) if statistics else 0,
        "tasks": tasks,
        "task": tasks[0].replace('"', "'") if tasks else "",
        "scales": {} if pairs else {escaped(task): _short(scale) for task, scale in scales.items()},
        "fps": _short(processor.get("fps")),
        "vision_backbone": (config.get("vision_config") or {}).get("model_type"),
        "text_backbone": (config.get("text_config") or {}).get("model_type"),
        "architecture": f"{config.get('projector')} projector, {config.get('readout')} readout, "
        f"{config.get('head')} head, {config.get('attention')} attention",
        "target": f"{config.get('target')} over {config.get('num_bins')} bins",
    }


def _short(value: float | None) -> float | int | None:
    return int(value) if value is not None and float(value).is_integer() else value


def _training_fields(
    model: "ModelFolder", names: Sequence[str], backbones: dict[str, str], weights: str
) -> dict[str, Any]:
    data, training = model.settings.get("data") or {}, model.settings.get("training") or {}
    counts = [
        [len(entry.get(part) or []) for entry in model.datasets] for part in ("train", "validation", "test")
    ]
    penalty = f", {data.get('fail_penalty'):g} steps" if data.get("fail") == "penalty" else ""
    fields = {
        "datasets": ", ".join(_link(name, entry) for name, entry in zip(names, model.datasets, strict=False)),
        "split": " / ".join(str(sum(count)) for count in counts) if model.datasets else "",
        "fail": FAIL.get(str(data.get("fail")), "") + penalty,
        "weights": weights,
        "training": {
            words: _setting(training[key])
            for key, words in SHOWN_TRAINING.items()
            if training.get(key) not in (None, False, "", -1, 1)
        },
        "recipe": bool(model.settings) and bool(model.split),
        "method": not model.adapter,
    }
    for key, where in (("vision", "vision_backbone"), ("text", "text_backbone"), ("base", "base_model")):
        if name := backbones.get(key):
            fields[where] = _linked(name, "")
    return fields


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return "yes" if value is True else f"{value:g}" if isinstance(value, float) else str(value)


def _link(name: str, entry: dict[str, Any]) -> str:
    revision = str(entry.get("revision") or "")
    about = f"revision `{revision[:8]}`, " if revision else ""
    return f"{_linked(name, 'datasets/')} ({about}fingerprint `{entry['fingerprint'][:8]}`)"


def _linked(name: str, kind: str) -> str:
    return f"[{name}](https://huggingface.co/{kind}{name})" if is_hub_id(name) else escaped(name)
