"""Whole training runs through the real command line, resumed, killed, and on two processes."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mixed_run import launch
from programs import load_program
from safetensors.torch import load_file
from test_questions import cauldron, picture
from tiny_models import write_recipe
from transformers import EvalPrediction

from valuecurve import ValueModel, ValueProcessor
from valuecurve.scoring import predict
from valuecurve.training import last_checkpoint, load_config, prepare
from valuecurve.training.trainer import metrics_of

PROGRAM = Path(__file__).parents[2] / "trainer" / "run.py"


def call_main(*arguments) -> int:
    return load_program(PROGRAM).main([str(argument) for argument in arguments])


def losses(output: Path) -> dict[int, float]:
    """Training loss by step."""
    history = json.loads((output / "metrics.json").read_text())["history"]
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}


@pytest.fixture
def recipe(tiny_v30, tmp_path):
    def make(name: str = "run", **training) -> tuple[Path, Path]:
        output = tmp_path / name
        return write_recipe(tmp_path / f"{name}.yaml", tiny_v30, output, **training), output

    return make


def test_a_run_writes_everything_that_it_promises(recipe):
    path, output = recipe(max_steps=2)
    assert call_main("--config", path) == 0
    names = {item.name for item in output.iterdir()}
    assert {
        "model",
        "split.json",
        "config.yaml",
        "metrics.json",
        "metrics.csv",
        "training_curve.png",
    } <= names
    exported = {item.name for item in (output / "model").iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "modeling_value.py",
        "processor_config.json",
        "split.json",
    } <= exported
    with (output / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["loss"]] == ["1", "2"]
    assert any(row["eval_auroc_last_frame"] or row["eval_nll"] for row in rows)
    assert ValueModel.from_pretrained(output / "model").config.num_bins == 201
    processor = ValueProcessor.from_pretrained(output / "model")
    assert (processor.fps, processor.fail, processor.fail_penalty) == (10, "floor", 0.0)


def test_two_steps_then_resumed_to_four_is_the_same_as_four(recipe):
    path, whole = recipe("whole", lr_scheduler_type="constant")  # a cosine would end at step 2
    assert call_main("--config", path) == 0
    path, output = recipe("parts", lr_scheduler_type="constant")
    assert call_main("--config", path, "--training.max_steps", 2) == 0
    assert call_main("--config", path, "--resume") == 0
    assert set(losses(output)) == {1, 2, 3, 4}
    assert losses(output) == losses(whole)


def test_a_finished_run_resumed_takes_no_step_and_exports_the_same(recipe):
    """As after a kill between the last checkpoint and the export."""
    path, output = recipe()
    assert call_main("--config", path) == 0
    before, exported = losses(output), load_file(output / "model" / "model.safetensors")
    shutil.rmtree(output / "model")
    assert call_main("--config", path, "--resume") == 0
    assert losses(output) == before
    again = load_file(output / "model" / "model.safetensors")
    assert all(torch.equal(again[name], exported[name]) for name in exported)
    history = json.loads((output / "metrics.json").read_text())["history"]
    assert sum("train_runtime" in entry for entry in history) == 1  # the resume adds none of its own


def test_a_run_is_not_overwritten_by_accident(recipe, capsys):
    path, _ = recipe(max_steps=2)
    assert call_main("--config", path) == 0
    assert call_main("--config", path) == 1
    assert "already holds a run: continue it with --resume" in capsys.readouterr().err


def test_the_export_is_the_averaged_best_checkpoint(recipe):
    path, output = recipe(max_steps=6, save_total_limit=6)
    assert call_main("--config", path) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    validation = {entry["step"]: entry["eval_loss"] for entry in metrics["history"] if "eval_loss" in entry}
    best = min(validation, key=lambda step: validation[step])
    assert metrics["best_step"] == best
    averaged = load_file(output / f"checkpoint-{best}" / "ema.safetensors")
    exported = load_file(output / "model" / "model.safetensors")
    raw = load_file(output / f"checkpoint-{best}" / "model.safetensors")
    for name, weights in averaged.items():
        assert torch.equal(exported[name], weights), name
    assert any(not torch.equal(raw[name], exported[name]) for name in averaged)


def test_another_metric_may_choose_the_best(recipe, capsys):
    path, output = recipe(max_steps=6, save_total_limit=6, metric_for_best_model="eval_mae")
    assert call_main("--config", path) == 0
    metrics = json.loads((output / "metrics.json").read_text())
    validation = {entry["step"]: entry["eval_mae"] for entry in metrics["history"] if "eval_mae" in entry}
    assert metrics["best_step"] == min(validation, key=lambda step: validation[step])
    assert metrics["best_validation_mae"] == min(validation.values())
    seen = [line for line in capsys.readouterr().out.splitlines() if "(best)" in line]
    last = [
        step for step in validation if validation[step] == min(validation[s] for s in range(2, step + 1, 2))
    ]
    assert [int(line.split()[1]) for line in seen] == last
    arguments = ("--config", path, "--training.output_dir", output.with_name("other"))
    assert call_main(*arguments, "--training.metric_for_best_model", "mea") == 1
    assert "a validation has no 'mea'. Did you mean 'mae'?" in capsys.readouterr().err


def wait_for_step(log: Path, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        said = log.read_text()
        if said.count("   loss ") + said.count("'loss': ") >= step:  # our lines, or TRL's dictionaries
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    raise TimeoutError(log.read_text())


@pytest.mark.slow
def test_killed_between_checkpoints_and_resumed_it_follows_the_same_losses(recipe, tmp_path):
    options = {"max_steps": 12, "save_steps": 4, "eval_steps": 4, "state_dropout": 0.3, "random_shift": 2}
    options |= {"random_crop": 0.9, "random_rotation": 3.0, "color_jitter": {"brightness": 0.1, "hue": 0.02}}
    path, whole = recipe("whole", **options)
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, PROGRAM, "--config", path], check=True, env=environment, capture_output=True
    )
    path, output = recipe("killed", **options)
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, PROGRAM, "--config", path], stdout=file, stderr=file, env=environment
        )
        wait_for_step(log, 6, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (output / "metrics.json").exists()
    assert last_checkpoint(output) == str(output / "checkpoint-4")
    resume = [sys.executable, PROGRAM, "--config", path, "--resume"]
    subprocess.run(resume, check=True, env=environment, capture_output=True)
    assert losses(output) == losses(whole)
    ends = [load_file(folder / "model" / "model.safetensors") for folder in (whole, output)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.slow
def test_two_processes_train(recipe):
    options = {"max_steps": 3, "eval_steps": 3, "save_steps": 3, "per_device_train_batch_size": 4}
    path, output = recipe("two", **options, per_device_eval_batch_size=2)  # 2 x 2 does not divide its frames
    penalty = ["--data.fail", "penalty"]  # targets that differ from frame to frame
    # accelerate's --cpu --num_processes 2 would start one process: see the comment in cpu_2.yaml
    done = launch("cpu_2.yaml", PROGRAM, "--config", path, "--training.use_cpu", "true", *penalty)
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(losses(output)) == {1, 2, 3}
    assert done.stdout.count("model, metrics and pictures are in") == 1
    states = sorted((output / "checkpoint-3").glob("rng_state_*.pth"))
    assert len(states) == 2  # there were two processes, really

    # gathered from both processes, every frame counts once and beside its own target
    prepared = prepare(load_config(path, penalty))
    data = prepared.data
    rows = data.rows("validation")
    assert len(rows) % 4 and np.ptp(data.targets[rows]) > 0.5
    logits = np.log(predict(ValueModel.from_pretrained(output / "model"), prepared.collator, rows))
    expected = metrics_of(rows, data, prepared.model.config)(EvalPrediction(logits, data.targets[rows]))
    history = json.loads((output / "metrics.json").read_text())["history"]
    seen = next(entry for entry in history if "eval_nll" in entry)
    for name in ("nll", "mae", "explained_variance", "crps"):
        assert seen[f"eval_{name}"] == pytest.approx(expected[name], abs=1e-4), name


def test_a_checkpoint_cut_short_is_skipped(recipe, caplog):
    path, output = recipe(max_steps=4, save_total_limit=4)
    assert call_main("--config", path) == 0
    assert last_checkpoint(output) == str(output / "checkpoint-4")
    state = output / "checkpoint-4" / "trainer_state.json"
    state.write_text(state.read_text()[:100])
    assert last_checkpoint(output) == str(output / "checkpoint-2")
    assert "was not written to its end" in caplog.text


@pytest.mark.slow
def test_a_full_disk_ends_a_run_in_one_line_and_loses_nothing(recipe, capsys):
    path, whole = recipe("whole", lr_scheduler_type="constant")
    assert call_main("--config", path) == 0
    path, output = recipe("full", lr_scheduler_type="constant")
    assert call_main("--config", path, "--training.max_steps", 2) == 0
    capsys.readouterr()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, size in (("model", 100_000), ("optimizer", "model.safetensors")):
        size = size if isinstance(size, int) else (output / "checkpoint-2" / size).stat().st_size + 1000
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))  # a file may not grow beyond
        try:
            assert call_main("--config", path, "--resume") == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        error = capsys.readouterr().err
        assert error.startswith(f"error: the run in {output} cannot go on: "), (name, error)
        assert error.count("\n") == 1 and "make room, then continue with --resume" in error
        assert last_checkpoint(output) == str(output / "checkpoint-2")
    assert call_main("--config", path, "--resume") == 0
    assert losses(output) == losses(whole)


def test_a_picture_that_a_worker_cannot_read_is_one_line(recipe, tmp_path, capsys):
    good = [([picture(i)], [("what?", "red")]) for i in range(60)]
    bad = [([b"no picture"], [("what?", "red")]) for _ in range(60)]
    cauldron(tmp_path / "questions" / "a.parquet", good + bad)
    path, _ = recipe(dataloader_num_workers=1)
    assert call_main("--config", path, "--data.questions", tmp_path / "questions") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert (
        error.startswith(f"error: {tmp_path / 'questions'}, record ") and "cannot be read (10 bytes" in error
    )


def test_a_dataset_that_is_none_is_one_clear_error(recipe, capsys, tmp_path):
    path, _ = recipe()
    assert call_main("--config", path, "--data.dataset", tmp_path / "nothing") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "nothing" in error and "Traceback" not in error


def test_nothing_to_resume_another_split_and_a_file_for_a_folder_are_errors(recipe, capsys, tmp_path):
    path, output = recipe(max_steps=2)
    assert call_main("--config", path, "--resume") == 1
    assert "holds no complete checkpoint to resume" in capsys.readouterr().err
    assert call_main("--config", path) == 0
    split = json.loads((output / "split.json").read_text())
    split["datasets"][0]["train"].append(split["datasets"][0]["test"].pop())
    (output / "split.json").write_text(json.dumps(split))
    assert call_main("--config", path, "--resume", "--training.max_steps", 4) == 1
    assert "was trained on another split" in capsys.readouterr().err
    assert call_main("--config", path, "--training.output_dir", path) == 1
    assert "cannot be made: File exists" in capsys.readouterr().err


def test_a_run_that_was_moved_still_exports_its_best_checkpoint(recipe):
    # the worst, so that it is not the last
    path, output = recipe(metric_for_best_model="loss", greater_is_better=True)
    assert call_main("--config", path) == 0
    assert json.loads((output / "metrics.json").read_text())["best_step"] == 2
    exported = load_file(output / "model" / "model.safetensors")
    shutil.rmtree(output / "model")
    moved = output.rename(output.with_name("moved"))
    assert call_main("--config", path, "--resume", "--training.output_dir", moved) == 0
    again = load_file(moved / "model" / "model.safetensors")
    assert all(torch.equal(again[name], exported[name]) for name in exported)


def test_a_run_is_resumed_with_its_own_settings_only(recipe, capsys, tmp_path):
    path, output = recipe(max_steps=2)
    assert call_main("--config", path) == 0
    kept = (output / "config.yaml").read_bytes()
    changes = [
        "--training.learning_rate",
        0.5,
        "--model.config.target",
        "one_hot",
        "--data.use_state",
        "false",
    ]
    assert call_main("--config", path, "--resume", "--training.max_steps", 4, *changes) == 1
    error = capsys.readouterr().err
    assert "was trained with data.use_state True (now False), model.config" in error
    assert "training.learning_rate 0.003 (now 0.5)" in error
    assert "start a new run in another output_dir" in error
    assert (output / "config.yaml").read_bytes() == kept
    assert (
        call_main("--config", path, "--resume", "--training.max_steps", 4, "--training.logging_steps", 2) == 0
    )
    assert "max_steps: 4" in (output / "config.yaml").read_text()


def test_a_run_tells_its_losses_and_validations_in_lines(recipe, capsys):
    path, _ = recipe(max_steps=4, logging_steps=2)
    assert call_main("--config", path) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert [" ".join(line.split()[:5]) for line in lines] == [
        "step 2 of 4 loss",
        "step 2 of 4 validation",
        "step 4 of 4 loss",
        "step 4 of 4 validation",
    ]
    assert "(best)" in lines[1] and lines[1].endswith(" left") and lines[3].endswith(" in all")


def test_a_run_that_diverges_says_so(recipe, capsys):
    path, _ = recipe(learning_rate=1e30, ema_decay=0.0)
    assert call_main("--config", path) == 1
    assert "training diverged" in capsys.readouterr().err
