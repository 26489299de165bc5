"""Logits over the vocabulary are made for answer tokens only: by shapes, and by the memory that is used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

PROGRAM = """
import json
import torch
from tiny_models import TEXT, VISION
from valuecurve import ValueConfig, ValueModel

VOCABULARY, ROWS, TOKENS = 200_000, 8, 150
text = TEXT | {"vocab_size": VOCABULARY}
def peak():  # megabytes of this program; ru_maxrss would begin with those of its parent
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

model = ValueModel(ValueConfig(vision_config=VISION, text_config=text, image_token_id=4, value_token_id=5))
ids = torch.randint(10, VOCABULARY, (ROWS, TOKENS))
peaks = []
for answer in (1, 2, 75):  # the first also makes the gradients
    types = (torch.arange(TOKENS) >= TOKENS - answer).long().expand(ROWS, -1)
    model(input_ids=ids, token_type_ids=types, labels=ids.where(types == 1, -100)).loss.backward()
    peaks.append(peak())
print(json.dumps([peaks[1] - peaks[0], peaks[2] - peaks[1]]))
"""


class Shapes(TorchDispatchMode):
    """Remembers the shape of every tensor that an operation makes, backward too."""

    def __init__(self):
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.seen.add(tuple(tensor.shape))
        return made


def test_no_tensor_over_the_vocabulary_has_more_rows_than_answer_tokens(model, processor, frames):
    batch = processor(
        images=frames, question=["what?", "is it open?", "no picture?"], answer=["yes", "no no", "yes"]
    )
    answers = int((batch["labels"][:, 1:] != -100).sum())
    vocabulary = model.config.text_config.vocab_size
    with Shapes() as shapes:
        model(**batch).loss.backward()
    over_vocabulary = {shape for shape in shapes.seen if shape and shape[-1] == vocabulary}
    assert (answers, vocabulary) in over_vocabulary
    weight = (model.config.text_config.hidden_size, vocabulary)
    assert {shape for shape in over_vocabulary if len(shape) > 1} <= {(answers, vocabulary), weight}
    assert batch["input_ids"].numel() > 5 * answers


def test_a_batch_without_answers_makes_no_logits_over_the_vocabulary(model, batch):
    with Shapes() as shapes:
        model(**batch, value_targets=torch.tensor([-0.5, -0.1, -1.0])).loss.backward()
    assert not [shape for shape in shapes.seen if shape[-1:] == (model.config.text_config.vocab_size,)]


def test_the_language_head_sees_answer_tokens_only(model, processor, frames):
    batch = processor(images=frames[:1], question=["what?"], answer=["yes"])
    seen = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model(**batch)
    assert [shape[0] for shape in seen] == [int((batch["labels"] != -100).sum())]


def test_generation_keeps_the_logits_of_one_position(model, processor, frames):
    from valuecurve.training.build import answering

    seen, generator = [], answering(model)
    generator.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    generator.generate(**processor(images=frames[:1], question=["what?"]), max_new_tokens=3, do_sample=False)
    assert set(seen) == {1}


@pytest.mark.slow
def test_peak_memory_grows_with_the_answers_and_not_with_the_batch():
    """Logits of all 8 x 150 tokens over 200,000 words would take 0.9 GB, and as much again in the loss."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), str(tests.parent)])
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    assert result.returncode == 0, result.stderr
    few, many = json.loads(result.stdout.splitlines()[-1])  # megabytes for 16 and for 600 answer tokens
    assert few < 150
    assert many > 400  # the measurement sees logits where there are some
