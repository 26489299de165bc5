"""The main job on the shipped sample: train value-tiny, evaluate it on held-out episodes, score and label the
whole dataset, export it for policy training, and look at it.

    make demo        or        python examples/demo.py [--output outputs/demo] [--any.key value]

Writes `model/` (loadable by `AutoModel`), `test_metrics.json` and a report on the test episodes (`report/`),
scores and labels (`values/demo/`), the labelled dataset (`labelled/`), `curves.png` and one video per shown
episode.
"""

import argparse
import shutil
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import transformers
from rich.console import Console

from valuecurve.episodes import DatasetError, decode_video
from valuecurve.evaluation import Curve, pick_thumbnails, plot_curves, table, write_json, write_overlay
from valuecurve.evaluation.choosing import choose_episodes
from valuecurve.evaluation.evaluating import Evaluation, evaluate
from valuecurve.evaluation.label_figure import panels_of, plot_labels
from valuecurve.evaluation.report import write_report
from valuecurve.evaluation.report_figures import episode_curve
from valuecurve.evaluation.scored import frame_thresholds
from valuecurve.evaluation.split import Split
from valuecurve.evaluation.subject import EvaluationSettings
from valuecurve.labels.exports import export_labels
from valuecurve.labels.label_set import LabelSet, write_labels
from valuecurve.labels.making import make_labels
from valuecurve.labels.settings import LabelSettings
from valuecurve.labels.summary import print_summary, summarise
from valuecurve.scoring import Settings, read_scores
from valuecurve.scoring.checkpoint import Checkpoint, load_checkpoint
from valuecurve.scoring.run import score_dataset
from valuecurve.training import ConfigError, RobotData, Run, load_config, prepare, train

METRICS = (  # of the many that the report has, those in test_metrics.json
    *("nll", "mae", "rmse", "explained_variance", "top1", "top5", "crps", "ece"),
    *("voc_success", "voc_failure", "auroc_last_frame"),
)
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


def evaluate_run(run: Run, checkpoint: Checkpoint, output: Path) -> Evaluation:
    """The model on the test episodes, with its report; the same by hand: `valuecurve evaluate`.

    The frames are those of the frame store that training read.
    """
    split = Split(run.data.split, "split.json of the checkpoint")
    settings = EvaluationSettings(  # the labels of its pictures are made like those of the dataset
        horizon_seconds=LABELS.horizon_seconds, positive_fraction=LABELS.positive_fraction
    )
    (store,) = run.collator.stores
    found = evaluate(checkpoint, run.data.dataset, settings, split, store=store, progress=True)
    write_report(found, output / "report")
    return found


def chosen_metrics(found: Evaluation) -> dict[str, dict[str, float]]:
    """What `test_metrics.json` holds, by forecast."""
    return {
        name: {key: metrics[key] for key in METRICS if key in metrics}
        for name, metrics in found.metrics.items()
    }


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
    console.print(f"export: the dataset with its labels goes to {output / 'labelled'}", soft_wrap=True)
    export_labels(data.dataset, TAG, "lerobot", output / "labelled", values=values, overwrite=True)
    return labels


def make_curve(found: Evaluation, position: int, frames: np.ndarray, labels: LabelSet) -> Curve:
    """The curve of one test episode; `frames` uint8 [T, 3, H, W] are shown under its axis."""
    thumbnails, at = pick_thumbnails(frames)
    curve = episode_curve(found, position, thumbnails=0)
    mine = np.flatnonzero(labels.episode_index == curve.episode_index)
    tasks = found.subject.job.dataset.tasks
    return replace(
        curve,
        thumbnails=thumbnails,
        thumbnail_frames=at,
        positive=labels.positive[mine],
        advantage=labels.advantage[mine],
        threshold=frame_thresholds(labels, tasks, mine),
        horizon=labels.settings["horizon"],
    )


def show(run: Run, found: Evaluation, labels: LabelSet, output: Path) -> list[Path]:
    """The picture and the videos of a few test episodes; their paths."""
    dataset, evaluated = run.data.dataset, found.subject.evaluated
    curves, paths = [], []
    for position in choose_episodes(evaluated.view, evaluated.outcomes.success):
        episode = int(evaluated.view.episode_ids[position])
        frames = {
            dataset.cameras[key].name: np.concatenate(
                [chunk for _, chunk in decode_video(dataset, key, [episode])]
            )
            for key in run.data.cameras
        }
        curve = make_curve(found, position, next(iter(frames.values())), labels)
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
        checkpoint = load_checkpoint(str(output / "model"))
        found = evaluate_run(run, checkpoint, output)
    with clock.phase("score", "4/6  Score every frame of the dataset"):
        score_dataset(
            checkpoint,
            run.data.dataset,
            TAG,
            output / "values",
            Settings(distribution=True),  # for heat maps and reliability: `valuecurve plot`
            overwrite=True,
            progress=True,
        )
    with clock.phase("label", "5/6  Label and export it"):
        labels = label(run.data, output, console)
    with clock.phase("pictures", "6/6  Draw curves and videos"):
        paths = show(run, found, labels, output)
    metrics, frames = chosen_metrics(found), len(found.subject.evaluated.rows)
    write_json(output / "test_metrics.json", metrics | {"seconds": clock.seconds})
    console.print(table(metrics, title=f"{len(run.data.split['test'])} test episodes, {frames:,} frames"))
    console.print(
        "Higher is better for explained variance, AUROC and order; lower for NLL and MAE.", style="dim"
    )
    made = ("model", "test_metrics.json", "report/report.md", f"values/{TAG}", "labelled")
    for path in (*(output / name for name in made), *paths):
        console.print(f"  {path}")
    spent = ", ".join(f"{name.replace('_', ' ')} {seconds:g} s" for name, seconds in clock.seconds.items())
    console.print(f"time: {spent}", highlight=False)
    console.print(
        f"next: read {output / 'report' / 'report.md'}, or look at it all: make space", soft_wrap=True
    )


if __name__ == "__main__":
    try:
        main()
    except (ConfigError, DatasetError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
