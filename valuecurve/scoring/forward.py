"""The forward pass over batches of frames, in threads, and what is kept of its distributions.

On a CPU every thread computes a batch of its own, by itself: the result of a batch then depends neither on
how many cores there are nor on how many processes share the work (sums over several threads would be added
up in another order), and no core waits for another.
"""

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from ..configuration_value import grid_tokens
from ..metrics import quantiles
from ..modeling_value import support
from ..processing_value import TokenRows
from .checkpoint import Checkpoint

SLICE = 1536  # image tokens that a CPU encodes at a time: more fall out of its caches (benchmarks/RESULTS.md)


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies in it (CUDA since Ampere, CPUs with AMX or AVX512-BF16), else
    float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text().split()) if device.type == "cpu" and cpu.is_file() else set()
    return torch.bfloat16 if flags & {"amx_bf16", "avx512_bf16"} else torch.float32


def keep_freed_memory() -> None:
    """Makes glibc keep what is freed, up to 64 MB; else every layer's memory is mapped, and zeroed, anew.

    Freeing a block of nearly 32 MB raises both thresholds as far as they go (mallopt(3), M_MMAP_THRESHOLD).
    With other allocators nothing changes.
    """
    torch.empty((32 << 20) - 8192, dtype=torch.uint8)


class Forward:
    """A checkpoint's model on a device, as functions to `submit`. All results are float32.

    Args:
        dtype: bfloat16 computes under autocast, but for the value head, which is always float32.
        threads: batches computed at the same time; on an accelerator one.
        levels: quantiles that are kept of every distribution.
        distribution: keep the whole distribution.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        dtype: torch.dtype,
        threads: int,
        levels: tuple[float, ...] = (),
        distribution: bool = False,
    ):
        # transformers wraps `to` in a way that hides from pyright that it is a method
        self.model = checkpoint.model.to(device)  # pyright: ignore[reportArgumentType]
        self.processor = checkpoint.processor
        self.model.requires_grad_(True)  # autocast keeps the bfloat16 copies of such weights only
        self.device, self.dtype, self.threads = device, dtype, threads
        if device.type == "cpu":
            keep_freed_memory()
        self.levels, self.distribution = levels, distribution
        self.support = support(self.model.config, device)
        self._modes = threading.local()
        self._pool = ThreadPoolExecutor(threads, "forward", self._set_up_thread)

    def __enter__(self) -> "Forward":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _set_up_thread(self) -> None:
        torch.set_num_threads(1)
        self._modes.inference = torch.inference_mode()
        self._modes.inference.__enter__()
        if self.dtype != torch.float32:  # for as long as the thread lives: the copies of the weights stay
            self._modes.autocast = torch.autocast(self.device.type, dtype=self.dtype)
            self._modes.autocast.__enter__()

    def submit(self, function: Callable, *arguments: object) -> Future:
        """Run a function in one of the threads, soon."""
        return self._pool.submit(function, *arguments)

    # -- run in the threads --------------------------------------------------------------------------------

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [b, C, 3, S, S] of b frames from C cameras to image features [b, C, P, D] on the device."""
        if self.device.type == "cuda":
            images = images.pin_memory()
        pixels = images.to(self.device, non_blocking=True).flatten(0, 1)
        slices = 1
        if self.device.type == "cpu":
            slices = math.ceil(len(pixels) * grid_tokens(self.model.config.vision_config) / SLICE)
        features = [self.model.get_image_features(some) for some in pixels.chunk(max(1, slices))]
        return torch.cat(features).unflatten(0, images.shape[:2])

    def statistics(self, features: torch.Tensor, prompts: TokenRows) -> dict[str, np.ndarray]:
        """Image features [b, I, P, D] of b rows and their prompts to value, value_std [b], …

        I counts the images of a row: those of both frames of a pair, the reference frame's first.
        """
        batch = self.processor.assemble(prompts, images_per_row=features.shape[1])
        batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        hidden = self.model.encode(**batch, image_features=features.flatten(0, 1))
        pooled = self.model.readout(hidden, **batch)
        with torch.autocast(self.device.type, enabled=False):
            p_BK = self.model.value_head(pooled.float()).softmax(-1)
            value_B = (p_BK * self.support).sum(-1)
            variance_B = (p_BK * (self.support - value_B[:, None]).square()).sum(-1)
        kept = {"value": value_B, "value_std": variance_B.sqrt()}
        kept |= {"distribution": p_BK} if self.distribution else {}
        arrays = {name: tensor.cpu().numpy() for name, tensor in kept.items()}
        if self.levels:
            config = self.model.config
            found = quantiles(p_BK.cpu().numpy(), self.levels, config.v_min, config.v_max)
            arrays["quantiles"] = found.T.astype(np.float32)
        return arrays

    def frames(self, images: torch.Tensor, prompts: TokenRows) -> dict[str, np.ndarray]:
        """`statistics` of frames [b, C, 3, S, S], one after the other."""
        return self.statistics(self.features(images), prompts)
