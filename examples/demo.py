"""The main job on the shipped sample: train value-tiny, evaluate it on held-out episodes, score and label the
whole dataset, export it for policy training, and look at it.

    make demo        or        python examples/demo.py [--output outputs/demo] [--any.key value]

Writes `model/` (loadable by `AutoModel`), `test_metrics.json`, scores and labels (`values/demo/`), the
labelled dataset (`labelled/`), `curves.png` and one video per shown episode.
"""

import argparse
import shutil
import sys
import time
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import numpy as np
import transformers
from rich.console import Console
from transformers import AutoModel

from valuecurve.episodes import DatasetError, decode_video
from valuecurve.evaluation import (
    Curve,
    ElapsedTime,
    constant_distribution,
    pick_thumbnails,
    plot_curves,
    table,
    write_json,
    write_overlay,
)
from valuecurve.evaluation.label_figure import panels_of, plot_labels
from valuecurve.labels.exports import export_labels
from valuecurve.labels.label_set import LabelSet, write_labels
from valuecurve.labels.making import make_labels
from valuecurve.labels.settings import LabelSettings
from valuecurve.labels.summary import print_summary, summarise
from valuecurve.metrics import value_metrics
from valuecurve.scoring import predict, read_scores, shuffled_between_episodes
from valuecurve.scoring.checkpoint import load_checkpoint
from valuecurve.scoring.run import score_dataset
from valuecurve.training import ConfigError, RobotData, Run, load_config, prepare, train

SHOWN = 3  # episodes of each outcome in the picture and as videos
TAG = "demo"
LABELS = LabelSettings(horizon_seconds=1.0, positive_fraction=0.3)
ABOUT = "n-step advantages, one second ahead, in value units; the highest 30% of each task are positive"


class Clock:
    """Seconds per phase."""

    def __init__(self, console: Console):
        self.console, self.seconds = console, {}

    @contextmanager
    def phase(self, name: str, title: str):
        self.console.rule(title, align="left")
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)


def evaluate(run: Run, model, rows: np.ndarray) -> tuple[dict[str, dict[str, float]], np.ndarray]:
    """Metrics of the model, of two baselines fitted on the training split, and of the model with the images
    of other episodes, all on the same frames; and the model's probabilities `[n, bins]`."""
    data, dataset = run.data, run.data.dataset
    bins = model.config.num_bins
    probabilities = predict(model, run.collator, rows, description="test frames")
    fitted = data.rows("train")
    constant = constant_distribution(data.targets[fitted], bins)
    clock = ElapsedTime.fit(
        data.targets[fitted], dataset.task_index[fitted], dataset.frame_index[fitted], bins
    )
    forecasts = {
        "model": probabilities,
        "constant": np.tile(constant, (len(rows), 1)),
        "elapsed_time": clock.predict(dataset.task_index[rows], dataset.frame_index[rows]),
    }
    if len(np.unique(dataset.episode_index[rows])) > 1:
        other = shuffled_between_episodes(dataset, rows)
        forecasts["shuffled_images"] = predict(
            model, run.collator, rows, image_rows=other, description="images shuffled"
        )
    metrics = {
        name: value_metrics(
            forecast,
            data.targets[rows],
            episode_index=dataset.episode_index[rows],
            frame_index=dataset.frame_index[rows],
            success=data.success[rows],
        )
        for name, forecast in forecasts.items()
    }
    return metrics, probabilities


def choose_episodes(data: RobotData, count: int) -> list[int]:
    """Positions of test episodes to show: `count` of each outcome, tasks and kinds of failure taking turns.

    They are chosen by their data alone, before any prediction is looked at.
    """
    dataset = data.dataset
    kinds = (
        dataset.episodes["failure_kind"].to_pylist()
        if "failure_kind" in dataset.episodes.column_names
        else None
    )
    test = np.flatnonzero(data.only.is_in("test"))
    chosen = []
    for outcome in (True, False):
        groups: dict[int, dict[str | None, list[int]]] = {}  # by task, then kind of failure
        for position in test[data.outcomes.success[test] == outcome]:
            kind = kinds[position] if kinds else None
            of_task = groups.setdefault(int(dataset.episode_tasks[position]), {})
            of_task.setdefault(kind, []).append(int(position))
        tasks = [in_turn(sorted(of.values(), key=len, reverse=True)) for _, of in sorted(groups.items())]
        chosen += in_turn(tasks)[:count]
    return chosen


def label(data: RobotData, output: Path, console: Console) -> LabelSet:
    """Labels from the scores under `output/values`, their table and picture, and the labelled dataset.

    The same by hand: `valuecurve label` and `valuecurve export`, with `--values`.
    """
    values = output / "values"
    made = make_labels(data.dataset, read_scores(data.dataset, TAG, values), LABELS)
    labels = write_labels(data.dataset, TAG, made.table, made.settings, values)
    print_summary(summarise(made), console)
    plot_labels(panels_of(made), labels.folder / "labels.png", f"Advantages of {data.dataset.key}", ABOUT)
    test = np.isin(labels.rows, data.rows("test"))
    share = {
        outcome: labels.positive[test & (data.success[labels.rows] == outcome)].mean()
        for outcome in (True, False)
    }
    console.print(
        f"\nof the test episodes, which the model has never seen: {share[True]:.0%} of the frames of "
        f"successes are positive, {share[False]:.0%} of those of failures",
        soft_wrap=True,
    )
    export_labels(data.dataset, TAG, "lerobot", output / "labelled", values=values, overwrite=True)
    return labels


def in_turn(lists: list[list[int]]) -> list[int]:
    """The first of each list, then the second of each, and so on."""
    return [item for turn in zip_longest(*lists) for item in turn if item is not None]


def make_curve(
    run: Run,
    position: int,
    rows: np.ndarray,
    probabilities: np.ndarray,
    frames: np.ndarray,
    labels: LabelSet,
) -> Curve:
    """The curve of one test episode; `frames` uint8 [T, 3, H, W] are shown under its axis."""
    data, dataset = run.data, run.data.dataset
    task = dataset.tasks[int(dataset.episode_tasks[position])]
    mine = np.searchsorted(rows, np.arange(dataset.lengths[position]) + dataset.starts[position])
    centers = np.linspace(-1, 0, probabilities.shape[1])
    thumbnails, at = pick_thumbnails(frames)
    kind = (
        dataset.episodes["failure_kind"][position].as_py()
        if "failure_kind" in dataset.episodes.column_names
        else None
    )
    return Curve(
        episode_index=int(dataset.episode_ids[position]),
        task=task,
        success=bool(data.outcomes.success[position]),
        fps=dataset.fps,
        value=probabilities[mine] @ centers,
        probabilities=probabilities[mine],
        target=data.targets[rows[mine]],
        scale_seconds=data.scales[task] / dataset.fps if task in data.scales else None,
        thumbnails=thumbnails,
        thumbnail_frames=at,
        failure_kind=kind or None,
        positive=labels.positive[np.searchsorted(labels.rows, rows[mine])],
    )


def show(run: Run, rows: np.ndarray, probabilities: np.ndarray, labels: LabelSet, output: Path) -> list[Path]:
    """The picture and the videos of a few test episodes; their paths."""
    dataset = run.data.dataset
    curves, paths = [], []
    for position in choose_episodes(run.data, SHOWN):
        episode = int(dataset.episode_ids[position])
        frames = {
            dataset.cameras[key].name: np.concatenate(
                [chunk for _, chunk in decode_video(dataset, key, [episode])]
            )
            for key in run.data.cameras
        }
        curve = make_curve(run, position, rows, probabilities, next(iter(frames.values())), labels)
        curves.append(curve)
        paths.append(write_overlay(curve, frames, output / f"episode_{episode:03d}.mp4"))
    return [plot_curves(curves, output / "curves.png"), *paths]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("trainer/recipes/value_tiny.yaml"))
    parser.add_argument("--output", type=Path, default=Path("outputs/demo"))
    options, overrides = parser.parse_known_args(argv)
    console, output = Console(), options.output
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()  # of weights: small ones, many times
    clock = Clock(console)
    config = load_config(options.config, [*overrides, "--training.output_dir", str(output)])
    for old in [*output.glob("checkpoint-*"), *output.glob("episode_*.mp4")]:  # of an earlier demo
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    with clock.phase("frame_store", "1/6  Decode every frame once, into the frame store"):
        prepared = prepare(config)
    with clock.phase("train", "2/6  Train"):
        run = train(config, prepared=prepared)
    with clock.phase("evaluate", "3/6  Evaluate on the test episodes"):
        model = AutoModel.from_pretrained(output / "model")
        rows = run.data.rows("test")
        metrics, probabilities = evaluate(run, model, rows)
    with clock.phase("score", "4/6  Score every frame of the dataset"):
        checkpoint = load_checkpoint(str(output / "model"))
        score_dataset(checkpoint, run.data.dataset, TAG, output / "values", overwrite=True, progress=True)
    with clock.phase("label", "5/6  Label and export it"):
        labels = label(run.data, output, console)
    with clock.phase("pictures", "6/6  Draw curves and videos"):
        paths = show(run, rows, probabilities, labels, output)
    write_json(output / "test_metrics.json", metrics | {"seconds": clock.seconds})
    console.print(table(metrics, title=f"{len(run.data.split['test'])} test episodes, {len(rows)} frames"))
    console.print(
        "Higher is better for explained variance, AUROC and order; lower for NLL and MAE.", style="dim"
    )
    made = ("model", "test_metrics.json", f"values/{TAG}", "labelled")
    for path in (*(output / name for name in made), *paths):
        console.print(f"  {path}")
    spent = ", ".join(f"{name.replace('_', ' ')} {seconds:g} s" for name, seconds in clock.seconds.items())
    console.print(f"time: {spent}", highlight=False)


if __name__ == "__main__":
    try:
        main()
    except (ConfigError, DatasetError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
