"""Hyperparameter search over a recipe, by `Trainer.hyperparameter_search`. `trainer/sweep.py` starts it.

Every trial is the run that `trainer/run.py` would make of the recipe with the trial's fields (the same
weights, batches and losses, from the same seed), without checkpoints and export. What is left out: several
processes, and stopping trials early. An interrupted trial starts anew.
"""

import csv
import dataclasses
import difflib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState
from transformers import set_seed

from .config import (
    ConfigError,
    ModelConfig,
    RunConfig,
    ValueTrainingArguments,
    check_section,
    load_config,
    one_line,
    parse_overrides,
    read_recipe,
    read_scalar,
    read_yaml,
    set_key,
)
from .run import build_trainer, prepare, trainer_parts
from .trainer import Diverged, ValueTrainer

SECTIONS = ("data", "model", "training", "alignment")  # of a recipe; other overrides are of the sweep
KINDS = ("log", "float", "int", "choice")
EXTRAS = {"optuna": "sweeps", "wandb": "wandb"}  # backend: the extra of this package that installs it
NO_CHECKPOINTS = ["--training.save_strategy=no", "--training.load_best_model_at_end=false"]

Space = dict[str, tuple[str, list]]


@dataclass
class SweepConfig:
    recipe: str = field(default="", metadata={"help": "The recipe that trials vary."})
    metric: str = field(default="eval_loss", metadata={"help": "What is compared: a validation metric."})
    direction: str = field(default="minimize", metadata={"help": "'minimize' or 'maximize'."})
    trials: int = field(
        default=20, metadata={"help": "Trials in all, those of an interrupted search counted."}
    )
    backend: str = field(default="optuna", metadata={"help": "'optuna' or 'wandb'."})
    seed: int = field(default=0, metadata={"help": "Seed of optuna's choices; training has its own."})
    overrides: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "Keys of the recipe that all trials have otherwise."}
    )
    project: str | None = field(default=None, metadata={"help": "Project of a W&B sweep."})
    sweep_id: str | None = field(default=None, metadata={"help": "A W&B sweep to take further trials of."})
    space: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "Dotted key: {log | float | int: [low, high]} or {choice: […]}."},
    )


@dataclass
class Trial:
    """One trial: its fields, its best validation (None without one), and how it ended."""

    number: int
    state: str  # "running", "complete" or "diverged"
    value: float | None
    fields: dict[str, Any]


@dataclass
class Sweep:
    """What a search found; the files are in `output`."""

    output: Path
    trials: list[Trial]
    best: Trial


def load_sweep(path: str | Path, overrides: list[str] | None = None) -> tuple[SweepConfig, Space]:
    """Reads a sweep and applies overrides: those of a recipe's sections to the recipe, others to the sweep.

    Raises:
        ConfigError: for what is unknown or of the wrong type or range: in the sweep, in the recipe, and at
            the ends of every range of the space.
    """
    if not Path(path).is_file():
        raise ConfigError(f"no sweep at {path}. Sweeps are YAML files, as trainer/sweeps/value_tiny.yaml.")
    raw = read_yaml(Path(path)) or {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a sweep is a mapping with the keys recipe, metric, trials and space.")
    of_recipe = {}
    for key, value in parse_overrides(overrides or []):
        if key.split(".")[0] in SECTIONS:
            of_recipe[key] = value
        else:
            set_key(raw, key, value)
    sweep = SweepConfig(**check_section(raw, SweepConfig, "", str(path)))
    sweep.overrides = sweep.overrides | of_recipe
    rules = {
        "recipe": (sweep.recipe, "the path of a recipe"),
        "metric": (sweep.metric.startswith("eval_"), "a validation metric, such as eval_loss or eval_mae"),
        "direction": (sweep.direction in ("minimize", "maximize"), "'minimize' or 'maximize'"),
        "trials": (sweep.trials > 0, "1 or more"),
        "backend": (sweep.backend in EXTRAS, " or ".join(map(repr, EXTRAS))),
        "space": (sweep.space, "a mapping with at least one key to search over"),
    }
    for key, (fits, wanted) in rules.items():
        if not fits:
            raise ConfigError(f"{path}: {key} must be {wanted}, got {getattr(sweep, key)!r}.")
    space = read_space(sweep.space, str(path))
    for number in range(max(len(values) for _, values in space.values())):
        trial_config(sweep, {key: values[min(number, len(values) - 1)] for key, (_, values) in space.items()})
    return sweep, space


def read_space(raw: dict[str, Any], where: str) -> Space:
    """`{"training.seed": {"int": [0, 9]}}` to `{"training.seed": ("int", [0, 9])}`, checked.

    Raises:
        ConfigError: for keys outside of `training` and `model`, unknown kinds, and ranges that are none.
    """
    space: Space = {}
    known = [f"{n}.{f.name}" for n, c in _SEARCHED.items() for f in dataclasses.fields(c) if f.init]
    for key, entry in raw.items():
        section = str(key).split(".")[0]
        if section not in _SEARCHED:
            near = [] if section in SECTIONS else difflib.get_close_matches(f"training.{key}", known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "The data is prepared once, for all trials."
            raise ConfigError(f"{where}: space.{key} is no key of 'training' or 'model'. {hint}")
        if not isinstance(entry, dict) or len(entry) != 1:
            raise ConfigError(
                f"{where}: space.{key} must be a range such as {{log: [1e-5, 1e-2]}}, got {entry!r}."
            )
        ((kind, values),) = entry.items()
        if kind not in KINDS:
            near = difflib.get_close_matches(str(kind), KINDS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(KINDS)}."
            raise ConfigError(f"{where}: unknown kind {kind!r} of space.{key}. {hint}")
        if isinstance(values, list):  # YAML 1.1 reads 1e-5 as a text
            values = [read_scalar(key, v) if isinstance(v, str) else v for v in values]
        fits, wanted = _fits(kind, values)
        if not fits:
            raise ConfigError(f"{where}: space.{key}: {kind} must be {wanted}, got {values!r}.")
        space[key] = (kind, values)
    return space


_SEARCHED = {"training": ValueTrainingArguments, "model": ModelConfig}


def _fits(kind: str, values: Any) -> tuple[bool, str]:
    """Whether these can be the values of a kind, and what they must be."""
    if kind == "choice":
        plain = isinstance(values, list) and all(
            v is None or isinstance(v, str | int | float) for v in values
        )
        return plain and len(values) > 0, "a list of numbers, texts, true, false or null"
    number = int if kind == "int" else int | float
    is_range = isinstance(values, list) and len(values) == 2
    numbers = is_range and all(isinstance(v, number) and not isinstance(v, bool) for v in values)
    above = 0 if kind == "log" else -math.inf
    wanted = {"int": "whole numbers", "log": "numbers above 0"}.get(kind, "numbers")
    return numbers and above < values[0] < values[1] < math.inf, f"two {wanted}, [low, high]"


def as_arguments(fields: dict[str, Any]) -> list[str]:
    """Dotted keys and values as overrides of a command line."""
    return [f"--{key}={json.dumps(value)}" for key, value in fields.items()]


def trial_config(sweep: SweepConfig, fields: dict[str, Any]) -> RunConfig:
    """The recipe with the fields of a trial, which writes no checkpoints."""
    return load_config(sweep.recipe, [*as_arguments(sweep.overrides | fields), *NO_CHECKPOINTS])


def search(sweep: SweepConfig, space: Space) -> Sweep:
    """Runs the trials that are missing and writes, under `training.output_dir` of the recipe:

    `trials.csv` and `trials.json` (all trials), `best.yaml` (the recipe with the fields of the best one) and,
    with optuna, `study.db`, from which an interrupted search goes on.

    Raises:
        ConfigError: also when the folder holds another search, the metric is not logged, or all diverge.
    """
    _check_backend(sweep.backend)
    if PartialState().num_processes > 1:
        raise ConfigError("a search runs in one process: start it with python instead of accelerate launch.")
    output = Path(trial_config(sweep, {}).training.output_dir)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"training.output_dir {output} cannot be made: {error.strerror}.") from error
    run_trials = _search_wandb if sweep.backend == "wandb" else _search_optuna
    trials = run_trials(sweep, space, output)
    values = [(trial.value, trial) for trial in trials if trial.value is not None]
    if not values:
        lost = all(trial.state == "diverged" for trial in trials)
        why = "all diverged: search over lower values." if lost else "their errors are above."
        raise ConfigError(f"none of {len(trials)} trials has a value: {why}")
    first = min if sweep.direction == "minimize" else max
    _, best = first(values, key=lambda pair: pair[0])
    _write(sweep, output, trials, best)
    return Sweep(output, trials, best)


def _check_backend(backend: str) -> None:
    try:
        __import__(backend)
    except ImportError as error:
        raise ConfigError(
            f"backend {backend!r} is not installed: pip install 'valuecurve[{EXTRAS[backend]}]'."
        ) from error


# --- what is the same for both backends ---------------------------------------------------------------------


def _trainer(sweep: SweepConfig, fields_of: Callable[[Any], dict[str, Any]], trials: list[Trial], lost: type):
    """A trainer that becomes, for every trial, what the recipe with the trial's fields describes.

    Each trial is appended to `trials`, its value kept up to date. One that diverges raises `lost`.
    """
    config = trial_config(sweep, {})
    first = prepare(config)

    def model_init(trial):
        if trial is None:  # the Trainer is being built
            return first.model
        fields = fields_of(trial)
        trials.append(Trial(len(trials), "running", None, fields))
        config = trial_config(sweep, fields)
        prepared = prepare(config, first.data)
        parts = trainer_parts(config, prepared)
        vars(trainer.args).update(vars(parts.pop("args")))  # in place: `Trainer.train` holds on to it
        compute = parts["compute_metrics"]
        parts["compute_metrics"] = lambda prediction: _or_lost(compute, prediction, trainer, trials[-1], lost)
        for name, part in parts.items():
            setattr(trainer, name, part)
        set_seed(config.training.seed)  # a run builds its model before its trainer sets the seed
        return prepared.model

    trainer = build_trainer(config, first, model_init)
    return trainer


def _or_lost(
    compute: Callable, prediction, trainer: ValueTrainer, trial: Trial, lost: type
) -> dict[str, float]:
    """The metrics of a validation; a trial that has diverged ends here, its loggers as well."""
    try:
        return compute(prediction)
    except Diverged as error:
        trial.state, trial.value = "diverged", None
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
        raise lost(str(error)) from error


def _objective(sweep: SweepConfig, trials: list[Trial]) -> Callable[[dict[str, float]], float]:
    """The best validation of the running trial so far: a run exports that one, not its last."""
    better = min if sweep.direction == "minimize" else max

    def compute_objective(metrics: dict[str, float]) -> float:
        if sweep.metric not in metrics:
            near = difflib.get_close_matches(sweep.metric, metrics, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(metrics))}."
            raise ConfigError(f"the metric {sweep.metric!r} is not logged. {hint}")
        value, trial = float(metrics[sweep.metric]), trials[-1]
        if not math.isfinite(value):
            raise ConfigError(f"{sweep.metric} is {value} on this validation split: choose another metric.")
        trial.value = value if trial.value is None else better(trial.value, value)
        trial.state = "complete"
        return trial.value

    return compute_objective


def _write(sweep: SweepConfig, output: Path, trials: list[Trial], best: Trial) -> None:
    rows = [{"number": t.number, "state": t.state, sweep.metric: t.value, **t.fields} for t in trials]
    (output / "trials.json").write_text(json.dumps(rows, indent=1))
    with (output / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    chosen = sweep.overrides | best.fields | {"training.output_dir": str(output / "best")}
    if sweep.metric != "eval_loss":  # the run keeps its best checkpoint by what was searched for
        chosen["training.metric_for_best_model"] = sweep.metric
        chosen["training.greater_is_better"] = sweep.direction == "maximize"
    recipe = yaml.safe_dump(read_recipe(sweep.recipe, as_arguments(chosen)), sort_keys=False)
    head = f"# {sweep.recipe} with the best of {len(trials)} trials: {sweep.metric} {best.value:.6g}\n"
    (output / "best.yaml").write_text(head + recipe)


# --- optuna -------------------------------------------------------------------------------------------------


def _search_optuna(sweep: SweepConfig, space: Space, output: Path) -> list[Trial]:
    """All trials of the study in `output`, after those that were missing; only finished ones count."""
    import optuna

    storage = f"sqlite:///{output.resolve() / 'study.db'}"
    direction = "maximize" if sweep.direction == "maximize" else "minimize"
    try:
        study = optuna.create_study(
            storage=storage, study_name="sweep", direction=direction, load_if_exists=True
        )
    except Exception as error:  # of SQLAlchemy and of SQLite
        raise ConfigError(
            f"{output / 'study.db'} cannot be read or written: {one_line(error, 200)}. Choose another "
            "training.output_dir."
        ) from error
    _check_same_search(study, sweep, space, output)
    finished = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    done = len(study.get_trials(deepcopy=False, states=finished))
    if done < sweep.trials:
        trials: list[Trial] = []
        trainer = _trainer(sweep, lambda trial: suggest(trial, space), trials, optuna.TrialPruned)
        try:
            trainer.hyperparameter_search(
                hp_space=lambda trial: {},  # `model_init` has set all fields, and checked them
                compute_objective=_objective(sweep, trials),
                n_trials=sweep.trials - done,
                direction=sweep.direction,
                backend="optuna",
                storage=storage,
                study_name="sweep",
                load_if_exists=True,
                sampler=optuna.samplers.TPESampler(seed=sweep.seed + done),  # not the same choices again
                pruner=optuna.pruners.NopPruner(),
            )
        except ValueError:  # optuna has no best one of trials that all diverged
            if trials[-1].state != "diverged" or study.get_trials(states=finished[:1]):
                raise
    return [
        Trial(t.number, "complete", t.value, t.params)
        if t.state == finished[0]
        else Trial(t.number, "diverged", None, t.params)
        for t in study.get_trials(states=finished)
    ]


def suggest(trial, space: Space) -> dict[str, Any]:
    """The fields of an optuna trial, by dotted key."""
    fields = {}
    for key, (kind, values) in space.items():
        if kind == "choice":
            fields[key] = trial.suggest_categorical(key, values)
        elif kind == "int":
            fields[key] = trial.suggest_int(key, *values)
        else:
            fields[key] = trial.suggest_float(key, *values, log=kind == "log")
    return fields


def _check_same_search(study, sweep: SweepConfig, space: Space, output: Path) -> None:
    """Trials can be compared only within one search: of one recipe, over one space, for one metric."""
    recipe = read_recipe(sweep.recipe, as_arguments(sweep.overrides | {"training.output_dir": ""}))
    parts = {"metric": sweep.metric, "direction": sweep.direction, "space": space, "recipe": recipe}
    now: dict = json.loads(json.dumps(parts, default=str))
    before = study.user_attrs.get("search")
    if before is None:
        study.set_user_attr("search", now)
        return
    other = [name for name in now if now[name] != before[name]]
    if other:
        raise ConfigError(
            f"{output} holds a search with another {' and '.join(other)}: choose another training.output_dir."
        )


# --- Weights & Biases ---------------------------------------------------------------------------------------


def _search_wandb(sweep: SweepConfig, space: Space, output: Path) -> list[Trial]:
    """The trials of this program. The sweep itself lives at W&B; `sweep_id` takes further trials of it."""
    import wandb

    trials: list[Trial] = []
    trainer = _trainer(sweep, lambda trial: {key: trial[key] for key in space}, trials, Diverged)
    try:
        trainer.hyperparameter_search(
            hp_space=lambda trial: wandb_space(space),
            compute_objective=_objective(sweep, trials),
            n_trials=sweep.trials,
            direction=sweep.direction,
            backend="wandb",
            metric=f"eval/{sweep.metric.removeprefix('eval_')}",  # as it is called there
            project=sweep.project,
            sweep_id=sweep.sweep_id,
        )
    except wandb.Error as error:
        raise ConfigError(f"W&B: {one_line(error)}") from error
    if not trials:
        raise ConfigError(f"the W&B sweep gave no trial; is sweep_id {sweep.sweep_id!r} finished?")
    return trials


def wandb_space(space: Space) -> dict[str, Any]:
    """The space as a W&B sweep configuration, whose metric transformers fills in."""
    distributions = {"log": "log_uniform_values", "float": "uniform", "int": "int_uniform"}
    parameters = {
        key: {"values": values}
        if kind == "choice"
        else {"distribution": distributions[kind], "min": values[0], "max": values[1]}
        for key, (kind, values) in space.items()
    }
    return {"method": "bayes", "metric": {}, "parameters": parameters}
