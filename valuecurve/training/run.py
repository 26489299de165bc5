"""One training run from a configuration: data, model, trainer, export. `trainer/run.py` starts it."""

import csv
import difflib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import yaml
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import EvalPrediction, set_seed

from .. import ValueModel, ValueProcessor
from ..episodes import DatasetError, load_split, save_splits
from .build import build_model
from .config import ConfigError, DataConfig, RunConfig, one_line, read_yaml
from .data import FrameRows, RobotCollator, RobotData, evenly_spaced
from .lora import add_lora
from .mixture import Indices, MixedCollator, MixtureSampler
from .questions import Questions, QuestionStream, load_questions
from .trainer import ValueTrainer, last_checkpoint, metrics_of

logger = logging.getLogger(__name__)


@dataclass
class Prepared:
    """All that a run needs before its first step."""

    data: RobotData
    collator: RobotCollator
    model: ValueModel
    processor: ValueProcessor
    questions: Questions | QuestionStream | None = None


@dataclass
class Run:
    """What a run leaves in memory: the trainer with the best weights, and the data it saw."""

    trainer: ValueTrainer
    data: RobotData
    collator: RobotCollator


def prepare(config: RunConfig, data: RobotData | None = None) -> Prepared:
    """Reads the data unless given, builds model and processor, and frame stores where there are none yet."""
    set_seed(config.training.seed)
    data = data or RobotData.prepare(config.data)
    model, processor = build_model(config.model, data)
    if not config.data.use_state:
        processor.state_statistics = {}  # so that whoever reads the checkpoint leaves the state out as well
    if lora := config.training.lora_settings():
        add_lora(model, lora)
    with PartialState().main_process_first():
        stores = data.frame_stores(processor.image_size, processor.resample, config.data.cache_dir)
    collator = RobotCollator(
        data,
        stores,
        processor,
        use_state=config.data.use_state,
        pairs=model.config.frames_per_sample == 2,
        wrist_cameras=config.data.wrist_cameras,
    )
    return Prepared(data, collator, model, processor, _questions(config.data, data, processor))


def _questions(config: DataConfig, data: RobotData, processor: ValueProcessor):
    """The questions of a recipe; those in a dataset that is trained on are of its training episodes."""
    if not config.questions:
        return None
    trained = data.part_at(config.questions)
    return load_questions(
        config.questions,
        processor,
        layout=config.questions_layout,
        images=config.questions_images,
        streaming=config.stream_questions,
        episodes=trained.split["train"] if trained else None,
        cache_dir=config.cache_dir if trained else None,
    )


def train(config: RunConfig, resume: bool = False, prepared: Prepared | None = None) -> Run:
    """Trains as configured and writes everything under `training.output_dir`:

    `model/` (with code and processor), `split.json`, `config.yaml` (resolved), `metrics.json`, `metrics.csv`,
    `training_curve.png` and `checkpoint-*/`. With `resume`, continues from the last complete checkpoint.
    """
    args = config.training
    output = Path(args.output_dir)
    if not resume:
        check_not_started(output)
    if resume and not last_checkpoint(output):
        raise ConfigError(f"{output} holds no complete checkpoint to resume: start it without --resume.")
    make_output(output)
    if resume:
        _check_same_run(config, output / "config.yaml")
    prepared = prepared or prepare(config)
    data = prepared.data
    for part in data.parts if resume else []:
        if load_split(output / "split.json", part.dataset) != part.split:
            raise ConfigError(
                f"{output} was trained on another split: resume it with its own data.split_seed."
            )
    trainer = build_trainer(config, prepared)
    with one_line_errors(output):
        if args.should_save:
            save_splits(output / "split.json", [(part.dataset, part.split) for part in data.parts])
            _write_config(config, output / "config.yaml")
        trainer.train(resume_from_checkpoint=last_checkpoint(output) if resume else None)
        write_outputs(trainer, output)
    return Run(trainer, data, prepared.collator)


def check_not_started(output: Path) -> None:
    """A run is not overwritten by accident."""
    if last_checkpoint(output):
        raise ConfigError(
            f"{output} already holds a run: continue it with --resume, or choose another output_dir."
        )


def make_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"training.output_dir {output} cannot be made: {error.strerror}.") from error
    if not os.access(output, os.W_OK):
        raise ConfigError(f"training.output_dir {output} cannot be written to: permission denied.")


@contextmanager
def one_line_errors(output: Path) -> Iterator[None]:
    """What ends a run that is no mistake of the program, as one line: a full disk, or bad data.

    An error in a worker of a data loader comes with the worker's traceback as its message.
    """
    try:
        yield
    except DatasetError as error:
        lines = str(error).strip().splitlines()
        if len(lines) == 1:
            raise
        raise DatasetError(lines[-1].partition("DatasetError: ")[2] or lines[-1]) from error
    except UnpicklingError as error:  # of torch.load, which reads tensors and numbers only
        raise ConfigError(
            f"the run in {output} cannot be resumed: its last checkpoint holds more than tensors, which is "
            f"not loaded. Remove {last_checkpoint(output)}; the one before it is taken then."
        ) from error
    except (OSError, SafetensorError, RuntimeError) as error:
        seen = one_line(error, 200)
        if isinstance(error, RuntimeError):
            if not any(word in seen for word in ("PytorchStreamWriter", "inline_container", "iostream")):
                raise
            seen = f"a checkpoint cannot be written ({seen})"  # so torch.save puts it
        raise ConfigError(
            f"the run in {output} cannot go on: {seen}. Its last whole checkpoint is kept: "
            "make room, then continue with --resume."
        ) from error


def _write_config(config: RunConfig, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(yaml.safe_dump(config.resolved(), sort_keys=False), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# What may differ in a resumed run besides `training`: places. A dataset that is another one is found by its
# fingerprint in `split.json`.
MAY_MOVE = ("data.dataset", "data.mixture", "data.cache_dir", "data.questions", "data.questions_images")
# And of `training`, what the optimiser's and the averages' state belong to.
MUST_STAY = (
    *("seed", "optim", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm"),
    *("ema_decay", "state_dropout", "random_shift", "random_crop", "random_rotation", "color_jitter", "lora"),
)


def _check_same_run(config: RunConfig, path: Path) -> None:
    """A run is resumed with the settings that it was started with; raises ConfigError naming what differs."""
    before, now = read_yaml(path), config.resolved()
    if not isinstance(before, dict):
        raise ConfigError(f"{path} holds no settings: without them the run cannot be resumed.")
    pairs = [
        (f"{section}.{key}", (before.get(section) or {}).get(key), value)
        for section in ("data", "model", "training")
        for key, value in now[section].items()
        if f"{section}.{key}" not in MAY_MOVE and (section != "training" or key in MUST_STAY)
    ]
    changed = [f"{key} {old!r} (now {new!r})" for key, old, new in pairs if old != new]
    if changed:
        raise ConfigError(
            f"{path.parent} was trained with {', '.join(changed)}. Resume it with the settings that it was "
            "started with, or start a new run in another output_dir (model.base takes its weights along)."
        )


def build_trainer(
    config: RunConfig, prepared: Prepared, model_init: Callable[[Any], ValueModel] | None = None
) -> ValueTrainer:
    """The trainer of `prepared.model`, or of those that `model_init` makes for the trials of a search."""
    model = {"model_init": model_init} if model_init else {"model": prepared.model}
    parts = trainer_parts(config, prepared)
    _check_best_metric(config, parts)
    try:
        return ValueTrainer(**model, **parts)
    except (ValueError, RuntimeError, ImportError) as error:  # a logger that is not installed, …
        raise ConfigError(f"section 'training': {one_line(error)}") from error


def _check_best_metric(config: RunConfig, parts: dict[str, Any]) -> None:
    """`metric_for_best_model` is one that a validation gives: transformers looks at the first one only."""
    name = (config.training.metric_for_best_model or "loss").removeprefix("eval_")
    if name == "loss" or not config.training.load_best_model_at_end:
        return
    targets = parts["eval_collator"].data.targets[parts["eval_dataset"].frames]
    known = parts["compute_metrics"](EvalPrediction(np.zeros((len(targets), 3)), targets))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: loss, {', '.join(known)}."
        raise ConfigError(f"training.metric_for_best_model: a validation has no {name!r}. {hint}")


def trainer_parts(config: RunConfig, prepared: Prepared) -> dict[str, Any]:
    """All that a `ValueTrainer` has beside its model: arguments of its constructor, and attributes of it."""
    args, data, collator = config.training, prepared.data, prepared.collator
    validation = evenly_spaced(data.rows("validation"), args.max_validation_frames)
    weights = [part.weight for part in data.parts if part.weight is not None]
    training, questions = collator.training(args.state_dropout, args.seed), prepared.questions
    sampler = MixtureSampler(
        data.part_rows("train"),
        weights or None,
        questions=None if isinstance(questions, QuestionStream) else len(questions or ()),
        question_ratio=config.data.question_ratio if questions else 0.0,
        seed=args.seed,
    )
    return {
        "args": args,
        "processing_class": prepared.processor,
        "train_dataset": Indices(len(sampler)),
        "train_sampler": sampler,
        "eval_dataset": FrameRows(validation),
        "data_collator": MixedCollator(training, questions) if questions else training,
        "eval_collator": collator,
        "compute_metrics": metrics_of(validation, data, prepared.model.config),
    }


def write_outputs(trainer: ValueTrainer, output: Path) -> None:
    """The exported model and the run's metrics."""
    trainer.export(output / "model")
    if not trainer.args.should_save:
        return
    shutil.copyfile(output / "split.json", output / "model" / "split.json")
    history = _without_empty_resumes(trainer.state.log_history)
    history = [{k: None if v != v else v for k, v in entry.items()} for entry in history]
    best: dict[str, float | None] = {"best_step": trainer.state.best_global_step}
    metric = (trainer.args.metric_for_best_model or "loss").removeprefix("eval_")
    best[f"best_validation_{metric}"] = trainer.state.best_metric
    (output / "metrics.json").write_text(json.dumps(best | {"history": history}, indent=1, allow_nan=False))
    columns = sorted({key for entry in history for key in entry} - {"step", "epoch"})
    with (output / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "epoch", *columns])
        writer.writeheader()
        writer.writerows(history)
    plot_training(history, output / "training_curve.png", trainer.state.best_global_step)


def _without_empty_resumes(history: list[dict]) -> list[dict]:
    """Of the summaries of training calls that ended at the same step, the first: the others took no step."""
    ends: set[int] = set()
    kept = []
    for entry in history:
        if "train_runtime" in entry:
            if entry["step"] in ends:
                continue
            ends.add(entry["step"])
        kept.append(entry)
    return kept


def plot_training(history: list[dict], path: Path, best_step: int | None = None) -> None:
    """Training and validation loss over steps, and the validation metrics that people ask for first; the step
    whose weights are exported is marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained", dpi=150)
    loss_axis, metric_axis = figure.subplots(1, 2)
    for key, label, color in (("loss", "training", "#888888"), ("eval_loss", "validation", "#0072B2")):
        points = [(entry["step"], entry[key]) for entry in history if entry.get(key) is not None]
        if points:
            loss_axis.plot(*zip(*points, strict=True), label=label, color=color)
    for key, label, color in (
        ("eval_explained_variance", "explained variance", "#009E73"),
        ("eval_auroc_last_frame", "AUROC, last frame", "#D55E00"),
    ):
        points = [(entry["step"], entry[key]) for entry in history if entry.get(key) is not None]
        if points:
            metric_axis.plot(*zip(*points, strict=True), label=label, color=color)
    loss_axis.set(xlabel="step", ylabel="cross-entropy (nats)", title="Loss")
    metric_axis.set(xlabel="step", title="Validation", ylim=(None, 1.02))
    for axis in (loss_axis, metric_axis):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        if best_step:
            axis.axvline(
                best_step, color="#888888", linewidth=1, linestyle=":", label=f"exported: step {best_step}"
            )
        if axis.lines:
            axis.legend(frameon=False)
    figure.savefig(path)
