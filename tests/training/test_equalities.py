"""What must not depend on how a step is computed: micro-batches, processes, checkpointing, compilation.

Tolerances: everything is float32, and only the order of sums differs. That gives differences of about 1e-6
after four steps of SGD on losses around 5; 1e-5 is asked for. A mean of means instead of the mean differs by
more than 1e-2 on these rows, as one of the tests shows.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from mixed_run import ROOT, launch, losses, run
from safetensors.torch import load_file

from valuecurve import ValueModel
from valuecurve.training import ConfigError, ValueTrainer
from valuecurve.training.trainer import count_items

PROGRAM = Path(__file__).with_name("mixed_run.py")
TOLERANCE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Four steps of 8 rows, one process, one batch a step."""
    return run(tmp_path_factory.mktemp("whole"), per_device_train_batch_size=8)


def assert_same(trainer: ValueTrainer, other: ValueTrainer) -> None:
    assert trainer.model and other.model and trainer.ema and other.ema
    assert losses(trainer) == pytest.approx(losses(other), abs=1e-5)
    for (name, weights), expected in zip(
        trainer.model.named_parameters(), other.model.parameters(), strict=True
    ):
        torch.testing.assert_close(weights, expected, **TOLERANCE, msg=name)
    for name, average in other.ema.averages.items():
        torch.testing.assert_close(trainer.ema.averages[name], average, **TOLERANCE, msg=name)


@pytest.mark.parametrize(("rows", "micro_batches"), [(4, 2), (2, 4), (1, 8)])
def test_accumulated_micro_batches_equal_the_larger_batch(whole, tmp_path, rows, micro_batches):
    accumulated = run(tmp_path, per_device_train_batch_size=rows, gradient_accumulation_steps=micro_batches)
    assert_same(accumulated, whole)


def test_the_mean_of_the_means_would_be_seen(whole, tmp_path, monkeypatch):
    """The same with the loss of every micro-batch as its own mean, which is what transformers would do."""

    def own_mean(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return compute_loss(self, model, inputs, return_outputs, None)

    compute_loss = ValueTrainer.compute_loss
    monkeypatch.setattr(ValueTrainer, "compute_loss", own_mean)
    monkeypatch.setattr(ValueTrainer, "loss_is_scaled_for_ga", False)
    wrong = run(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert max(abs(a - b) for a, b in zip(losses(wrong), losses(whole), strict=True)) > 1e-2


def test_items_are_rows_with_a_target_and_answer_tokens():
    batch = {
        "input_ids": torch.zeros(3, 4),
        "value_targets": torch.tensor([-0.5, float("nan"), 0.0]),
        "labels": torch.tensor([[7, -100, -100, -100], [-100, -100, 5, 6], [-100] * 4]),
    }
    assert count_items(batch).tolist() == [2, 2]  # nothing predicts the first token
    assert count_items({"input_ids": batch["input_ids"]}).tolist() == [0, 0]


def test_activation_checkpointing_changes_nothing(whole, tmp_path):
    assert_same(run(tmp_path, per_device_train_batch_size=8, activation_checkpointing=True), whole)


def test_bfloat16_keeps_float32_weights_averages_and_optimizer(tmp_path):
    trainer = run(tmp_path, per_device_train_batch_size=8, bf16=True, optim="adamw_torch", learning_rate=1e-3)
    assert {parameter.dtype for parameter in trainer._own_model().parameters()} == {torch.float32}
    assert trainer.ema and {average.dtype for average in trainer.ema.averages.values()} == {torch.float32}
    optimizer: Any = trainer.optimizer
    moments = [value for state in optimizer.state.values() for value in state.values()]
    assert moments and {value.dtype for value in moments} == {torch.float32}
    assert losses(trainer)[-1] < losses(trainer)[0]


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "micro_batches"), [(4, 1), (2, 2)])
def test_two_processes_equal_one_at_the_same_global_batch(whole, tmp_path, rows, micro_batches):
    options = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": micro_batches}
    done = launch("cpu_2.yaml", PROGRAM, tmp_path, json.dumps(options))
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "processes.json").read_text()) == 2
    assert_ended_like(whole, tmp_path)


@pytest.mark.slow
def test_divided_weights_equal_whole_ones(whole, tmp_path):
    """FSDP version 2 on two processes: losses, weights, averages, checkpoint and export.

    (Resuming is not tried here: torch loads divided weights onto accelerators only.)
    """
    options = {"per_device_train_batch_size": 4, "shard": True, "save_strategy": "steps", "save_steps": 4}
    done = launch(PROGRAM.with_name("fsdp_cpu.yaml"), PROGRAM, tmp_path, json.dumps(options))
    assert done.returncode == 0, done.stderr[-3000:]
    assert_ended_like(whole, tmp_path)
    checkpoint = load_file(tmp_path / "checkpoint-4" / "model.safetensors")
    averages = load_file(tmp_path / "checkpoint-4" / "ema.safetensors")
    assert whole.ema and averages.keys() == whole.ema.averages.keys()
    for name, average in whole.ema.averages.items():
        torch.testing.assert_close(averages[name], average, **TOLERANCE, msg=name)
        assert checkpoint[name].shape == average.shape


@pytest.mark.parametrize(
    ("name", "kind", "processes"),
    [
        ("cpu_2", "MULTI_GPU", 2),
        ("gpu_8", "MULTI_GPU", 8),
        ("fsdp", "FSDP", 8),
        ("deepspeed_zero2", "DEEPSPEED", 8),
        ("deepspeed_zero3", "DEEPSPEED", 8),
    ],
)
def test_shipped_launch_configurations_are_read_by_accelerate(name, kind, processes):
    path = str(ROOT / "trainer" / "accelerate" / f"{name}.yaml")
    config: Any = load_config_from_file(path)  # unknown keys are an error
    assert (config.distributed_type.value, config.num_processes) == (kind, processes)
    arguments = launch_command_parser().parse_args(["--config_file", path, "program.py"])
    arguments, _, _ = _validate_launch_command(arguments)
    assert arguments.num_processes == processes
    if kind == "FSDP":
        assert arguments.fsdp_version == 2 and arguments.fsdp_state_dict_type == "FULL_STATE_DICT"
    if kind == "DEEPSPEED":
        assert arguments.zero_stage == int(name[-1])


def test_averages_where_there_are_none_to_be_had_are_refused(tmp_path, monkeypatch):
    """As under DeepSpeed, which is not installed here: its engine hides the float32 weights."""
    monkeypatch.setattr(ValueTrainer, "create_accelerator_and_postprocess", hidden_weights)
    with pytest.raises(ConfigError, match="DeepSpeed hides the float32 weights"):
        run(tmp_path, per_device_train_batch_size=8)


def hidden_weights(trainer, create=ValueTrainer.create_accelerator_and_postprocess):
    create(trainer)
    trainer.is_deepspeed_enabled = True


def assert_ended_like(whole: ValueTrainer, output: Path) -> None:
    """The files of `mixed_run.py` against a training in this process."""
    assert json.loads((output / "losses.json").read_text()) == pytest.approx(losses(whole), abs=1e-5)
    weights, exported = (
        load_file(output / "weights.safetensors"),
        ValueModel.from_pretrained(output / "model"),
    )
    assert whole.ema
    for name, expected in whole._own_model().named_parameters():
        torch.testing.assert_close(weights[name], expected, **TOLERANCE, msg=name)
        average = whole.ema.averages[name]
        torch.testing.assert_close(exported.get_parameter(name), average, **TOLERANCE, msg=name)


@pytest.mark.slow
def test_a_compiled_model_has_the_same_losses(whole, tmp_path):
    """The captured graphs and their derivatives, run without inductor, whose C++ would take minutes to build.

    With inductor (2 cores) the losses were the same within 1e-4.
    """
    compiled = run(
        tmp_path,
        per_device_train_batch_size=8,
        torch_compile=True,
        torch_compile_backend="aot_eager",
        max_steps=2,
    )
    assert losses(compiled) == pytest.approx(losses(whole)[:2], abs=1e-4)
