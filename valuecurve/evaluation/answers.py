"""Answers in words: generating them for a checkpoint, and how many of the held-out ones are right."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from rich.progress import track
from safetensors import SafetensorError
from torch.nn import functional as F

from .. import ValueForConditionalGeneration, ValueModel, ValueProcessor
from ..training import ConfigError
from ..training.build import answering, check_value_checkpoint, load_whole
from ..training.config import one_line
from ..training.questions import QuestionBatch, Questions


def load_answering(checkpoint: str | Path) -> tuple[ValueForConditionalGeneration, ValueProcessor]:
    """A value checkpoint (folder or Hub id) as the model that answers questions, and its processor.

    Raises:
        ConfigError: not a value checkpoint, or one that cannot be loaded.
    """
    place = str(checkpoint)
    if Path(place).exists() and not (Path(place) / "config.json").is_file():
        raise ConfigError(f"{place} is no checkpoint: it has no config.json.")
    if not Path(place).exists() and not re.fullmatch(r"[\w.-]+/[\w.-]+", place):
        raise ConfigError(f"there is no checkpoint at {place}: name a folder, or a model of the Hub.")
    try:
        check_value_checkpoint(place)
        if Path(place).is_dir() and not (Path(place) / "processor_config.json").is_file():
            raise ValueError("it has no processor_config.json")
        model = load_whole(ValueForConditionalGeneration, place).eval()
        return model, ValueProcessor.from_pretrained(place)
    except (
        OSError,
        ValueError,
        AttributeError,  # a JSON file that holds no mapping
        RuntimeError,
        StrictDataclassError,
        SafetensorError,
    ) as error:
        raise ConfigError(f"{place} cannot be loaded: {one_line(error)}") from error


def generate_answers(
    model: ValueForConditionalGeneration,
    processor: ValueProcessor,
    batch: QuestionBatch,
    max_new_tokens: int = 32,
) -> list[str]:
    """The likeliest answer to every question of a batch, token by token; all questions at once."""
    inputs: dict[str, Any] = processor.assemble(
        batch.prompts, batch.images_per_row, value_token=False, pad_left=True
    )
    if len(batch.pixel_values):
        inputs["pixel_values"] = batch.pixel_values
    return _generate(model, processor, inputs, max_new_tokens)


def ask(
    model: ValueForConditionalGeneration,
    processor: ValueProcessor,
    images: list[torch.Tensor],
    question: str,
    max_new_tokens: int = 32,
) -> str:
    """The model's answer to one question about pictures, each uint8 `[3, H, W]`."""
    inputs = processor(images=[images], question=[question])
    return _generate(model, processor, inputs, max_new_tokens)[0]


@torch.inference_mode()
def _generate(
    model: ValueForConditionalGeneration, processor: ValueProcessor, inputs: Mapping, max_new_tokens: int
) -> list[str]:
    tokens = model.generate(
        **{name: tensor.to(model.device) for name, tensor in inputs.items()},
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=processor.tokenizer.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
    )
    answers = tokens[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.tokenizer.batch_decode(answers, skip_special_tokens=True)]


@torch.inference_mode()
def answer_losses(model: ValueModel, processor: ValueProcessor, batch: QuestionBatch) -> torch.Tensor:
    """Summed cross-entropy of the answer tokens of every row, nats, float32 `[n]`."""
    inputs = processor.assemble(batch.prompts, batch.images_per_row, False, answers=batch.answers)
    if len(batch.pixel_values):
        inputs["pixel_values"] = batch.pixel_values
    inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    labels = inputs.pop("labels")[:, 1:]
    hidden = model.encode(**inputs)[:, :-1]
    answered = labels != -100
    logits = model.lm_head(hidden[answered]).float()
    row = answered.nonzero()[:, 0]
    losses = F.cross_entropy(logits, labels[answered], reduction="none")
    return torch.zeros(len(labels), device=losses.device).index_add(0, row, losses).cpu()


def answer_metrics(
    model: ValueModel,
    processor: ValueProcessor,
    questions: Questions,
    rows: np.ndarray | None = None,
    kinds: Sequence[str] | None = None,
    batch_size: int = 64,
    max_new_tokens: int = 32,
    description: str | None = None,
) -> dict[str, Any]:
    """How well a model answers: all `questions`, or these rows `[n]` of them.

    Args:
        kinds: what each row is about, `[n]`; the source's own word for it when None.
        description: shows progress.

    Returns:
        `exact_match` (share of generated answers that are the reference, both normalised), `answer_loss`
        (nats per answer token, end token included), `questions`, `tokens`, and `by_kind` with the same for
        every kind. The model is left in evaluation mode.
    """
    rows = np.arange(len(questions)) if rows is None else np.asarray(rows, np.int64)
    kind = np.array(questions.kind[rows] if kinds is None else kinds, object)
    generator = answering(model.eval())
    right, losses, tokens = [], [], []
    for start in track(range(0, len(rows), batch_size), description or "", disable=description is None):
        batch = questions.batch(rows[start : start + batch_size])
        given = generate_answers(generator, processor, batch, max_new_tokens)
        texts = np.split(batch.answers.ids, batch.answers.offsets[1:-1])
        wanted = processor.tokenizer.batch_decode(texts, skip_special_tokens=True)
        right += [normalise(a) == normalise(b) for a, b in zip(given, wanted, strict=True)]
        losses.append(answer_losses(model, processor, batch).numpy())
        tokens.append(batch.answers.lengths)
    columns = np.array(right), np.concatenate(losses), np.concatenate(tokens)
    of_kind = {name: kind == name for name in sorted(set(kind)) if name}
    return _summary(*columns) | {
        "by_kind": {name: _summary(*(column[mask] for column in columns)) for name, mask in of_kind.items()}
    }


def _summary(right: np.ndarray, losses: np.ndarray, tokens: np.ndarray) -> dict[str, Any]:
    return {
        "exact_match": float(right.mean()),
        "answer_loss": float(losses.sum() / tokens.sum()),
        "questions": len(right),
        "tokens": int(tokens.sum()),
    }


def normalise(text: str) -> str:
    """An answer without what does not count: case, articles, punctuation (but for decimal points), spaces.

    As the VQA challenge compares answers (Antol et al. 2015), without its table of number words.
    """
    plain = re.sub(r"[^\w\s.%-]|\.(?!\d)", " ", text.lower())
    without = re.sub(r"\b(a|an|the)\b", " ", plain)
    return " ".join((without if without.strip() else plain).split())
