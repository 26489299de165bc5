"""Stage 1: only the projector changes, the loss falls, and stage 2 goes on from there; also after a kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from test_questions import annotated, cauldron, event, picture
from test_run import wait_for_step
from tiny_datasets import TOP
from tiny_models import write_recipe
from transformers import AutoModelForImageTextToText

from valuecurve import ValueModel
from valuecurve.training import ConfigError, RobotData, load_config, train
from valuecurve.training.alignment import align, build_trainer, run_stages, sft_config
from valuecurve.training.build import build_model

PROGRAM = Path(__file__).parents[2] / "trainer" / "align.py"


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    """40 pictures of one shade, and what it is called, in two of the words."""
    words = ["push", "puck", "open", "drawer"]
    records = [
        ([picture(4 + 6 * i)], [("which shade is it?", f"{words[i // 10]} {words[3 - i // 10]}")])
        for i in range(40)
    ]
    return cauldron(tmp_path_factory.mktemp("questions") / "train.parquet", records).parent


@pytest.fixture
def recipe(tiny_v30, questions, tmp_path):
    def make(name: str = "run", **training) -> tuple[Path, Path]:
        path = write_recipe(tmp_path / f"{name}.yaml", tiny_v30, tmp_path / name, max_steps=2)
        stage = {"max_steps": 4, "per_device_train_batch_size": 8, "learning_rate": 0.01, "logging_steps": 1}
        alignment = {"questions": str(questions), "training": stage | training}
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"alignment": alignment}))
        return path, tmp_path / name

    return make


def losses(folder: Path) -> dict[int, float]:
    """Stage 1's losses by step, from its newest checkpoint."""
    newest = max(folder.glob("checkpoint-*"), key=lambda f: int(f.name.rsplit("-", 1)[1]))
    history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}


def test_nothing_but_the_projector_changes_bit_for_bit(recipe):
    path, output = recipe()
    config = load_config(path, ["--model.config.freeze_projector", "true"])  # is a matter of stage 2
    torch.manual_seed(config.training.seed)
    before = build_model(config.model, RobotData.prepare(config.data))[0].state_dict()
    after = ValueModel.from_pretrained(align(config)).state_dict()
    assert before.keys() == after.keys()
    for name, weights in before.items():
        assert torch.equal(after[name], weights) != name.startswith("projector."), name


def test_the_loss_falls_and_is_validated_on_held_out_questions(recipe):
    path, output = recipe(max_steps=40, eval_strategy="steps", eval_steps=20)
    config = load_config(path)
    trainer = build_trainer(config, sft_config(config))
    trainer.train()
    history = trainer.state.log_history
    training = [entry["loss"] for entry in history if "loss" in entry]
    assert sum(training[-5:]) < 0.8 * sum(training[:5])
    assert len([entry for entry in history if "eval_loss" in entry]) == 2
    rows: Any = (trainer.train_dataset, trainer.eval_dataset)
    assert len(rows[0]) + len(rows[1]) == 40 and len(rows[1]) > 0


def test_micro_batches_of_uneven_answers_equal_the_larger_batch(recipe, tmp_path):
    """Float32, SGD; see test_equalities.py."""
    options = {"optim": "sgd", "lr_scheduler_type": "constant"}
    ends = []
    for name, rows, micro in (("whole", 8, 1), ("parts", 2, 4)):
        path, output = recipe(
            name, per_device_train_batch_size=rows, gradient_accumulation_steps=micro, **options
        )
        ends.append(load_file(align(load_config(path)) / "model.safetensors"))
    for name, weights in ends[0].items():
        torch.testing.assert_close(ends[1][name], weights, rtol=0, atol=1e-5, msg=name)


@pytest.fixture
def one_thread():
    """Sums in one order, here as in a process with OMP_NUM_THREADS=1."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_both_stages_run_from_the_command_line_and_resume_after_a_kill(recipe, tmp_path):
    path, whole = recipe("whole", save_steps=2, max_steps=6)
    run_stages(load_config(path))

    # stage 2 started from what stage 1 had left, and it loads as the class that answers questions
    aligned = whole / "alignment" / "model"
    assert yaml.safe_load((whole / "config.yaml").read_text())["model"]["base"] == str(aligned)
    answering = AutoModelForImageTextToText.from_pretrained(aligned, trust_remote_code=True)
    assert type(answering).__name__ == "ValueForConditionalGeneration"

    path, output = recipe("killed", save_steps=2, max_steps=6)
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(PROGRAM), "--stage", "both", "--config"]
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen([*command, path], stdout=file, stderr=file, env=environment)
        wait_for_step(log, 3, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (output / "alignment" / "model").exists()
    done = subprocess.run([*command, path, "--resume"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "model, metrics and pictures are in" in done.stdout
    assert losses(output / "alignment") == losses(whole / "alignment")
    for model in ("alignment/model", "model"):
        ends = [load_file(folder / model / "model.safetensors") for folder in (whole, output)]
        assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_both_stages_do_not_begin_where_a_run_is(recipe):
    """It would be found after stage 1 only, hours later."""
    path, output = recipe()
    train(load_config(path))
    with pytest.raises(ConfigError, match="already holds a run"):
        run_stages(load_config(path), "both")
    assert not (output / "alignment").exists()


def test_questions_about_the_robots_own_frames_are_of_its_training_episodes(recipe, tmp_path):
    asked = [event("user", "what?", TOP), event("assistant", "red", TOP)]
    dataset = annotated(tmp_path / "lerobot", dict.fromkeys(range(57), asked))
    (tmp_path / "link").symlink_to(dataset)
    overrides = [f"--data.dataset={dataset}", f"--alignment.questions={tmp_path / 'link'}"]
    overrides += ["--alignment.training.eval_strategy=steps", "--alignment.training.eval_steps=2"]
    config = load_config(recipe()[0], overrides)
    split, trainer = RobotData.prepare(config.data).split, build_trainer(config, sft_config(config))
    collator: Any = trainer.data_collator
    for name, part in (("train", "train"), ("held_out", "validation")):
        questions = collator.questions[name]
        images = questions.source.rows[questions.rows.record]["image"]
        episode_index = questions.source.dataset.episode_index
        assert {episode_index[int(image.split()[1])] for image in images} == set(split[part])


def test_one_stage_after_the_other_is_both(recipe):
    path, both = recipe("both")
    run_stages(load_config(path))
    path, single = recipe("single")
    assert run_stages(load_config(path), "1") is None
    with pytest.raises(ConfigError, match="already holds an alignment"):
        run_stages(load_config(path), "1")
    run_stages(load_config(path), "2")
    ends = [load_file(folder / "model" / "model.safetensors") for folder in (both, single)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize(
    ("stage", "override", "message"),
    [
        ("1", '--alignment.questions=""', "has no alignment.questions"),
        ("1", "--alignment.training.max_step=3", "Did you mean alignment.training.max_steps?"),
        ("1", "--alignment.training.seed=-1", "alignment.training.seed must be 0 or more, got -1"),
        ("1", "--alignment.training.dataloader_num_workers=-1", "dataloader_num_workers must be 0 or more"),
        ("1", "--alignment.question=x", "Did you mean alignment.questions?"),
        ("2", "--training.max_steps=1", "run --stage 1 first"),
        ("3", "--training.max_steps=1", "--stage must be one of 1, 2, both, got '3'"),
    ],
)
def test_what_cannot_be_aligned_is_one_clear_error(recipe, stage, override, message):
    with pytest.raises(ConfigError) as error:
        run_stages(load_config(recipe()[0], [override]), stage)
    assert message in str(error.value)
