"""ValueTrainer: transformers' Trainer with EMA weights, value metrics and a safe resume.

It overrides what a value function needs and leaves the rest (DDP, FSDP, mixed precision, accumulation,
logging) to transformers and accelerate.
"""

import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalPrediction

from .. import ValueModel
from .augmentation import augment
from .config import ConfigError, ValueTrainingArguments
from .ema import EMA
from .lora import merged_state_dict, save_adapters
from .progress import ProgressLines

EMA_FILE = "ema.safetensors"
STATE_FILE = "trainer_state.json"
logger = logging.getLogger(__name__)


class Diverged(ConfigError):
    """Values that became NaN: the training is lost."""


class ValueTrainer(Trainer):
    """Trains a `ValueModel` on batches of the contract in `modeling_value.py`.

    With `args.ema_decay`, validation, the best checkpoint and the export use the averaged weights; a
    checkpoint holds both (`model.safetensors` raw, `ema.safetensors` averaged).
    """

    args: ValueTrainingArguments
    loss_is_scaled_for_ga = True  # `compute_loss` weights the micro-batches itself

    def __init__(self, *args, eval_collator=None, train_sampler=None, **kwargs):
        self.train_sampler = train_sampler
        super().__init__(*args, **kwargs)
        self.label_names = ["value_targets"]
        self.augmentation = self.args.augmentation()
        self.eval_collator = eval_collator
        self.ema: EMA | None = None
        self.lora = self.args.lora_settings()
        if self.args.ema_decay:
            self._check_averages()
        self.add_callback(_UpdateEMA(self))
        self.add_callback(_BestOfMovedRun())
        for theirs in (ProgressCallback, PrinterCallback):
            self.remove_callback(theirs)
        self.add_callback(ProgressLines())

    def _check_averages(self) -> None:
        plugin = self.accelerator.state.fsdp_plugin if self.is_fsdp_enabled else None
        if self.is_deepspeed_enabled or (plugin is not None and plugin.fsdp_version != 2):
            seen = "DeepSpeed" if self.is_deepspeed_enabled else "FSDP version 1"
            raise ConfigError(
                f"training.ema_decay {self.args.ema_decay}: {seen} hides the float32 weights that are to be "
                "averaged. Set it to 0, or launch with trainer/accelerate/fsdp.yaml (FSDP version 2)."
            )

    def call_model_init(self, trial=None):
        """A trial of a hyperparameter search: a new model, with averages and settings of its own."""
        model = super().call_model_init(trial)
        self.ema, self.lora = None, self.args.lora_settings()
        self.augmentation = self.args.augmentation()
        return model

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Value loss + `language_weight` × language loss of this micro-batch, as its part of the whole batch.

        Both are means: over rows with a target and over answer tokens. The mean of the means of unequal
        micro-batches is not the mean, so each is weighted by its share of the rows or tokens that all
        accumulated micro-batches of all processes have.
        """
        inputs = self.augmented(inputs) if model.training else inputs
        outputs = model(**inputs)
        counts = count_items(inputs)
        total = counts if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        # DDP, FSDP and DeepSpeed average the gradients of the processes; what is wanted is their sum
        processes = 1 if num_items_in_batch is None else self.accelerator.num_processes
        share = (counts / total.clamp(min=1) * processes).unbind()
        parts = (outputs.value_loss, outputs.language_loss)
        weights = (1.0, self._own_model().config.language_weight)
        loss = sum(w * s * p for w, s, p in zip(weights, share, parts, strict=True) if p is not None)
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples, device):
        """`count_items` of all micro-batches of one optimizer step, over all processes; float32 `[2]`."""
        counts = torch.zeros(2, device=device)
        for batch in batch_samples:
            counts += count_items(batch).to(device)
        return self.accelerator.reduce(counts, "sum")

    def augmented(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A training batch with its images varied as `args` say.

        The collator may mark images: `is_wrist` bool `[I]`, of which only the colours change, and
        `image_groups` int64 `[I]`, which are varied alike (see `augment`). The model does not get these.
        """
        inputs = dict(inputs)
        fixed, groups = inputs.pop("is_wrist", None), inputs.pop("image_groups", None)
        if inputs.get("pixel_values") is not None:
            inputs["pixel_values"] = augment(inputs["pixel_values"], self.augmentation, fixed, groups)
        return inputs

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """(loss, logits `[B, K]`, value targets `[B]`) of one validation batch."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs)
        return outputs.loss.detach(), outputs.logits.detach(), inputs["value_targets"]

    def _get_train_sampler(self, train_dataset=None):
        return self.train_sampler or super()._get_train_sampler(train_dataset)

    def get_eval_dataloader(self, eval_dataset=None):
        train_collator, self.data_collator = self.data_collator, self.eval_collator or self.data_collator
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = train_collator

    def evaluation_loop(self, *args, **kwargs):
        with self.averaged_weights():
            return super().evaluation_loop(*args, **kwargs)

    def averaged_weights(self):
        """Inside, the model has its EMA weights, where there are any."""
        return nullcontext() if self.ema is None else self.ema.applied_to(self._own_model())

    def _run_epoch(self, *args, **kwargs):
        """Nothing when a resumed run has had all its steps; transformers would take one more."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    def _own_model(self):
        return self.accelerator.unwrap_model(self.model)

    def start_ema(self) -> EMA:
        if self.ema is None:
            self.ema = EMA(self._own_model(), self.args.ema_decay)
        return self.ema

    def save_model(self, output_dir=None, _internal_call=False):
        super().save_model(output_dir, _internal_call)
        if self.ema is not None:
            self.ema.save(Path(output_dir or self.args.output_dir) / EMA_FILE, write=self.args.should_save)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.args.ema_decay:
            self.start_ema().load(Path(checkpoint) / EMA_FILE)

    def _load_best_model(self):
        super()._load_best_model()
        if self.ema is not None and self.state.best_model_checkpoint:
            self.ema.load(Path(self.state.best_model_checkpoint) / EMA_FILE)

    def export(self, folder: str | Path) -> None:
        """Writes the model as people load it: averaged weights where there are any, code and processor.

        With LoRA, `folder` holds the merged model and `adapter` beside it the adapters alone. Called by every
        process, since those of FSDP hold a part of the weights each.
        """
        with self.averaged_weights():
            state = self._whole_state_dict()
            if self.args.should_save:
                self._write_export(Path(folder), state)

    def _write_export(self, folder: Path, state: dict[str, torch.Tensor]) -> None:
        if self.lora:
            save_adapters(folder.with_name("adapter"), state, self.lora)
            state = merged_state_dict(state, self.lora)
        with torch.device("meta"):
            plain = ValueModel(self._own_model().config)  # neither sharded nor with adapters
        plain.save_pretrained(folder, state_dict=state)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def _whole_state_dict(self) -> dict[str, torch.Tensor]:
        """The weights, gathered on the main process where each process has a part of them."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            state: Any = self.accelerator.get_state_dict(self.model_wrapped)
            return state
        return self._own_model().state_dict()


def count_items(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """(rows with a target, answer tokens) of a batch, float32 `[2]`: what its two losses are means over."""
    targets, labels = batch.get("value_targets"), batch.get("labels")
    nothing = torch.zeros((), device=batch["input_ids"].device)
    rows = nothing if targets is None else (~targets.isnan()).sum()
    tokens = nothing if labels is None else (labels[:, 1:] != -100).sum()
    return torch.stack([rows, tokens]).float()


class _UpdateEMA(TrainerCallback):
    def __init__(self, trainer: ValueTrainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        if self.trainer.args.ema_decay:
            self.trainer.start_ema()

    def on_step_end(self, args, state, control, **kwargs):
        if self.trainer.args.ema_decay:
            self.trainer.start_ema().update(self.trainer._own_model())


class _BestOfMovedRun(TrainerCallback):
    """Finds the best checkpoint of a resumed run whose folder was moved, or is named from another one."""

    def on_train_begin(self, args, state, control, **kwargs):
        if state.best_model_checkpoint is None and state.best_global_step:
            best = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
            state.best_model_checkpoint = str(best) if best.is_dir() else None


def last_checkpoint(output_dir: str | Path) -> str | None:
    """The newest checkpoint of a run that was written to its end, or None.

    `trainer_state.json` is the last file of a checkpoint; one that is missing or cut short marks a checkpoint
    whose writer was killed. Such a checkpoint is skipped, with a warning.
    """
    folders = Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    numbered = sorted(
        (int(f.name.rsplit("-", 1)[1]), f) for f in folders if f.name.rsplit("-", 1)[1].isdigit()
    )
    for step, folder in reversed(numbered):
        try:
            if json.loads((folder / STATE_FILE).read_text())["global_step"] == step:
                return str(folder)
        except (OSError, ValueError, KeyError):
            pass
        logger.warning("%s was not written to its end: skipped.", folder)
    return None


def metrics_of(rows: np.ndarray, data, config) -> Callable[[EvalPrediction], dict[str, float]]:
    """A `compute_metrics` for validation over these frame rows, in this order."""
    from ..metrics import value_metrics

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        logits = np.asarray(prediction.predictions, np.float64)
        if not np.isfinite(logits).all():
            raise Diverged("the values became NaN: training diverged; lower training.learning_rate.")
        probabilities = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities /= probabilities.sum(-1, keepdims=True)
        return value_metrics(
            probabilities,
            np.asarray(prediction.label_ids),
            episode_index=data.episode[rows],
            frame_index=data.frame_index[rows],
            success=data.success[rows],
            v_min=config.v_min,
            v_max=config.v_max,
        )

    return compute
