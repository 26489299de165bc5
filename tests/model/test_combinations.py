"""Every combination of the architecture's choices keeps the invariants of the model contract."""

import itertools
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch
from tiny_models import TASKS, make_config
from torch import nn

from valuecurve import ValueForConditionalGeneration, ValueModel, ValueProcessor

CHOICES = {
    "projector": ["mlp", "linear", "cross_attention"],
    "attention": ["bidirectional", "causal"],
    "readout": ["value_token", "last_token", "mean", "weighted_mean"],
    "frames_per_sample": [1, 2],
}
HEADS = ["mlp", "linear", "norm_mlp"]  # take turns: a head sees one vector, whatever the rest has made of it
ALL = [
    dict(zip(CHOICES, values, strict=True)) | {"head": HEADS[i % 3]}
    for i, values in enumerate(itertools.product(*CHOICES.values()))
]
STATES = [[0.5, 0.0, 5.0], [0.0, 1.0, 5.0], [0.1, 0.2, 5.0]]
TARGETS = torch.tensor([-0.5, -0.2, -1.0])


def name_of(fields: dict) -> str:
    return "-".join(str(value) for value in fields.values())


def build(tokenizer, fields: dict) -> tuple[ValueModel, ValueProcessor]:
    torch.manual_seed(0)
    v_max = 1.0 if fields["frames_per_sample"] == 2 else 0.0
    config = make_config(
        tokenizer, **fields, v_max=v_max, head_hidden=24, projector_heads=4, vision_tokens_per_image=4
    )
    processor = ValueProcessor(
        tokenizer,
        image_size=32,
        vision_tokens_per_image=4,
        cameras=["side", "top"],
        frames_per_sample=fields["frames_per_sample"],
        add_value_token=fields["readout"] == "value_token",
        state_statistics={"sample": {"q01": [0.0, -1.0, 5.0], "q99": [1.0, 1.0, 5.0]}},
    )
    return ValueModel(config).eval(), processor


def robot_batch(processor, frames, rows=(0, 1, 2)) -> dict[str, torch.Tensor]:
    """Rows with two, one and two cameras; in pairs, each compared with itself turned upside down."""
    images = [frames[i] for i in rows]
    pairs = processor.frames_per_sample == 2
    turned = [{name: image[::-1].copy() for name, image in row.items()} for row in images]
    tasks, states = [TASKS[i % 2] for i in rows], [STATES[i] for i in rows]
    return dict(
        processor(images=images, task=tasks, state=states, reference_images=turned if pairs else None)
    )


def pad(batch: dict, left: int, right: int) -> dict:
    """The same rows with more padding, filled with an arbitrary real token."""
    fill = {"input_ids": 7, "attention_mask": 0, "token_type_ids": 0, "labels": -100}
    return batch | {
        name: nn.functional.pad(batch[name], (left, right), value=value)
        for name, value in fill.items()
        if name in batch
    }


def with_questions(batch: dict, questions: dict) -> dict:
    """Robot rows and questions in one batch."""
    batch = batch | {"labels": torch.full_like(batch["input_ids"], -100)}
    length = max(part["input_ids"].shape[1] for part in (batch, questions))
    parts = [pad(part, 0, length - part["input_ids"].shape[1]) for part in (batch, questions)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@pytest.fixture(scope="module", params=ALL, ids=name_of)
def built(request, tokenizer):
    return build(tokenizer, request.param)


@torch.no_grad()
def test_a_value_depends_neither_on_padding_nor_on_the_batch_nor_on_an_answer(built, frames):
    model, processor = built
    batch = robot_batch(processor, frames)
    together = model(**batch).value
    assert together.std() > 1e-4  # a model that says the same for all rows would pass without reason
    for left, right in [(0, 5), (5, 0), (3, 40)]:
        torch.testing.assert_close(model(**pad(batch, left, right)).value, together, rtol=0, atol=1e-5)
    alone = [model(**robot_batch(processor, frames, [i])).value for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=0, atol=1e-5)
    answered = pad(batch, 0, 4)
    answered["attention_mask"][:, -4:] = answered["token_type_ids"][:, -4:] = 1
    torch.testing.assert_close(model(**answered).value, together, rtol=0, atol=1e-5)


def test_every_parameter_gets_a_gradient_and_question_rows_give_none_to_the_value(built, frames):
    model, processor = built
    robot = robot_batch(processor, frames)
    questions = processor(
        images=[frames[0], []], question=["is it open?", "where is it?"], answer=["yes", "no"]
    )
    mixed = with_questions(robot, dict(questions))
    targets = torch.cat([TARGETS, torch.full((2,), torch.nan)])
    output = model(**mixed, value_targets=targets)
    assert torch.isfinite(output.logits).all() and torch.isfinite(output.loss)
    torch.testing.assert_close(output.loss, output.value_loss + output.language_loss)
    output.loss.backward()
    flat = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # a key's bias adds the same number to all scores of a query, which softmax ignores
    assert [name for name in flat if not name.endswith("k_proj.bias")] == []
    model.zero_grad()

    mixed.pop("labels")
    gradients = []
    for batch, wanted in ((mixed, targets), (robot, TARGETS)):
        model(**batch, value_targets=wanted).loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        model.zero_grad()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-5, msg=name)


STRANGER = """
    import sys, torch
    from transformers import AutoModel, AutoProcessor
    sys.modules["valuecurve"] = None
    for folder, batch in torch.load(sys.argv[1], weights_only=False).items():
        model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
        AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        torch.save(model(**batch).logits, folder + "/logits.pt")
"""


@pytest.mark.slow
def test_all_load_bit_identically_in_a_process_without_the_package(tokenizer, frames, tmp_path):
    cases, expected = {}, {}
    for fields in ALL:
        model, processor = build(tokenizer, fields)
        folder = str(tmp_path / name_of(fields))
        if model.readout_weights is not None:
            nn.init.normal_(model.readout_weights)  # zeros would hide weights that were not loaded
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        cases[folder] = robot_batch(processor, frames)
        expected[folder] = model(**cases[folder]).logits
    torch.save(cases, tmp_path / "cases.pt")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", textwrap.dedent(STRANGER), str(tmp_path / "cases.pt")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for folder, logits in expected.items():
        assert torch.equal(torch.load(f"{folder}/logits.pt"), logits), folder


# --- each choice is what it says ---------------------------------------------------------------------------


def defaults(**fields) -> dict:
    return {name: values[0] for name, values in CHOICES.items()} | {"head": "mlp"} | fields


def test_the_mean_is_over_prefix_tokens_only(tokenizer):
    model, _ = build(tokenizer, defaults(readout="mean"))
    hidden = torch.randn(2, 5, 32)
    attention, types = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 0]]), torch.tensor([[0, 0, 0, 1, 1]] * 2)
    ids = torch.zeros(2, 5, dtype=torch.long)
    expected = torch.stack([hidden[0, 1:3].mean(0), hidden[1, 0:3].mean(0)])
    torch.testing.assert_close(model.readout(hidden, ids, attention, types), expected)


def test_the_weighted_mean_starts_as_the_mean_and_learns_its_weights(tokenizer, frames):
    mean, processor = build(tokenizer, defaults(readout="mean"))
    weighted, _ = build(tokenizer, defaults(readout="weighted_mean"))
    weighted.load_state_dict(mean.state_dict(), strict=False)
    batch = robot_batch(processor, frames)
    torch.testing.assert_close(weighted(**batch).logits, mean(**batch).logits)

    ids = torch.zeros(1, 3, dtype=torch.long)
    hidden = torch.randn(1, 3, 32)
    weights_D: Any = weighted.readout_weights
    with torch.no_grad():
        weights_D.copy_(torch.randn(32))
    weights = (hidden[0, :2] @ weights_D).softmax(0)  # the third token is padding
    seen = weighted.readout(hidden, ids, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(seen[0], weights @ hidden[0, :2])


def test_only_the_readout_value_token_has_one(tokenizer, frames):
    for readout in CHOICES["readout"]:
        model, processor = build(tokenizer, defaults(readout=readout))
        ids = robot_batch(processor, frames)["input_ids"]
        has_token = readout == "value_token"
        assert (ids == processor.value_token_id).any(-1).tolist() == [has_token] * 3
        assert ("value_token" in dict(model.named_parameters())) == has_token
        assert (model.dummy_inputs["input_ids"] == processor.value_token_id).any() == has_token


def test_text_attends_to_the_images_of_its_row_as_in_multi_head_attention(tokenizer):
    model, _ = build(tokenizer, defaults(projector="cross_attention"))
    ours: Any = model.projector.cross_attention
    theirs = nn.MultiheadAttention(32, 4, bias=False, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.q_proj.weight, ours.k_proj.weight, ours.v_proj.weight]))
        theirs.out_proj.weight.copy_(ours.o_proj.weight)
    embeds = torch.randn(2, 6, 32)
    is_image = torch.tensor([[True] * 4 + [False] * 2, [False] * 6])
    fused = ours(embeds, is_image)
    text, images = embeds[:1, 4:], embeds[:1, :4]
    expected = text + theirs(nn.functional.layer_norm(text, (32,)), images, images)[0]
    torch.testing.assert_close(fused[:1, 4:], expected, rtol=0, atol=1e-5)
    assert torch.equal(fused[0, :4], embeds[0, :4])  # images stay as they are
    assert torch.equal(fused[1], embeds[1])  # and so does a row without images


def test_cross_attention_answers_without_a_cache(tokenizer, frames, tmp_path):
    model, processor = build(tokenizer, defaults(projector="cross_attention"))
    model.save_pretrained(tmp_path)
    talker = ValueForConditionalGeneration.from_pretrained(tmp_path).eval()
    batch = processor(images=frames[:2], question=["push?", "is the drawer open or closed?"])
    answer = talker.generate(**batch, max_new_tokens=6, do_sample=False, eos_token_id=None)
    for length in range(batch["input_ids"].shape[1], answer.shape[1]):  # greedy, one forward a token
        ids = answer[:, :length]
        new = length - batch["input_ids"].shape[1]
        attention = nn.functional.pad(batch["attention_mask"], (0, new), value=1)
        types = nn.functional.pad(batch["token_type_ids"], (0, new), value=1)
        logits = talker(ids, batch["pixel_values"], attention, types).logits[:, -1]
        logits[:, [talker.config.image_token_id, talker.config.value_token_id]] = -torch.inf
        assert torch.equal(logits.argmax(-1), answer[:, length])
    cache = talker(**batch, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="no cache holds"):
        talker(answer[:, -1:], past_key_values=cache)


def test_the_norm_mlp_head_of_the_cross_attention_system_has_its_parameters(tokenizer):
    model, _ = build(tokenizer, defaults(head="norm_mlp"))
    head: Any = model.value_head
    assert [type(layer).__name__ for layer in head] == [
        "LayerNorm", "Linear", "GELU", "Linear", "GELU", "Linear",
    ]  # fmt: skip
    assert [tuple(layer.weight.shape) for layer in head if hasattr(layer, "weight")] == [
        (32,), (24, 32), (24, 24), (201, 24),
    ]  # fmt: skip


def test_the_language_loss_has_its_weight(tokenizer, processor, frames):
    batch = processor(images=[frames[0]], question="is it open?", answer="yes")
    losses = []
    for weight in (1.0, 0.25, 0.0):
        torch.manual_seed(0)
        model = ValueModel(make_config(tokenizer, language_weight=weight)).eval()
        output = model(**batch)
        losses.append(output.loss.item())
        assert output.value_loss is None and output.language_loss == losses[0]
    assert losses[1:] == [pytest.approx(0.25 * losses[0]), 0.0]


@torch.no_grad()
def test_in_a_pair_the_reference_frame_comes_first_and_counts(tokenizer, frames):
    model, processor = build(tokenizer, defaults(frames_per_sample=2))
    other = [{name: 255 - image for name, image in row.items()} for row in frames]
    tasks = [TASKS[0]] * 3
    pair = processor(images=frames, reference_images=other, task=tasks)
    turned = processor(images=other, reference_images=frames, task=tasks)
    processor.frames_per_sample = 1
    own, reference = (
        processor(images=rows, task=tasks)["pixel_values"].split([2, 1, 2]) for rows in (frames, other)
    )
    expected = [part for both in zip(reference, own, strict=True) for part in both]
    assert torch.equal(pair["pixel_values"], torch.cat(expected))
    assert (pair["input_ids"] == processor.image_token_id).sum(-1).tolist() == [16, 8, 16]
    assert (model(**pair).value - model(**turned).value).abs().min() > 1e-5


@pytest.mark.parametrize("width", [32, 512])
@pytest.mark.parametrize("projector", CHOICES["projector"])
def test_new_joints_keep_the_variance_at_any_width(tokenizer, width, projector):
    torch.manual_seed(0)
    text = make_config(tokenizer).text_config.to_dict() | {"hidden_size": width}
    model = ValueModel(make_config(tokenizer, text_config=text, projector=projector, readout="mean"))
    joints = [
        (name, module)
        for part in ("projector", "value_head")
        for name, module in model.get_submodule(part).named_modules(prefix=part)
        if isinstance(module, nn.Linear)
    ]
    assert len(joints) >= 4
    for name, linear in joints:
        assert 0.8 < linear(torch.randn(4096, linear.in_features)).std() < 1.25, name
