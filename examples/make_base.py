"""Makes the small base checkpoint `examples/value_tiny_base` that the demo starts from.

    python examples/collect_metaworld.py --output outputs/base --episodes 0 --vqa-rows 16000 --seed 7
    python examples/make_base.py outputs/base/metaworld_vqa examples/value_tiny_base

A value model of the tiny size learns, from random weights and in two phases, to answer questions about single
pictures; the value head is not trained here.

1. *See*: the vision backbone alone, under a throw-away classifier over the answers of every question.
   (Without it, a small model stays for long with what the questions alone tell about the answers.)
2. *Answer*: the whole model answers in words, the vision backbone frozen. Two layouts take turns: all
   questions of a picture one after the other (one look, five answers), and one question in the prefix,
   as `ValueProcessor` lays it out.
"""

import argparse
import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image
from rich.progress import track
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments, set_seed

from valuecurve import ValueConfig, ValueModel, ValueProcessor
from valuecurve.processing_value import resize_images
from valuecurve.training.augmentation import random_shift
from valuecurve.training.tokenizer import train_tokenizer

PACKED_SHARE = 0.7  # of the batches; found to be enough for the second layout to work
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
tags: [robotics, value-function, metaworld]
---

# value_tiny_base

The small model that `trainer/recipes/value_tiny.yaml` starts from, as larger ones start from SigLIP
and Gemma. It has learned to see Meta-World's push and drawer scenes by answering questions about
14,400 single pictures (16,000, a tenth held out); its value head has random weights. The pictures come
from rollouts of their own: it has never seen an episode of `examples/metaworld_push`.

Held-out answers right: {see:.1%} by the vision backbone under a classifier, {answer:.1%} by the whole
model in words, every token of the answer. About 20 minutes on 2 cores:

```bash
python examples/collect_metaworld.py --output outputs/base --episodes 0 --vqa-rows 16000 --seed 7
python examples/make_base.py outputs/base/metaworld_vqa examples/value_tiny_base
```
"""


class Questions(Dataset):
    """Pictures uint8 `[N, 3, S, S]` and, for each, its token ids of questions and answers."""

    def __init__(self, folder: Path, split: str, image_size: int):
        rows = pq.read_table(sorted((folder / "data").glob(f"{split}-*.parquet"))).to_pylist()
        self.turns = [[(turn["user"], turn["assistant"]) for turn in row["texts"]] for row in rows]
        pictures = []
        for row in track(rows, f"pictures, {split}"):
            picture = np.array(Image.open(io.BytesIO(row["images"][0]["bytes"])).convert("RGB"))
            pictures.append(resize_images(torch.from_numpy(picture).permute(2, 0, 1)[None], image_size))
        self.pictures = torch.cat(pictures)

    def __len__(self) -> int:
        return len(self.turns)

    def __getitem__(self, index: int) -> int:
        return index

    def texts(self) -> list[str]:
        return [
            text for turns in self.turns for q, a in turns for text in (f"Question: {q} Answer:", f" {a}")
        ]


class AnswerClassifier(nn.Module):
    """A vision backbone under a classifier: one class for every answer that a question has ever got.

    Its features go in side by side, `[I, P * C]`, so that the place of each counts.
    """

    possible: torch.Tensor  # bool [questions, classes]

    def __init__(self, vision: PreTrainedModel, tokens: int, questions: Questions, shift: int):
        super().__init__()
        pairs = {turn for turns in questions.turns for turn in turns}
        self.classes = {pair: i for i, pair in enumerate(sorted(pairs))}
        asked = sorted({question for question, _ in pairs})
        self.asked = {question: i for i, question in enumerate(asked)}
        possible = [[question == other for other, _ in self.classes] for question in asked]
        self.register_buffer("possible", torch.tensor(possible))
        self.vision, self.shift = vision, shift
        width = tokens * vision.config.hidden_size
        self.head = nn.Sequential(nn.Linear(width, 256), nn.GELU(), nn.Linear(256, len(self.classes)))

    def collate(self, questions: Questions, rows: list[int]) -> dict[str, torch.Tensor]:
        turns = [
            (i, self.asked[q], self.classes[q, a])
            for i, row in enumerate(rows)
            for q, a in questions.turns[row]
            if (q, a) in self.classes
        ]
        picture, asked, answer = torch.tensor(turns).T
        return {
            "pixel_values": questions.pictures[rows],
            "picture": picture,
            "asked": asked,
            "answer": answer,
        }

    def forward(self, pixel_values, picture, asked, answer):
        if self.training:
            pixel_values = random_shift(pixel_values, self.shift)
        features = self.vision(pixel_values=pixel_values.float() / 127.5 - 1).last_hidden_state
        logits = self.head(features.flatten(1))[picture].masked_fill(~self.possible[asked], -torch.inf)
        return {"loss": F.cross_entropy(logits, answer), "right": logits.argmax(-1) == answer}


def learn_to_see(model: ValueModel, train: Questions, held_out: Questions, recipe: dict, work: Path) -> float:
    """Phase 1: trains `model.vision_tower`; the share of held-out answers that it gets right."""
    grid = model.config.vision_config.image_size // model.config.vision_config.patch_size
    classifier = AnswerClassifier(model.vision_tower, grid**2, train, recipe["random_shift"])
    run_trainer(classifier, recipe["see"], train, lambda rows: classifier.collate(train, rows), work)
    classifier.eval()
    with torch.no_grad():
        batches = [list(range(i, min(i + 64, len(held_out)))) for i in range(0, len(held_out), 64)]
        right = torch.cat([classifier(**classifier.collate(held_out, rows))["right"] for rows in batches])
    return float(right.float().mean())


def run_trainer(model: nn.Module, settings: dict, train: Dataset, collator, work: Path) -> None:
    arguments = TrainingArguments(
        str(work),
        report_to="none",
        remove_unused_columns=False,
        save_strategy="no",
        logging_steps=100,
        dataloader_pin_memory=False,
        **settings,
    )
    Trainer(model=model, args=arguments, train_dataset=train, data_collator=collator).train()


class Collator:
    """Rows of `Questions` to a batch with `labels`, in one of the two layouts."""

    def __init__(self, questions: Questions, processor: ValueProcessor, packed_share: float):
        self.questions, self.packed_share, self.processor = questions, packed_share, processor
        self.ids = [[self._encode(*turn) for turn in turns] for turns in questions.turns]

    def _encode(self, question: str, answer: str) -> tuple[list[int], list[int]]:
        tokenizer = self.processor.tokenizer
        prompt = tokenizer(f"Question: {question} Answer:")["input_ids"]
        return prompt, [*tokenizer(f" {answer}")["input_ids"], tokenizer.eos_token_id]

    def __call__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([len(rows), *rows])
        packed = rng.random() < self.packed_share
        prefix = [self.processor.image_token_id] * self.processor.vision_tokens_per_image
        sequences = []  # (ids, labels, types) of every row
        for row in rows:
            turns = self.ids[row] if packed else [self.ids[row][rng.integers(len(self.ids[row]))]]
            text = [token for prompt, answer in turns for token in (*prompt, *answer)]
            labels = [label for prompt, answer in turns for label in (*[-100] * len(prompt), *answer)]
            answer_start = 0 if packed else len(turns[0][0])
            types = [0] * (len(prefix) + answer_start) + [1] * (len(text) - answer_start)
            sequences.append((prefix + text, [-100] * len(prefix) + labels, types))
        length = max(len(ids) for ids, _, _ in sequences)
        names, fill = ("input_ids", "labels", "token_type_ids"), (0, -100, 0)
        batch = {
            name: torch.tensor([parts[i] + [fill[i]] * (length - len(parts[i])) for parts in sequences])
            for i, name in enumerate(names)
        }
        lengths = torch.tensor([len(ids) for ids, _, _ in sequences])
        batch["attention_mask"] = (torch.arange(length) < lengths[:, None]).long()
        batch["pixel_values"] = self.questions.pictures[rows]
        return batch


def exact_match(model: ValueModel, questions: Questions, collator: Collator) -> float:
    """Share of held-out answers (one question in the prefix) whose every token is the most likely one."""
    single = Collator(questions, collator.processor, packed_share=0.0)
    right = []
    model.eval()
    for start in range(0, len(questions), 64):
        batch = single(list(range(start, min(start + 64, len(questions)))))
        labels = batch.pop("labels")[:, 1:]
        with torch.no_grad():
            hidden = model.encode(**batch)[:, :-1]
        guess = model.lm_head(hidden).argmax(-1)
        right.append(((guess == labels) | (labels == -100)).all(-1))
    return float(torch.cat(right).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", type=Path, help="a folder as examples/metaworld_vqa")
    parser.add_argument("output", type=Path, help="folder of the checkpoint")
    parser.add_argument("--recipe", type=Path, default=Path("trainer/recipes/base_tiny.yaml"))
    options = parser.parse_args()
    recipe = yaml.safe_load(options.recipe.read_text())
    set_seed(0)
    size = recipe["config"]["vision_config"]["image_size"]
    train, held_out = (Questions(options.questions, split, size) for split in ("train", "validation"))
    tokenizer = train_tokenizer([*train.texts(), *["Task: , State: 128;"] * 1000], recipe["vocab_size"])
    tokens = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in (("image_token_id", "<image_soft_token>"), ("value_token_id", "<unused0>"))
    }
    text = recipe["config"]["text_config"] | {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
    }
    text |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    model = ValueModel(ValueConfig(**recipe["config"] | tokens | {"text_config": text}))
    processor = ValueProcessor(
        tokenizer, image_size=size, vision_tokens_per_image=model.config.vision_tokens_per_image
    )
    work = options.output.with_name(options.output.name + ".tmp")
    seen = learn_to_see(model, train, held_out, recipe, work)
    model.vision_tower.requires_grad_(False)
    collator = Collator(train, processor, PACKED_SHARE)
    run_trainer(model, recipe["answer"], train, collator, work)
    answered = exact_match(model, held_out, collator)
    print(f"held-out answers right: {seen:.3f} after phase 1, {answered:.3f} in words")
    model.bfloat16().save_pretrained(work)
    processor.save_pretrained(work)
    for code in work.glob("*.py"):  # in this repository one copy of the code is enough
        code.unlink()
        code.symlink_to(Path("../../valuecurve") / code.name)
    (work / "README.md").write_text(CARD.format(see=seen, answer=answered))
    shutil.rmtree(options.output, ignore_errors=True)
    work.rename(options.output)
    print(f"wrote {options.output}: {sum(f.stat().st_size for f in options.output.iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
