"""Which choice is best? Trains recipes on the same data with equal steps and seeds, and judges them alike.

    python benchmarks/compare_recipes.py                        # every tiny recipe, 3 seeds, 200 steps
    python benchmarks/compare_recipes.py --recipes trainer/recipes/value_tiny.yaml \
        --vary model.config.target=hl_gauss,two_hot,one_hot     # one choice at a time, from one recipe

Writes `results.json` (every number of every run) to --output and the table, mean ± standard deviation over
the seeds, into --docs. A finished run is kept under --output: an interrupted call, or one with more seeds or
recipes, does only what is missing. Any other argument --key value is an override of all recipes.

All are judged on the same test episodes against the same reference: time to success, on the scale of the
task's longest training episode; -1 in failed episodes. `to_reference` brings what a recipe predicts to it.
"""

import argparse
import dataclasses
import json
import shutil
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import torch
import transformers
from pages import write_between
from rich.console import Console

from valuecurve import metrics as value_metrics
from valuecurve.episodes import DatasetError
from valuecurve.evaluation import ElapsedTime, constant_distribution, write_json
from valuecurve.returns import bin_centers
from valuecurve.scoring import predict
from valuecurve.training import ConfigError, RobotData, load_config, prepare, train

ROOT = Path(__file__).parents[1]
BINS = 201  # of the reference
# Key, heading, +1 if higher is better, decimals.
COLUMNS = (
    ("nll", "NLL", -1, 2),
    ("crps", "CRPS", -1, 3),
    ("explained_variance", "Explained variance", +1, 2),
    ("mae", "MAE", -1, 3),
    ("voc_success", "VOC, successes", +1, 2),
    ("voc_failure", "VOC, failures", 0, 2),  # neither way is better: most failures come near the goal first
    ("auroc_last_frame", "AUROC", +1, 2),
    ("ece", "ECE", -1, 3),
    ("cpu_seconds_per_step", "CPU s / step", -1, 2),
)


# --- from what a recipe predicts to the reference ---------------------------------------------------------


def to_reference(
    probabilities: np.ndarray, rows: np.ndarray, own: RobotData, reference: RobotData, model_config
) -> tuple[np.ndarray, np.ndarray | None]:
    """What a model says of frame rows `[n]`, in the reference's units.

    A recipe's value v stands for v · S steps to success, S its own scale of the task: for v · S / S_ref. That
    is exact for the scale "task_max" and for a fixed number of steps. Progress (scale "episode") is a share
    of a length that nobody knows before the end; S is then the mean length of the task's successful training
    episodes. A pair says how far its second frame is ahead of the first one of its episode; the mean value of
    first frames in training is added.

    Returns:
        Values `[n]`, clipped to [-1, 0], and distributions `[n, 201]` over the reference's bins, or None
        where the recipe's own are not over time (progress, pairs). Each bin is spread evenly over the time
        that it covers; what lies outside goes to the outermost bins. A long fixed scale has few bins for an
        episode: the NLL pays for it, as the user of such a model does.
    """
    steps = own.scales or _mean_lengths(own)
    tasks = own.dataset.task_index[rows]
    pairs = getattr(model_config, "frames_per_sample", 1) == 2
    values, spread = np.empty(len(rows)), np.empty((len(rows), BINS))
    for number in np.unique(tasks):
        task, some = own.dataset.tasks[number], tasks == number
        ratio = steps[task] / reference.scales[task]
        start = _first_value(own, int(number)) if pairs else 0.0
        centers = (
            bin_centers(probabilities.shape[1], model_config.v_min, model_config.v_max) + start
        ) * ratio
        values[some] = np.clip(probabilities[some] @ centers, -1, 0)
        spread[some] = probabilities[some] @ rebinning(centers)
    about_time = bool(own.scales) and not pairs
    return values, spread if about_time else None


def rebinning(centers: np.ndarray) -> np.ndarray:
    """Shares `[K, 201]` of bins around these evenly spaced centres that fall into the reference's bins."""
    half = (centers[1] - centers[0]) / 2
    edges = bin_centers(BINS)[:-1] + 0.5 / (BINS - 1)
    edges = np.concatenate([[-np.inf], edges, [np.inf]])
    low, high = (centers - half)[:, None], (centers + half)[:, None]
    below = (np.clip(edges, low, high) - low) / (high - low)  # share of a bin below each edge
    return np.diff(below, axis=1)


def _mean_lengths(data: RobotData) -> dict[str, float]:
    """Mean steps of each task's successful training episodes; of all its episodes where none succeeded."""
    dataset, success = data.dataset, data.outcomes.success
    train = data.only.is_in("train")
    lengths = {}
    for number, task in enumerate(dataset.tasks):
        mine = dataset.episode_tasks == number
        chosen = next((of for of in (mine & train & success, mine & train, mine) if of.any()), None)
        if chosen is not None:
            lengths[task] = float(np.maximum(dataset.lengths[chosen] - 1, 1).mean())
    return lengths


def _first_value(data: RobotData, task: int) -> float:
    dataset = data.dataset
    train = data.only.is_in("train") & (dataset.episode_tasks == task)
    return float(data.targets[dataset.starts[train]].mean()) if train.any() else -1.0


# --- one judge for all -------------------------------------------------------------------------------------


def judge(reference: RobotData, rows: np.ndarray, values, distributions, order_by=None) -> dict[str, float]:
    """Metrics of values `[n]` and distributions `[n, 201]` (or None) of frame rows `[n]`.

    `order_by` `[n]` replaces the values where only their order matters; clipping would make ties.
    """
    dataset, targets = reference.dataset, reference.targets[rows]
    success = reference.success[rows]
    episode, frame = dataset.episode_index[rows], dataset.frame_index[rows]
    order_by = values if order_by is None else order_by
    found = {
        "explained_variance": value_metrics.explained_variance(values, targets),
        "mae": value_metrics.mae(values, targets),
        "auroc_last_frame": value_metrics.auroc_last_frame(order_by, episode, frame, success),
    }
    found |= value_metrics.voc_by_outcome(order_by, episode, frame, success)
    if distributions is not None:
        for name in ("nll", "crps", "ece"):
            found[name] = getattr(value_metrics, name)(distributions, targets)
    return found


def baselines(reference: RobotData, rows: np.ndarray) -> dict[str, dict[str, float]]:
    """What is known without looking: one distribution for all frames; one per task and elapsed time."""
    dataset, train = reference.dataset, reference.rows("train")
    constant = constant_distribution(reference.targets[train], BINS)
    clock = ElapsedTime.fit(
        reference.targets[train], dataset.task_index[train], dataset.frame_index[train], BINS
    )
    forecasts = {
        "constant": np.tile(constant, (len(rows), 1)),
        "elapsed time": clock.predict(dataset.task_index[rows], dataset.frame_index[rows]),
    }
    return {
        name: judge(reference, rows, value_metrics.expected_values(p), p) for name, p in forecasts.items()
    }


# --- the runs ----------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Candidate:
    """A recipe, or a recipe with one choice changed."""

    name: str
    recipe: Path
    overrides: list[str]

    def settings(self, seed: int, options) -> list[str]:
        """Overrides that make all candidates train alike."""
        alike = {
            "data.dataset": options.dataset,
            "training.seed": seed,
            "training.max_steps": options.steps,
            "training.warmup_steps": options.steps // 10,
            "training.per_device_train_batch_size": options.batch_size,
            "training.gradient_accumulation_steps": 1,
            "training.eval_strategy": "no",
            "training.save_strategy": "no",
            "training.load_best_model_at_end": "false",
            "training.disable_tqdm": "true",
        }
        alike = [text for key, value in alike.items() for text in (f"--{key}", str(value))]
        return [*alike, *options.overrides, *self.overrides]


def candidates(recipes: list[Path], vary: list[str]) -> list[Candidate]:
    """Every recipe as it is, and with each choice of every --vary KEY=A,B,C."""
    found = [Candidate(recipe.stem, recipe, []) for recipe in recipes]
    for text in vary:
        key, equals, choices = text.partition("=")
        if not equals or not choices:
            raise ConfigError(
                f"cannot read --vary {text!r}: it looks like model.config.target=one_hot,two_hot."
            )
        for recipe in recipes:
            found += [
                Candidate(f"{recipe.stem}, {key.rsplit('.', 1)[-1]} {choice}", recipe, [f"--{key}", choice])
                for choice in choices.split(",")
            ]
    return found


def run(candidate: Candidate, seed: int, options) -> dict:
    """Trains and judges one candidate once, or returns what an earlier call found."""
    folder = options.output / "runs" / candidate.name.replace(" ", "_").replace(",", "") / f"seed{seed}"
    settings = candidate.settings(seed, options)
    wanted = {"recipe": candidate.recipe.read_text(), "settings": settings}
    if (folder / "result.json").is_file():
        result = json.loads((folder / "result.json").read_text())
        if {name: result[name] for name in wanted} == wanted:
            return result
    shutil.rmtree(folder, ignore_errors=True)
    config = load_config(candidate.recipe, [*settings, "--training.output_dir", str(folder / "run")])
    reference = reference_of(config.data)
    prepared = prepare(config)
    if prepared.data.split != reference.split:
        raise ConfigError(
            f"{candidate.recipe}: its split differs from the reference's; leave data.split_* out."
        )
    began = time.process_time()  # of all threads: the same on a machine that does other things as well
    trained = train(config, prepared=prepared)
    seconds = time.process_time() - began
    rows = reference.rows("test")
    with trained.trainer.averaged_weights():
        probabilities = predict(prepared.model, trained.collator, rows).astype(np.float64)
    own = prepared.model.config
    values, distributions = to_reference(probabilities, rows, trained.data, reference, own)
    plain = value_metrics.expected_values(probabilities, own.v_min, own.v_max)
    found = judge(reference, rows, values, distributions, order_by=plain)
    found["cpu_seconds_per_step"] = seconds / options.steps
    result = {"name": candidate.name, "seed": seed, "metrics": found, **wanted}
    write_json(folder / "result.json", result)
    return result


def reference_of(config) -> RobotData:
    """The same data with the reference's targets."""
    usual = {"scale": "task_max", "fail": "floor", "fail_penalty": 0.0, "reward_column": None}
    known = {field.name for field in dataclasses.fields(config)}
    return RobotData.prepare(
        dataclasses.replace(config, **{key: value for key, value in usual.items() if key in known})
    )


# --- the table ---------------------------------------------------------------------------------------------


def summary(results: list[dict]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and standard deviation over the seeds of each metric, by candidate; nan without a second seed."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for name in dict.fromkeys(result["name"] for result in results):
        runs = [result["metrics"] for result in results if result["name"] == name]
        table[name] = {}
        for key in runs[0]:
            numbers = [run[key] for run in runs if run.get(key) is not None]
            if len(numbers) == len(runs):
                spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else float("nan")
                table[name][key] = (float(np.mean(numbers)), spread)
    return table


def markdown(table: dict, known: dict[str, dict[str, float]], options, tests: str) -> str:
    """The table, the best mean of each column in bold, with the baselines below."""
    best = {
        key: max(sign * round(row[key][0], digits) for row in table.values() if key in row)
        for key, _, sign, digits in COLUMNS
        if sign and any(key in row for row in table.values())
    }
    lines = ["| | " + " | ".join(_heading(title, sign) for _, title, sign, _ in COLUMNS) + " |"]
    lines.append("|---|" + "---:|" * len(COLUMNS))
    for name, row in table.items():
        cells = [_cell(row.get(key), digits, sign, best.get(key)) for key, _, sign, digits in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name, row in known.items():
        plain = {key: (number, float("nan")) for key, number in row.items()}
        cells = [_cell(plain.get(key), digits, 0, None) for key, _, _, digits in COLUMNS]
        lines.append(f"| *{name}* | " + " | ".join(cells) + " |")
    seeds = f"{len(options.seeds)} seed{'s' if len(options.seeds) > 1 else ''}"
    lines += [
        "",
        f"{options.steps} steps of {options.batch_size} frames, {seeds} (mean ± standard deviation), "
        f"on {tests}; torch {torch.__version__}, {torch.get_num_threads()} threads, {date.today()}. "
        "–: the recipe's bins are not about time (progress, pairs), so that these have no meaning.",
    ]
    return "\n".join(lines)


def _heading(title: str, sign: int) -> str:
    return title + {1: " ↑", -1: " ↓", 0: ""}[sign]


def _cell(number: tuple[float, float] | None, digits: int, sign: int, best: float | None) -> str:
    if number is None or not np.isfinite(number[0]):
        return "–"
    text = f"{number[0]:.{digits}f}".replace("-", "−")
    is_best = best is not None and sign * round(number[0], digits) == best
    text = f"**{text}**" if is_best else text
    return text if np.isnan(number[1]) else f"{text} ± {number[1]:.{digits}f}"


def parse(argv: list[str] | None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tiny = sorted(path for path in (ROOT / "trainer/recipes").glob("*_tiny.yaml") if path.stem != "base_tiny")
    parser.add_argument("--recipes", type=Path, nargs="+", default=tiny)
    parser.add_argument("--vary", action="append", default=[], metavar="KEY=A,B,C")
    parser.add_argument("--dataset", default=str(ROOT / "examples/metaworld_push"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("outputs/compare_recipes"))
    parser.add_argument("--docs", type=Path, default=ROOT / "docs/recipes.md", help="page for the table")
    options, options.overrides = parser.parse_known_args(argv)
    return options


def main(argv: list[str] | None = None) -> int:
    options, console = parse(argv), Console(stderr=True)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    results, failed = [], []
    try:
        todo = candidates(options.recipes, options.vary)
        some = Candidate("reference", options.recipes[0], []).settings(0, options)
        reference = reference_of(load_config(options.recipes[0], some).data)
    except (ConfigError, DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for seed in options.seeds:  # all candidates of one seed first: whatever is cut off is complete
        for candidate in todo:
            began = time.perf_counter()
            try:
                results.append(run(candidate, seed, options))
            except (ConfigError, DatasetError) as error:
                failed.append(candidate.name)
                console.print(f"{candidate.name}, seed {seed}: error: {error}", style="red", markup=False)
                continue
            done = f"{len(results) + len(failed)} of {len(todo) * len(options.seeds)}"
            console.print(f"{done}: {candidate.name}, seed {seed}: {time.perf_counter() - began:.0f} s")
    if not results:
        return 1
    rows = reference.rows("test")
    known = baselines(reference, rows)
    table = summary(results)
    tests = f"{len(reference.split['test'])} test episodes ({len(rows)} frames) of {reference.dataset.key}"
    text = markdown(table, known, options, tests)
    write_json(options.output / "results.json", {"runs": results, "baselines": known})
    marker = " ".join(["compare_recipes", *(choice.partition("=")[0] for choice in options.vary)])
    write_between(options.docs, marker, text, title="# The recipes compared")
    print(text)
    console.print(f"table in {options.docs}, numbers in {options.output / 'results.json'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
