"""LoRA: what trains, what is saved, and that the merged model is the adapted one."""

import json
import subprocess
import sys

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from test_run import call_main, losses
from tiny_models import write_recipe

from valuecurve import ValueModel
from valuecurve.training import ConfigError, load_config, prepare, train
from valuecurve.training.config import LoraSettings
from valuecurve.training.lora import add_lora, merged_state_dict

SETTINGS = {"r": 4, "alpha": 12.0, "dropout": 0.0, "target_modules": ["q_proj", "down_proj"]}


@pytest.fixture
def recipe(tiny_v30, tmp_path):
    def make(name: str = "run", **training):
        path = tmp_path / f"{name}.yaml"
        return write_recipe(path, tiny_v30, tmp_path / name, lora=SETTINGS, **training), tmp_path / name

    return make


def test_adapters_and_joints_train_and_the_text_backbone_does_not(recipe):
    config = load_config(recipe()[0])
    prepared = prepare(config)
    before = {name: weight.detach().clone() for name, weight in prepared.model.named_parameters()}
    run = train(config, prepared=prepared)
    assert any(".lora_B.default.weight" in name for name in before)
    for name, parameter in run.trainer._own_model().named_parameters():
        trains = ".lora_" in name or not name.startswith(("text_model.", "lm_head."))
        assert parameter.requires_grad == trains, name
        if trains:
            # the bias of a key projection has no gradient but rounding noise
            assert not torch.equal(parameter, before[name]) or "k_proj.bias" in name, name
        else:
            assert parameter.grad is None and torch.equal(parameter, before[name]), name
    assert run.trainer.ema and set(run.trainer.ema.averages) == {
        name for name, parameter in prepared.model.named_parameters() if parameter.requires_grad
    }


def test_new_adapters_change_nothing_and_merged_ones_are_the_same(recipe):
    """1e-5: (W + s B A) x against W x + s B (A x) in float32, on logits of order 1."""
    prepared = prepare(load_config(recipe()[0], ["--training.lora", "null"]))
    model, batch = prepared.model.eval(), prepared.collator([0, 1, 2, 3])
    with torch.no_grad():
        plain = model(**batch).logits
        settings = LoraSettings(**SETTINGS)
        add_lora(model, settings)
        assert torch.equal(model(**batch).logits, plain)
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.2)
        adapted = model(**batch).logits
        assert (adapted - plain).abs().max() > 0.01
        merged = ValueModel(model.config).eval()
        merged.load_state_dict(merged_state_dict(model.state_dict(), settings))
        torch.testing.assert_close(merged(**batch).logits, adapted, rtol=0, atol=1e-5)


def test_the_export_is_merged_averaged_and_needs_no_peft(recipe):
    path, output = recipe()
    run = train(load_config(path))
    batch = run.collator([0, 5, 9])
    with run.trainer.averaged_weights(), torch.no_grad():
        expected = run.trainer._own_model().eval()(**batch).value
    code = """
import sys
sys.modules["peft"] = None  # as where it is not installed
import json, torch
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
batch = torch.load(sys.argv[2])
with torch.no_grad():
    print(json.dumps(model(**batch).value.tolist()))
"""
    torch.save(batch, output / "batch.pt")
    done = subprocess.run(
        [sys.executable, "-c", code, str(output / "model"), str(output / "batch.pt")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), expected, rtol=0, atol=1e-5)
    assert not any("lora" in name for name in load_file(output / "model" / "model.safetensors"))


def test_the_adapter_files_fit_the_backbone_that_was_trained(recipe):
    path, output = recipe()
    backbone = prepare(load_config(path, ["--training.lora", "null"])).model.text_model.eval()
    train(load_config(path))
    merged = ValueModel.from_pretrained(output / "model").text_model.eval()
    ids = torch.arange(7)[None]
    with torch.no_grad():
        plain = backbone(ids).last_hidden_state
        adapted = PeftModel.from_pretrained(backbone, output / "adapter").eval()(ids).last_hidden_state
        expected = merged(ids).last_hidden_state
    torch.testing.assert_close(adapted, expected, rtol=0, atol=1e-5)
    assert (adapted - plain).abs().max() > 1e-3


def test_a_run_with_adapters_resumes(recipe):
    path, whole = recipe("whole", lr_scheduler_type="constant")
    assert call_main("--config", path) == 0
    path, output = recipe("parts", lr_scheduler_type="constant")
    assert call_main("--config", path, "--training.max_steps", 2) == 0
    assert call_main("--config", path, "--resume") == 0
    assert losses(output) == losses(whole)
    ends = [load_file(folder / "model" / "model.safetensors") for folder in (whole, output)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--training.lora.rank=4", "unknown key 'training.lora.rank'"),
        ("--training.lora.r=0", "training.lora.r must be 1 or more, got 0"),
        ("--training.lora.target_modules=[]", "training.lora.target_modules must be at least one name"),
        ("--training.lora.dropout=1.5", "training.lora.dropout must be 0 or more and below 1"),
        ("--training.lora.target_modules=[query]", "has no linear layer 'query'. It has: down_proj"),
    ],
)
def test_settings_that_make_no_adapters_are_errors(recipe, override, message):
    with pytest.raises(ConfigError) as error:
        prepare(load_config(recipe()[0], [override]))
    assert message in str(error.value)
