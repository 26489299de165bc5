"""Exponential moving average of the trained weights, in float32 whatever the weights are in."""

from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor


class EMA:
    """Keeps `average ← d · average + (1 - d) · weights` of every parameter that is trained.

    The decay d warms up as min(decay, (1 + n) / (10 + n)) over n updates, so that the random start is
    forgotten (the schedule of TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, model: nn.Module, decay: float):
        if not 0 < decay < 1:
            raise ValueError(f"ema_decay must be between 0 and 1, got {decay}.")
        self.decay = decay
        self.updates = 0
        self.averages = {
            n: p.detach().float().clone() for n, p in model.named_parameters() if p.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """One step towards the weights of `model`; call it after every optimizer step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        weights = [local(p.detach()).float() for n, p in model.named_parameters() if n in self.averages]
        torch._foreach_lerp_([local(average) for average in self.averages.values()], weights, 1 - decay)
        self.updates += 1

    @contextmanager
    def applied_to(self, model: nn.Module):
        """Inside, `model` has the averaged weights; afterwards its own again."""
        own = {n: p.detach().clone() for n, p in model.named_parameters() if n in self.averages}
        self.copy_to(model)
        try:
            yield
        finally:
            _copy(own, model)

    def copy_to(self, model: nn.Module) -> None:
        _copy(self.averages, model)

    def save(self, path: str | Path, write: bool = True) -> None:
        """Writes whole tensors. Where the weights are divided among processes, all of them call this, and
        one of them writes."""
        whole = {n: t.full_tensor() if isinstance(t, DTensor) else t for n, t in self.averages.items()}
        if write:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            tensors = {n: t.cpu().contiguous() for n, t in whole.items()}
            save_file(tensors, path, {"updates": str(self.updates)})

    def load(self, path: str | Path) -> None:
        """Continues from a saved average.

        Raises:
            ValueError: when the file is missing or belongs to other parameters.
        """
        from safetensors import safe_open

        if not Path(path).is_file():
            raise ValueError(f"no averaged weights at {path}: this checkpoint was written without EMA.")
        saved = load_file(path)
        if saved.keys() != self.averages.keys():
            different = sorted(saved.keys() ^ self.averages.keys())
            raise ValueError(
                f"{path} holds other parameters than the model: {different[:3]} ({len(different)})."
            )
        for name, average in self.averages.items():
            if isinstance(average, DTensor):
                whole = saved[name].to(average.device)
                average.copy_(distribute_tensor(whole, average.device_mesh, average.placements))
            else:
                average.copy_(saved[name])
        with safe_open(path, "pt") as file:
            self.updates = int(file.metadata()["updates"])


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor that FSDP has divided (a view of it); any other as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def _copy(weights: dict[str, torch.Tensor], model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if name in weights:
            local(parameter).copy_(local(weights[name]))
