"""Hyperparameter search through the real command line: real optuna trials of a tiny model."""

import csv
import json
import sys
from pathlib import Path

import pytest
import yaml
from programs import load_program
from tiny_models import write_recipe

from valuecurve.training import ConfigError, load_config, train
from valuecurve.training.sweep import load_sweep, read_space, wandb_space

ROOT = Path(__file__).parents[2]
SPACE = {
    "training.learning_rate": {"log": ["1e-4", 1e-2]},  # a text, as YAML 1.1 reads it
    "training.ema_decay": {"choice": [0.5, 0.9]},
    "training.state_dropout": {"float": [0.0, 0.8]},
    "training.warmup_steps": {"int": [0, 2]},
    "model.config.text_config.attention_dropout": {"choice": [0.0, 0.5]},
}


def call_main(*arguments) -> int:
    return load_program(ROOT / "trainer" / "sweep.py").main([str(argument) for argument in arguments])


@pytest.fixture
def sweep(tiny_v30, tmp_path):
    def make(space: dict = SPACE, **fields) -> tuple[Path, Path]:
        output = tmp_path / "sweep"
        recipe = write_recipe(tmp_path / "recipe.yaml", tiny_v30, output, max_steps=2, eval_steps=1)
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({"recipe": str(recipe), "trials": 3, "space": space} | fields))
        return path, output

    return make


def trials_of(output: Path) -> list[dict]:
    return json.loads((output / "trials.json").read_text())


def as_overrides(trial: dict, output: Path) -> list[str]:
    fields = [f"--{key}={trial[key]}" for key in SPACE]
    return [*fields, f"--training.output_dir={output}"]


def best_validation(run) -> float:
    return min(entry["eval_loss"] for entry in run.trainer.state.log_history if "eval_loss" in entry)


def test_a_search_finds_the_best_trial_and_goes_on_where_it_was(sweep, tmp_path, capsys):
    optuna = pytest.importorskip("optuna")
    path, output = sweep()
    assert call_main("--config", path, "--trials", 2) == 0
    first = trials_of(output)
    assert len(first) == 2 and not list(output.glob("**/checkpoint-*"))

    study = optuna.load_study(study_name="sweep", storage=f"sqlite:///{output / 'study.db'}")
    study.ask()  # a trial whose program was killed: it does not count
    assert call_main("--config", path) == 0
    trials = trials_of(output)
    assert trials[:2] == first and len(trials) == 3
    assert len({trial["training.learning_rate"] for trial in trials}) == 3
    assert "best of 3 trials: eval_loss" in capsys.readouterr().out
    with (output / "trials.csv").open() as file:
        assert [float(row["eval_loss"]) for row in csv.DictReader(file)] == [t["eval_loss"] for t in trials]

    best = min(trials, key=lambda trial: trial["eval_loss"])
    config = load_config(output / "best.yaml")
    assert config.training.learning_rate == best["training.learning_rate"]
    assert config.training.warmup_steps == best["training.warmup_steps"]
    dropout = best["model.config.text_config.attention_dropout"]
    assert config.model.config["text_config"]["attention_dropout"] == dropout
    assert config.training.output_dir == str(output / "best")
    assert config.training.load_best_model_at_end  # trials keep no checkpoints, the run of the best one does

    second = trials[1]  # which came after another one in the same trainer, and has nothing of it
    config = load_config(tmp_path / "recipe.yaml", as_overrides(second, tmp_path / "run"))
    assert best_validation(train(config)) == second["eval_loss"]

    before = (output / "study.db").read_bytes()
    assert call_main("--config", path) == 0  # nothing is missing
    assert (output / "study.db").read_bytes() == before
    assert call_main("--config", path, "--training.max_steps", 3) == 1
    assert "holds a search with another recipe" in capsys.readouterr().err


def test_trials_that_diverge_count_as_such(sweep, capsys):
    pytest.importorskip("optuna")
    path, output = sweep({"training.learning_rate": {"choice": [1e30]}}, trials=2)
    assert call_main("--config", path) == 1
    assert "none of 2 trials has a value: all diverged" in capsys.readouterr().err


def test_a_metric_that_is_not_logged_is_one_clear_error(sweep, capsys):
    pytest.importorskip("optuna")
    path, _ = sweep(metric="eval_lose", trials=1)
    assert call_main("--config", path) == 1
    assert "'eval_lose' is not logged. Did you mean eval_loss?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"training.learning_rat": {"log": [1e-4, 1e-2]}}, "Did you mean training.learning_rate?"),
        ({"learning_rate": {"log": [1e-4, 1e-2]}}, "Did you mean training.learning_rate?"),
        ({"data.fps": {"int": [1, 2]}}, "The data is prepared once"),
        ({"model.config.hed": {"choice": ["linear"]}}, "Did you mean model.config.head?"),
        ({"training.learning_rate": {"lgo": [1e-4, 1e-2]}}, "Did you mean log?"),
        ({"training.learning_rate": [1e-4, 1e-2]}, "must be a range such as"),
        ({"training.learning_rate": {"log": [0, 1e-2]}}, "two numbers above 0, [low, high]"),
        ({"training.weight_decay": {"float": [0.3, 0.1]}}, "two numbers, [low, high]"),
        ({"training.warmup_steps": {"int": [0, 1.5]}}, "two whole numbers"),
        ({"model.config.head": {"choice": []}}, "a list of numbers, texts"),
        ({"training.ema_decay": {"float": [0.5, 1.5]}}, "ema_decay must be 0 or more and below 1, got 1.5"),
        ({"training.warmup_steps": {"choice": ["none"]}}, "must be a number, got 'none'"),
        ({}, "at least one key"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_clear_error(sweep, capsys, space, message):
    path, output = sweep(space)
    assert call_main("--config", path) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert not output.exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metrc": "eval_loss"}, "unknown key 'metrc'. Did you mean metric?"),
        ({"metric": "loss"}, "metric must be a validation metric"),
        ({"direction": "down"}, "'minimize' or 'maximize', got 'down'"),
        ({"trials": 0}, "trials must be 1 or more"),
        ({"trials": "many"}, "trials must be a whole number, got 'many'"),
        ({"backend": "ray"}, "'optuna' or 'wandb', got 'ray'"),
        ({"recipe": "nothing.yaml"}, "no recipe at nothing.yaml"),
        ({"overrides": {"training.max_step": 3}}, "Did you mean training.max_steps?"),
    ],
)
def test_a_sweep_that_cannot_be_run_is_one_clear_error(sweep, capsys, fields, message):
    path, _ = sweep(**fields)
    assert call_main("--config", path) == 1
    assert message in capsys.readouterr().err


def test_a_damaged_study_is_one_clear_error(sweep, capsys):
    pytest.importorskip("optuna")
    path, output = sweep()
    output.mkdir()
    (output / "study.db").write_bytes(b"no database" * 1000)
    assert call_main("--config", path) == 1
    assert "study.db cannot be read or written" in capsys.readouterr().err


@pytest.mark.parametrize(("backend", "extra"), [("optuna", "sweeps"), ("wandb", "wandb")])
def test_a_backend_that_is_not_installed_is_one_clear_error(sweep, capsys, monkeypatch, backend, extra):
    monkeypatch.setitem(sys.modules, backend, None)  # as where it is not installed
    path, _ = sweep(backend=backend)
    assert call_main("--config", path) == 1
    assert f"pip install 'valuecurve[{extra}]'" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(ROOT.glob("trainer/sweeps/*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_sweep_is_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    sweep, space = load_sweep(path, ["--trials", "3"])
    assert sweep.trials == 3 and space["training.learning_rate"] == ("log", [1e-5, 1e-2])


def test_the_space_of_a_wandb_sweep():
    parameters = wandb_space(read_space(SPACE, "here"))["parameters"]
    assert parameters["training.learning_rate"] == {
        "distribution": "log_uniform_values",
        "min": 1e-4,
        "max": 1e-2,
    }
    assert parameters["training.warmup_steps"] == {"distribution": "int_uniform", "min": 0, "max": 2}
    assert parameters["training.state_dropout"]["distribution"] == "uniform"
    assert parameters["training.ema_decay"] == {"values": [0.5, 0.9]}


def test_an_override_goes_to_the_recipe_or_to_the_sweep(sweep):
    path, _ = sweep()
    found, _ = load_sweep(path, ["--training.max_steps", "7", "--direction", "maximize"])
    assert found.overrides == {"training.max_steps": 7} and found.direction == "maximize"
    with pytest.raises(ConfigError, match="no sweep at"):
        load_sweep(path.with_name("nothing.yaml"))
