"""Does a model that learns values keep its answers? The same robot training, with and without questions.

    python benchmarks/cotraining.py                 # 2 seeds, 200 steps: about 6 minutes on two quiet cores

Both start from the recipe's base and see the same number of frames in every step; with questions, a batch
holds `--ratio` of them beside its frames. Judged on held-out questions (exact match, loss per answer token)
and on the test episodes. Writes `results.json` to --output and the table, mean ± half the range over the
seeds, into --docs. A finished run is kept under --output. Any other argument --key value overrides the
recipe in both.
"""

import argparse
import json
import shutil
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from pages import write_between
from rich.console import Console

from valuecurve import ValueModel, ValueProcessor
from valuecurve.episodes import DatasetError
from valuecurve.evaluation import write_json
from valuecurve.evaluation.answers import answer_metrics
from valuecurve.metrics import value_metrics
from valuecurve.scoring import predict
from valuecurve.training import ConfigError, Run, load_config, prepare, train
from valuecurve.training.data import evenly_spaced
from valuecurve.training.questions import Questions, load_questions

ROOT = Path(__file__).parents[1]
ALONE, TOGETHER = "frames only", "frames and questions"
# Key, heading, decimals.
COLUMNS = (
    ("exact_match", "Answers right ↑", 3),
    ("answer_loss", "Answer loss ↓", 3),
    ("nll", "NLL ↓", 2),
    ("explained_variance", "Explained variance ↑", 2),
    ("mae", "MAE ↓", 3),
    ("auroc_last_frame", "AUROC ↑", 2),
    ("voc_success", "VOC, successes ↑", 2),
)


def settings(name: str, seed: int, options) -> list[str]:
    """What makes both alike, and what tells them apart."""
    alike: dict[str, Any] = {
        "data.dataset": options.dataset,
        "training.seed": seed,
        "training.max_steps": options.steps,
        "training.warmup_steps": max(options.steps // 14, 1),
        "training.per_device_train_batch_size": options.frames,
        "training.eval_strategy": "no",
        "training.save_strategy": "no",
        "training.load_best_model_at_end": "false",
        "training.disable_tqdm": "true",
    }
    if name == TOGETHER:
        alike["data.questions"] = options.questions
        alike["data.question_ratio"] = options.ratio
        alike["training.per_device_train_batch_size"] = round(options.frames / (1 - options.ratio))
    return [*(text for key, value in alike.items() for text in (f"--{key}", str(value))), *options.overrides]


def answers(model: ValueModel, processor: ValueProcessor, options) -> dict[str, float]:
    questions = load_questions(options.questions, processor, "held_out")
    assert isinstance(questions, Questions)
    rows = evenly_spaced(np.arange(len(questions)), options.held_out)
    return answer_metrics(model, processor, questions, rows, description="questions")


def values(run: Run) -> dict[str, float]:
    """Metrics on the test episodes, of the averaged weights."""
    data, dataset = run.data, run.data.dataset
    rows = data.rows("test")
    return value_metrics(
        predict(run.trainer._own_model(), run.collator, rows, description="test frames"),
        data.targets[rows],
        episode_index=dataset.episode_index[rows],
        frame_index=dataset.frame_index[rows],
        success=data.success[rows],
    )


def start(options) -> dict:
    """The base, before any robot training: its value head has not been trained."""
    base = load_config(options.recipe, options.overrides).model.base
    if base is None:
        raise ConfigError(f"{options.recipe} starts from no base: there are no answers to keep.")
    model = ValueModel.from_pretrained(base, dtype=torch.float32)
    return {"name": "before", "seed": None} | answers(model, ValueProcessor.from_pretrained(base), options)


def run_once(name: str, seed: int, options) -> dict:
    """Trains and judges once, or returns what an earlier call found."""
    folder = options.output / "runs" / f"{name.replace(' ', '_')}_{seed}"
    wanted = {"recipe": options.recipe.read_text(), "settings": settings(name, seed, options)}
    if (folder / "result.json").is_file():
        result = json.loads((folder / "result.json").read_text())
        if {key: result[key] for key in wanted} == wanted:
            return result
    shutil.rmtree(folder, ignore_errors=True)
    config = load_config(options.recipe, [*wanted["settings"], "--training.output_dir", str(folder / "run")])
    prepared = prepare(config)
    run = train(config, prepared=prepared)
    with run.trainer.averaged_weights():
        found = values(run) | answers(prepared.model, prepared.processor, options)
    result = {"name": name, "seed": seed} | found | wanted
    write_json(folder / "result.json", result)
    return result


def markdown(results: list[dict], options) -> str:
    lines = ["| | " + " | ".join(heading for _, heading, _ in COLUMNS) + " |"]
    lines.append("|---|" + "---:|" * len(COLUMNS))
    for name in dict.fromkeys(result["name"] for result in results):
        same = [result for result in results if result["name"] == name]
        cells = [_cell([one[key] for one in same if key in one], digits) for key, _, digits in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(
        [
            *lines,
            "",
            f"{options.steps} steps of {options.frames} frames, with questions "
            f"{round(options.frames / (1 - options.ratio)) - options.frames} of them besides; "
            f"{_seeds(options.seeds)}; "
            f"{results[0]['questions']} held-out questions, test episodes of "
            f"`{Path(options.dataset).name}`; {date.today()}.",
        ]
    )


def _seeds(seeds: list[int]) -> str:
    return (
        f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))} (mean ± half range)"
    )


def _cell(found: list[float | None], digits: int) -> str:
    numbers = [number for number in found if number is not None and np.isfinite(number)]
    if not numbers:
        return "–"
    half = (max(numbers) - min(numbers)) / 2
    text = f"{np.mean(numbers):.{digits}f}".replace("-", "−")
    return text if len(numbers) == 1 else f"{text} ± {half:.{digits}f}"


def parse(argv: list[str] | None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", type=Path, default=ROOT / "trainer/recipes/value_tiny.yaml")
    parser.add_argument("--dataset", default=str(ROOT / "examples/metaworld_push"))
    parser.add_argument("--questions", default=str(ROOT / "examples/metaworld_vqa"))
    parser.add_argument("--ratio", type=float, default=0.2, help="share of questions in a batch")
    parser.add_argument("--frames", type=int, default=64, help="frames in a batch, questions not counted")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--held-out", type=int, default=2000, help="held-out questions used, at most")
    parser.add_argument("--output", type=Path, default=Path("outputs/cotraining"))
    parser.add_argument("--docs", type=Path, default=ROOT / "docs/cotraining.md", help="page for the table")
    options, options.overrides = parser.parse_known_args(argv)
    return options


def main(argv: list[str] | None = None) -> int:
    options, console = parse(argv), Console()
    transformers.logging.set_verbosity_error()
    try:
        results = [start(options)]
        for seed in options.seeds:
            for name in (ALONE, TOGETHER):
                console.rule(f"{name}, seed {seed}", align="left")
                results.append(run_once(name, seed, options))
    except (ConfigError, DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results = [results[0], *sorted(results[1:], key=lambda result: result["name"] != ALONE)]
    write_json(options.output / "results.json", {"results": results})
    text = markdown(results, options)
    write_between(options.docs, "cotraining", text)
    console.print(text, markup=False)
    console.print(f"  {options.output / 'results.json'}\n  {options.docs}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
