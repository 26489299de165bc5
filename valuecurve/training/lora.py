"""LoRA on the text backbone: small matrices beside its frozen linear layers (Hu et al. 2021), by PEFT.

Projector, value token and value head are trained as they are, and the vision backbone unless it is frozen.
The checkpoints of a run hold the model with its adapters, so that it resumes as any other. The exported model
is merged: it needs no PEFT. The adapters alone are exported too, for the text backbone of the same base.
"""

from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file
from torch import nn

from .. import ValueModel
from .config import ConfigError, LoraSettings

ADAPTER = "default"  # PEFT's name for the only adapter


def peft_config(settings: LoraSettings) -> LoraConfig:
    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,  # pyright: ignore[reportArgumentType]: a float does as well
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
    )


def add_lora(model: ValueModel, settings: LoraSettings) -> None:
    """Puts adapters into the text backbone and freezes everything else of it, the language head included.

    The new adapters change nothing: their second matrix starts at zero.

    Raises:
        ConfigError: when a name of `target_modules` fits no linear layer of the backbone.
    """
    linear = {n.rsplit(".", 1)[-1] for n, m in model.text_model.named_modules() if isinstance(m, nn.Linear)}
    for name in settings.target_modules:
        if name not in linear:
            raise ConfigError(
                f"training.lora.target_modules: the text backbone has no linear layer {name!r}. "
                f"It has: {', '.join(sorted(linear))}."
            )
    for part in (model.text_model, model.lm_head):
        part.requires_grad_(False)
    inject_adapter_in_model(peft_config(settings), model.text_model, ADAPTER)


def merged_state_dict(state: dict[str, torch.Tensor], settings: LoraSettings) -> dict[str, torch.Tensor]:
    """Weights with adapters to weights without: W + alpha / r · B A, under the names of the plain model."""
    merged = {}
    for name, weight in state.items():
        if ".lora_" in name:
            continue
        if name.endswith(".base_layer.weight"):
            stem = name.removesuffix(".base_layer.weight")
            down, up = (state[f"{stem}.lora_{letter}.{ADAPTER}.weight"] for letter in "AB")
            weight = weight + (settings.alpha / settings.r * up.float() @ down.float()).to(weight.dtype)
        merged[name.replace(".base_layer.", ".")] = weight
    return merged


def save_adapters(folder: Path, state: dict[str, torch.Tensor], settings: LoraSettings) -> None:
    """Writes the adapters of `state` as `PeftModel.from_pretrained(text_backbone, folder)` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    adapters = {
        f"base_model.model.{name.removeprefix('text_model.').replace(f'.{ADAPTER}.', '.')}": weight
        for name, weight in state.items()
        if ".lora_" in name
    }
    save_file({n: w.cpu().contiguous() for n, w in adapters.items()}, folder / "adapter_model.safetensors")
    peft_config(settings).save_pretrained(str(folder))
