"""The invariants of the model contract, on a tiny model of the real classes."""

import copy
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch
from tiny_models import TASKS, TEXT, VISION, make_config
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
)
from transformers import SiglipVisionModel as SiglipVision

from valuecurve import ValueConfig, ValueForConditionalGeneration, ValueModel
from valuecurve.evaluation.backbones import GEMMA_3_270M, SO400M
from valuecurve.modeling_value import prefix_mask


def pad(batch: dict, left: int, right: int) -> dict:
    """The same rows with more padding, filled with an arbitrary real token."""
    fill = {"input_ids": 7, "attention_mask": 0, "token_type_ids": 0}
    return dict(batch) | {
        name: torch.nn.functional.pad(batch[name], (left, right), value=value) for name, value in fill.items()
    }


def test_a_value_does_not_depend_on_the_batch(model, processor, frames, batch):
    together = model(**batch).value
    states = [[0.5, 0.0, 5.0], [0.0, 1.0, 5.0], [0.1, 0.2, 5.0]]
    alone = [
        model(**processor(images=[frames[i]], task=[TASKS[i % 2]], state=[states[i]])).value for i in range(3)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("left", "right"), [(0, 5), (5, 0), (3, 40)])
def test_a_value_does_not_depend_on_padding(model, batch, left, right):
    torch.testing.assert_close(
        model(**pad(batch, left, right)).value, model(**batch).value, rtol=0, atol=1e-5
    )


def test_eager_and_sdpa_attention_agree(model, batch):
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    torch.testing.assert_close(eager(**batch).value, model(**batch).value, rtol=0, atol=1e-5)


def test_under_bfloat16_autocast_the_value_is_the_mean_of_its_logits_in_float32(model, batch):
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**batch)
    assert output.value.dtype == output.logits.dtype == torch.float32
    centers = torch.linspace(-1, 0, 201, dtype=torch.float64)
    expected = (output.logits.double().softmax(-1) * centers).sum(-1)
    torch.testing.assert_close(output.value.double(), expected, rtol=0, atol=1e-6)


def test_cameras_are_ordered_by_name_not_by_position(model, processor, frames):
    row = frames[0]
    turned = dict(reversed(row.items()))
    one, two = (processor(images=[r], task=[TASKS[0]]) for r in (row, turned))
    assert list(row) != list(turned)
    assert torch.equal(one["pixel_values"], two["pixel_values"])
    assert torch.equal(model(**one).value, model(**two).value)


def test_sliding_window_layers_see_the_whole_prefix(tokenizer, model):
    """The first token changes the value, though it is further away than the sliding window in every layer."""
    text = TEXT | {"layer_types": ["sliding_attention"] * 3, "vocab_size": len(tokenizer)}
    sliding = ValueModel(make_config(tokenizer, text_config=text)).eval()
    ids = torch.full((1, 60), 20)
    ids[0, -1] = sliding.config.value_token_id
    other = ids.clone()
    other[0, 0] = 21
    mask = prefix_mask(torch.ones_like(ids), torch.zeros_like(ids), "bidirectional")
    assert mask.all()
    # one layer is enough to reach the first token: with a window of 8, three layers would reach 24 back
    assert (sliding(input_ids=ids).logits - sliding(input_ids=other).logits).abs().max() > 1e-6


def test_prefix_is_bidirectional_and_answers_are_causal():
    types = torch.tensor([[0, 0, 1, 1, 0]])
    attention = torch.tensor([[1, 1, 1, 1, 0]])
    seen = prefix_mask(attention, types, "bidirectional")[0, 0].int().tolist()
    assert seen == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    causal = prefix_mask(attention, types, "causal")[0, 0].int().tolist()
    assert causal[0] == [1, 0, 0, 0, 0]


def test_answers_do_not_change_the_value(model, processor, frames):
    """Tokens of an answer come after the value token and are invisible to it."""
    batch = processor(images=frames, task=TASKS[:1] * 3)
    answered = pad(batch, 0, 4)
    answered["attention_mask"][:, -4:] = 1
    answered["token_type_ids"][:, -4:] = 1
    torch.testing.assert_close(model(**answered).value, model(**batch).value, rtol=0, atol=1e-5)


def test_every_trainable_parameter_changes_after_a_step(tokenizer, batch):
    model = ValueModel(make_config(tokenizer)).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    labels = torch.full_like(batch["input_ids"], -100)
    labels[:, -2:] = batch["input_ids"][:, -2:]
    loss = model(**batch, value_targets=torch.tensor([-0.5, -0.2, -1.0]), labels=labels).loss
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss.backward()
    optimizer.step()
    unchanged = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    # a key's bias adds the same number to all scores of a query, which softmax ignores
    assert [name for name in unchanged if not name.endswith("k_proj.bias")] == []


def test_frozen_parameters_get_no_gradient_and_the_others_do(tokenizer, batch):
    parts = {"freeze_vision": True, "freeze_projector": True, "freeze_embeddings": True}
    model = ValueModel(make_config(tokenizer, **parts)).train()
    model(**batch, value_targets=torch.tensor([-0.5, -0.2, -1.0])).loss.backward()
    for name, parameter in model.named_parameters():
        frozen = name.startswith(("vision_tower.", "projector.")) or name in (
            "text_model.embed_tokens.weight",
            "lm_head.weight",
        )
        assert (parameter.grad is None) == frozen, name


def test_rows_without_target_do_not_count(model, batch):
    targets = torch.tensor([-0.5, float("nan"), -1.0])
    every = model(**batch, value_targets=torch.tensor([-0.5, -0.3, -1.0]))
    some = model(**batch, value_targets=targets)
    rows = [model.value_loss(every.logits[i : i + 1], targets[i : i + 1]) for i in (0, 2)]
    torch.testing.assert_close(some.value_loss, sum(rows) / 2)
    assert model(**batch, value_targets=torch.full((3,), float("nan"))).value_loss == 0


def test_no_full_vocabulary_logits_outside_answer_tokens(model, batch):
    shapes = []
    model.lm_head.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))
    labels = torch.full_like(batch["input_ids"], -100)
    labels[0, -3:] = 11
    model(**batch, labels=labels)
    assert shapes == [(3, model.config.text_config.vocab_size)]


def test_the_language_head_is_tied_to_the_embeddings(model, tmp_path):
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    assert ValueModel.from_pretrained(tmp_path).lm_head.weight.data_ptr() != 0
    loaded = ValueModel.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight


def test_generation_with_and_without_cache_agree(model, processor, frames, tmp_path):
    model.save_pretrained(tmp_path)
    talker = ValueForConditionalGeneration.from_pretrained(tmp_path).eval()
    batch = processor(images=frames, question=["push?", "is the drawer open or closed?", "no"])
    options = {"max_new_tokens": 20, "do_sample": False, "output_logits": True, "eos_token_id": None}
    options |= {"return_dict_in_generate": True}
    with_cache = talker.generate(**batch, **options)
    without = talker.generate(**batch, **options, use_cache=False)
    assert torch.equal(with_cache.sequences, without.sequences)
    torch.testing.assert_close(with_cache.logits, without.logits, rtol=0, atol=1e-4)
    assert len(set(with_cache.sequences[:, -20:].flatten().tolist())) > 1


def test_placeholders_are_never_generated(model, processor, frames, tmp_path):
    """They stand for images and the value; in an answer they mean nothing, and the next step would fail."""
    model.save_pretrained(tmp_path)
    talker = ValueForConditionalGeneration.from_pretrained(tmp_path).eval()

    def prefer_placeholders(module, args, logits):
        logits[..., [talker.config.image_token_id, talker.config.value_token_id]] = 1e4

    talker.lm_head.register_forward_hook(prefer_placeholders)
    batch = processor(images=frames[:1], question=["push?"])
    new = talker.generate(**batch, max_new_tokens=3, do_sample=False)[0, batch["input_ids"].shape[1] :]
    assert not {talker.config.image_token_id, talker.config.value_token_id} & set(new.tolist())


def test_generation_does_not_depend_on_the_batch(model, processor, frames, tmp_path):
    model.save_pretrained(tmp_path)
    talker = ValueForConditionalGeneration.from_pretrained(tmp_path).eval()
    questions = ["push?", "is the drawer open or closed?"]
    options = {"max_new_tokens": 8, "do_sample": False}
    together = talker.generate(**processor(images=frames[:2], question=questions), **options)
    alone = talker.generate(**processor(images=frames[:1], question=questions[:1]), **options)
    assert together[0, -8:].tolist() == alone[0, -8:].tolist()


def test_image_count_and_pixel_type_are_checked(model, batch):
    with pytest.raises(ValueError, match="80 image tokens, but 4 images of 16"):
        model(**dict(batch) | {"pixel_values": batch["pixel_values"][:4]})
    with pytest.raises(ValueError, match="pixel_values must be uint8"):
        model(**dict(batch) | {"pixel_values": batch["pixel_values"].float()})


class RecordOperations(TorchDispatchMode):
    """Inside, every operation that runs is noted by its name."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


def test_a_training_step_never_makes_the_host_wait_for_the_device(tokenizer, batch):
    """Nothing asks for a number or for a tensor whose size the device must say first."""
    model = ValueModel(make_config(tokenizer)).train()
    model.to("meta")  # pyright: ignore[reportArgumentType]
    inputs = {name: tensor.to("meta") for name, tensor in batch.items()}
    with RecordOperations() as seen:
        model(**inputs, value_targets=torch.zeros(3, device="meta")).loss.backward()
    assert {"searchsorted", "embedding_dense_backward"} <= seen.names  # forward and backward were seen
    assert not seen.names & {"_local_scalar_dense", "nonzero", "masked_select", "equal", "lift_fresh"}


def test_every_image_goes_to_its_own_placeholders_with_its_gradient(model, batch):
    """Beside the reference, which takes one row after the other."""
    ids, image_id = batch["input_ids"], model.config.image_token_id
    images = torch.tensor([2, 1, 2])
    embeds = model.embed(ids, batch["pixel_values"])
    embeds.square().sum().backward()
    gradient = model.projector[0].weight.grad.clone()
    model.zero_grad()
    parts = zip(ids, batch["pixel_values"].split(images.tolist()), strict=True)
    expected = []
    for row, pictures in parts:
        plain = model.get_input_embeddings()(row).clone()
        plain[row == model.config.value_token_id] = model.value_token
        plain[row == image_id] = model.get_image_features(pictures).flatten(0, 1)
        expected.append(plain)
    torch.testing.assert_close(embeds, torch.stack(expected))
    torch.stack(expected).square().sum().backward()
    torch.testing.assert_close(gradient, model.projector[0].weight.grad)


def test_pooled_vision_tokens_change_the_prefix_length(tokenizer):
    model = ValueModel(make_config(tokenizer, vision_tokens_per_image=4)).eval()
    assert model(**model.dummy_inputs).value.shape == (2,)
    assert model.dummy_inputs["input_ids"].shape == (2, 4 + 5)


def test_concatenated_vision_tokens_hold_their_block_of_the_grid(tokenizer):
    model = ValueModel(make_config(tokenizer, vision_tokens_per_image=4, vision_pooling="concat")).eval()
    pixels = model.dummy_inputs["pixel_values"]
    seen = {}
    model.projector.register_forward_hook(lambda module, inputs, output: seen.update(blocks=inputs[0]))
    model.vision_tower.register_forward_hook(
        lambda module, inputs, output: seen.update(tokens=output.last_hidden_state)
    )
    model.get_image_features(pixels)
    rows_of_4 = {0: [0, 1, 4, 5], 1: [2, 3, 6, 7], 2: [8, 9, 12, 13], 3: [10, 11, 14, 15]}  # in a 4 x 4 grid
    for block, tokens in rows_of_4.items():
        assert torch.equal(seen["blocks"][:, block], seen["tokens"][:, tokens].flatten(1))
    assert model(**model.dummy_inputs).value.shape == (2,)


# --- saving and loading ------------------------------------------------------------------------------------

STRANGER = """
    import sys
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor
    try:
        import valuecurve
        sys.exit("valuecurve must not be importable here")
    except ModuleNotFoundError:
        pass
    folder = sys.argv[1]
    assert AutoConfig.from_pretrained(folder, trust_remote_code=True).model_type == "valuecurve"
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    talker = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
    assert type(talker).__name__ == "ValueForConditionalGeneration"
    data = torch.load(folder + "/case.pt", weights_only=False)
    batch = processor(images=data["frames"], task=data["tasks"], state=data["states"])
    assert all(torch.equal(batch[name], data["batch"][name]) for name in data["batch"])
    values = model(**batch).value
    seconds = processor.decode_values(values, data["tasks"])["seconds"]
    torch.save({"values": values.detach(), "seconds": seconds}, folder + "/answer.pt")
"""


@pytest.mark.parametrize("first", ["import valuecurve.training", "from valuecurve import ValueConfig"])
def test_with_the_package_a_checkpoint_loads_without_trusting_its_code(model, tmp_path, first):
    model.save_pretrained(tmp_path)
    load = "from transformers import AutoModel; print(AutoModel.from_pretrained(sys.argv[1]).__module__)"
    command = [sys.executable, "-c", f"import sys\n{first}\n{load}", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.stdout == "valuecurve.modeling_value\n", result.stderr


def test_a_stranger_without_the_package_gets_bit_identical_values(model, processor, frames, tmp_path):
    tasks, states = [TASKS[0], TASKS[1], TASKS[0]], [[0.5, 0.0, 5.0], [0.0, 1.0, 5.0], [0.1, 0.2, 5.0]]
    batch = processor(images=frames, task=tasks, state=states)
    values = model(**batch).value
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    case = {"frames": frames, "tasks": tasks, "states": states, "batch": dict(batch)}
    torch.save(case, folder / "case.pt")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    # the environment has the package installed in editable mode: hide it
    hide = "import sys\nsys.modules['valuecurve'] = None\n"
    script = hide + textwrap.dedent(STRANGER)
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer = torch.load(folder / "answer.pt", weights_only=False)
    assert torch.equal(answer["values"], values)
    assert answer["seconds"] == pytest.approx(processor.decode_values(values, tasks)["seconds"])


def test_with_the_package_imported_no_remote_code_is_needed(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is ValueModel


def test_the_first_save_carries_all_the_code(model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {
        "configuration_value.py",
        "modeling_value.py",
        "processing_value.py",
        "model.safetensors",
    } <= names
    assert {"AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoProcessor"} == set(
        model.config.auto_map
    )


# --- backbones ----------------------------------------


@pytest.fixture
def backbones(tmp_path, tokenizer):
    """Small checkpoints in the classes' own formats: SigLIP whole, its vision model, Gemma 3 causal LM."""
    torch.manual_seed(1)
    vision = {key: value for key, value in VISION.items() if key != "model_type"}
    text = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    SiglipModel(
        SiglipConfig(text_config=text | {"num_attention_heads": 2}, vision_config=vision)
    ).save_pretrained(tmp_path / "siglip")
    full = SiglipModel.from_pretrained(tmp_path / "siglip")
    SiglipVision(SiglipVisionConfig(**vision)).save_pretrained(tmp_path / "vision")
    gemma: dict[str, Any] = {key: value for key, value in TEXT.items() if key != "model_type"} | {
        "vocab_size": len(tokenizer)
    }
    language = Gemma3ForCausalLM(Gemma3TextConfig(**gemma))
    language.save_pretrained(tmp_path / "gemma")
    return tmp_path, full, language


@pytest.mark.parametrize("vision", ["siglip", "vision"])
def test_from_backbones_loads_both_halves(backbones, tokenizer, batch, vision, tmp_path):
    folder, full, language = backbones
    ids = make_config(tokenizer)
    model = ValueModel.from_backbones(
        str(folder / vision),
        str(folder / "gemma"),
        {"image_token_id": ids.image_token_id, "value_token_id": ids.value_token_id},
    ).eval()
    expected = full.vision_model if vision == "siglip" else SiglipVision.from_pretrained(folder / "vision")
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        model.vision_tower(pixel_values=pixels).last_hidden_state,
        expected(pixel_values=pixels).last_hidden_state,
    )
    ids_ = torch.arange(10, 20)[None]
    torch.testing.assert_close(
        model.text_model(input_ids=ids_).last_hidden_state, language.model(input_ids=ids_).last_hidden_state
    )
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert all(torch.isfinite(p).all() for p in model.parameters())
    value = model(**batch).value
    model.save_pretrained(tmp_path / "value")
    assert torch.equal(ValueModel.from_pretrained(tmp_path / "value").eval()(**batch).value, value)
    assert str(folder) not in (tmp_path / "value" / "config.json").read_text()


def test_from_backbones_takes_halves_out_of_value_checkpoints(model, tokenizer, batch, tmp_path):
    model.bfloat16().save_pretrained(tmp_path / "base")
    ids = make_config(tokenizer)
    torch.manual_seed(5)
    started = ValueModel.from_backbones(
        str(tmp_path / "base"),
        str(tmp_path / "base"),
        {
            "image_token_id": ids.image_token_id,
            "value_token_id": ids.value_token_id,
            "readout": "weighted_mean",
            "head": "norm_mlp",
            "projector": "cross_attention",
            "text_config": {"attention_dropout": 0.25},
        },
        dtype=torch.float32,
    )
    halves = ("vision_tower.", "text_model.", "lm_head.")
    for name, parameter in started.named_parameters():
        assert parameter.dtype == torch.float32 and torch.isfinite(parameter).all(), name
        if name.startswith(halves):
            assert torch.equal(parameter, model.get_parameter(name).float()), name
    assert started.lm_head.weight is started.get_input_embeddings().weight
    assert started.text_model.layers[0].self_attn.attention_dropout == 0.25
    assert started.config.text_config.attention_dropout == 0.25
    # the joints are new, and as they should be after `to_empty`
    assert (started.readout_weights == 0).all() and started.value_token is None
    projector: Any = started.projector
    head: Any = started.value_head
    assert (head[0].weight == 1).all() and (head[0].bias == 0).all()
    for linear in (projector.linear, projector.cross_attention.q_proj, head[1]):
        assert linear.weight.std().item() == pytest.approx(linear.in_features**-0.5, rel=0.1)
    values = started.eval()(**batch).value
    started.save_pretrained(tmp_path / "value")
    assert torch.equal(ValueModel.from_pretrained(tmp_path / "value").eval()(**batch).value, values)


@pytest.mark.parametrize(("image_size", "tokens"), [(224, 256), (384, 729)])
def test_real_sizes_have_the_parameters_of_their_parts(image_size, tokens):
    """SigLIP-SO400M/14 and Gemma-3-270M, built without memory, against counts worked out by hand."""
    config = ValueConfig(vision_config=SO400M | {"image_size": image_size}, text_config=GEMMA_3_270M)
    assert config.vision_tokens_per_image == tokens
    with torch.device("meta"):
        model = ValueModel(config)
    h, m, layers = 1152, 4304, 27
    layer = 4 * (h * h + h) + (h * m + m) + (m * h + h) + 4 * h  # attention, MLP, two layer norms
    vision_count = (3 * 14 * 14 * h + h) + tokens * h + layers * layer + 2 * h
    d, f, v = 640, 2048, 262144
    block = (
        d * 4 * 256 * 2 + 2 * d * 256 + 2 * 256 + 3 * d * f + 4 * d
    )  # q, o; k, v; q/k norms; MLP; four norms
    text_count = v * d + 18 * block + d
    projector = (h * h + h) + (h * d + d)
    head = 2 * (d * d + d) + (d * 201 + 201)
    parts = {
        "vision_tower": vision_count,
        "text_model": text_count,
        "projector": projector,
        "value_head": head,
    }
    for name, expected in parts.items():
        assert sum(p.numel() for p in getattr(model, name).parameters()) == expected, name
    assert sum(p.numel() for p in model.parameters()) == sum(parts.values()) + d  # the value token
