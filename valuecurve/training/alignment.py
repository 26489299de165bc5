"""Stage 1, before robot data: only the projector learns, on questions or captions, with TRL's SFTTrainer.

A new projector between pretrained backbones gives the text backbone noise, and value training would spend its
first steps on undoing that at the cost of both backbones. Source: LLaVA (Liu et al. 2023), and seed 0, which
aligns and then trains values.

    align(config)                   stage 1: OUTPUT/alignment/model
    run_stages(config, "both")      stage 1, then stage 2 (`train`) from there: OUTPUT/model

Batches are made by ours, not by TRL's collator for images: that one marks every token as prefix
(`token_type_ids` 0), so that answers would see themselves in the prefix's bidirectional attention; and it
tokenises in every batch what `Questions` has tokenised once.
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from .. import ValueProcessor
from .build import answering, build_model
from .config import ConfigError, RunConfig, check_numbers, check_section, one_line
from .data import RobotData, evenly_spaced
from .questions import Questions, load_questions
from .run import Run, check_not_started, make_output, one_line_errors, train
from .trainer import count_items, last_checkpoint

STAGES = ("1", "2", "both")
INHERITED = ("seed", "bf16", "fp16", "use_cpu", "report_to", "disable_tqdm", "dataloader_pin_memory")


class AlignmentTrainer(SFTTrainer):
    """SFTTrainer with the model's own language loss, which computes the logits of answer tokens only.

    SFTTrainer has a fused head to the same end, but it wants a backbone that could stand for the whole model.
    The loss is the mean over the answer tokens of all accumulated micro-batches of all processes.
    """

    loss_is_scaled_for_ga = True  # by `compute_loss`

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if not self.args.activation_checkpointing:  # which needs layers in training mode
            own: Any = self.model
            for frozen in (own.vision_tower, own.text_model):
                frozen.eval()  # dropout would only blur what the projector is told
        outputs = model(**inputs, logits_to_keep=1)  # those of all tokens would be [B, S, V]
        loss = outputs.loss
        if num_items_in_batch is not None:
            share = count_items(inputs)[1] / torch.as_tensor(num_items_in_batch).clamp(min=1)
            loss = loss * share * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples, device):
        """Answer tokens of all micro-batches of one optimizer step, over all processes."""
        tokens = torch.zeros((), device=device)
        for batch in batch_samples:
            tokens += count_items(batch)[1].to(device)
        return self.accelerator.reduce(tokens, "sum")

    def create_model_card(self, *args, **kwargs):
        """None: checkpoints of a stage are no models to publish."""


class QuestionCollator:
    """Rows `[{"split": "train", "row": number}]` of one split to a batch of the model with `labels`."""

    def __init__(self, questions: dict[str, Questions], processor: ValueProcessor):
        self.questions, self.processor = questions, processor

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        part = self.questions[rows[0]["split"]].batch([row["row"] for row in rows])
        batch = self.processor.assemble(
            part.prompts, part.images_per_row, value_token=False, answers=part.answers
        )
        return batch | ({"pixel_values": part.pixel_values} if len(part.pixel_values) else {})


def run_stages(config: RunConfig, stage: str = "both", resume: bool = False) -> Run | None:
    """Stage 1, 2 or both, in `training.output_dir`; stage 2 starts from what stage 1 has left there.

    With `resume`, goes on in the stage that was interrupted. Returns the run of stage 2, or None without it.
    """
    if stage not in STAGES:
        raise ConfigError(f"--stage must be one of {', '.join(STAGES)}, got {stage!r}.")
    output = Path(config.training.output_dir)
    aligned = aligned_model(config)
    if stage == "2" and not is_complete(aligned):
        raise ConfigError(f"{aligned} holds no aligned model: run --stage 1 first.")
    if stage == "both" and not resume:
        check_not_started(output)  # before hours of stage 1
    if stage != "2" and not (resume and is_complete(aligned)):
        align(config, resume=resume and last_checkpoint(aligned.parent) is not None)
    if stage == "1":
        return None
    # the aligned model has the backbones and the tokenizer already
    model = dataclasses.replace(config.model, base=str(aligned), vision=None, text=None, tokenizer=None)
    return train(
        dataclasses.replace(config, model=model), resume=resume and last_checkpoint(output) is not None
    )


def align(config: RunConfig, resume: bool = False) -> Path:
    """Trains the projector on `alignment.questions`; everything else of the model stays as it is.

    Writes `OUTPUT/alignment/`: checkpoints, and at the end `model/`, which loads as any value checkpoint.
    Returns that folder. With `resume`, continues from the last complete checkpoint.

    Raises:
        ConfigError: for a recipe without questions, unknown training fields, and folders with a run in them.
    """
    args, aligned = sft_config(config), aligned_model(config)
    started = last_checkpoint(aligned.parent)
    if not resume and (aligned.exists() or started):
        raise ConfigError(
            f"{aligned.parent} already holds an alignment: continue with --resume, or choose another "
            "training.output_dir."
        )
    make_output(aligned.parent)
    trainer = build_trainer(config, args)
    with one_line_errors(aligned.parent):
        trainer.train(resume_from_checkpoint=started if resume else None)
        export(trainer, aligned)
    return aligned


def build_trainer(config: RunConfig, args: SFTConfig) -> AlignmentTrainer:
    assert config.alignment
    set_seed(args.seed)
    data = RobotData.prepare(config.data)
    value_model, processor = build_model(config.model, data)
    model = answering(value_model)
    model.requires_grad_(False)
    model.projector.requires_grad_(True)
    settings = config.alignment
    questions: dict[str, Questions] = {}
    part = data.part_at(settings.questions)  # the robot's own frames: as the robot data is split
    episodes = {"train": part.split["train"], "held_out": part.split["validation"]} if part else {}
    for split in ("train",) if args.eval_strategy == "no" else ("train", "held_out"):
        loaded = load_questions(
            settings.questions,
            processor,
            split,
            settings.layout,
            images=settings.images,
            episodes=episodes.get(split),
            cache_dir=config.data.cache_dir,
        )
        assert isinstance(loaded, Questions)  # not a stream
        questions[split] = loaded
    try:
        return AlignmentTrainer(
            model=model,
            args=args,
            processing_class=processor,
            train_dataset=rows_of("train", questions),
            eval_dataset=rows_of("held_out", questions, settings.max_held_out),
            data_collator=QuestionCollator(questions, processor),
        )
    except (ValueError, RuntimeError, ImportError) as error:  # a logger that is not installed, …
        raise ConfigError(f"section 'alignment.training': {one_line(error)}") from error


def rows_of(split: str, questions: dict[str, Questions], most: int | None = None) -> Dataset | None:
    """Numbers of questions as the kind of dataset that SFTTrainer takes, or None."""
    if split not in questions:
        return None
    numbers = np.arange(len(questions[split]))
    numbers = numbers if most is None else evenly_spaced(numbers, most)
    return Dataset.from_dict({"row": numbers, "split": [split] * len(numbers)})


def sft_config(config: RunConfig) -> SFTConfig:
    """`alignment.training` as TRL's configuration; seed, precision and loggers are those of `training`."""
    if config.alignment is None or not config.alignment.questions:
        raise ConfigError("the recipe has no alignment.questions: stage 1 needs questions or captions.")
    fields = check_section(config.alignment.training, SFTConfig, "alignment.training", "the recipe")
    defaults = {name: getattr(config.training, name) for name in INHERITED}
    defaults |= {
        "output_dir": str(aligned_model(config).parent),
        "activation_checkpointing": False,  # TRL would turn it on, which costs a second forward pass
        "save_total_limit": 2,
        "remove_unused_columns": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},  # rows are numbers of tokenised questions
    }
    try:
        args = SFTConfig(**defaults | fields)
    except (ValueError, RuntimeError, ImportError) as error:
        raise ConfigError(f"section 'alignment.training': {one_line(error)}") from error
    check_numbers(args, "alignment.training")
    return args


def aligned_model(config: RunConfig) -> Path:
    return Path(config.training.output_dir) / "alignment" / "model"


def is_complete(folder: Path) -> bool:
    return (folder / "config.json").is_file()  # `export` renames a folder that is whole


def export(trainer: AlignmentTrainer, folder: Path) -> None:
    """Writes model, code and processor under a temporary name, then renames them."""
    state: Any = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.args.should_save:
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        model: Any = trainer.accelerator.unwrap_model(trainer.model)
        model.save_pretrained(temporary, state_dict=state)
        processor: Any = trainer.processing_class
        processor.save_pretrained(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    trainer.accelerator.wait_for_everyone()
