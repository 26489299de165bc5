"""`valuecurve label`: scores -> label set."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    AssumeOutcome,
    Fail,
    FailPenalty,
    HorizonSeconds,
    Json,
    OutcomeColumn,
    RewardColumn,
    ScoredDataset,
    Values,
)


def label(
    dataset: ScoredDataset,
    tag: Annotated[str, typer.Option(help="Tag of its scores; the labels go beside them.")],
    mode: Annotated[str, typer.Option(help="n_step, full (episode) or progress.")] = "n_step",
    horizon: Annotated[
        int | None, typer.Option(help="Frames ahead, for n_step and progress; default: 50.")
    ] = None,
    horizon_seconds: HorizonSeconds = None,
    positive_fraction: Annotated[
        float,
        typer.Option(help="Share of the frames that are positive, from 0 to 1 (of --thresholds: theirs)."),
    ] = 0.3,
    scope: Annotated[str, typer.Option(help="Thresholds per task, or one for all: task, global.")] = "task",
    per_stage: Annotated[
        int | None, typer.Option(help="Number of stages of an episode with thresholds of their own.")
    ] = None,
    stage_column: Annotated[
        str | None, typer.Option(help="Column of progress (0 to 1) that tells stages; default: elapsed time.")
    ] = None,
    slices: Annotated[int | None, typer.Option(help="Also this many classes of equal size.")] = None,
    progress: Annotated[
        str | None,
        typer.Option(
            help="Of --mode progress: value, relative, absolute_value, absolute_advantage or a column."
        ),
    ] = None,
    interventions: Annotated[
        str | None, typer.Option(help="Column of frames that a human drove: always positive.")
    ] = None,
    all_positive: Annotated[
        bool, typer.Option(help="Every frame positive, as for a first SFT stage.")
    ] = False,
    outcome_column: OutcomeColumn = None,
    assume_outcome: AssumeOutcome = None,
    reward_column: RewardColumn = None,
    fail: Fail = None,
    fail_penalty: FailPenalty = None,
    scale: Annotated[
        str,
        typer.Option(help="Steps of one value unit: checkpoint, task_max, episode or a number of frames."),
    ] = "checkpoint",
    thresholds: Annotated[
        Path | None,
        typer.Option(help="OTHER/values/TAG: judge by its thresholds, as rollouts by the demonstrations'."),
    ] = None,
    values: Values = None,
    targets_only: Annotated[
        bool, typer.Option(help="Write value targets from outcomes alone; no scores are needed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Show what the labels would be; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Label the scored frames of a dataset: advantages, thresholds, positive or not. No model is needed."""
    from valuecurve.episodes import DatasetError, open_dataset
    from valuecurve.labels.settings import LabelSettings

    try:
        settings = LabelSettings(
            mode=mode,
            horizon=horizon,
            horizon_seconds=horizon_seconds,
            positive_fraction=positive_fraction,
            scope=scope,
            stages=per_stage,
            stage_column=stage_column,
            slices=slices,
            progress=progress,
            interventions=interventions,
            all_positive=all_positive,
            outcome_column=outcome_column,
            assume_outcome=assume_outcome,
            reward_column=reward_column,
            fail=fail,
            fail_penalty=fail_penalty,
            scale=_number(scale),
            thresholds=None if thresholds is None else str(thresholds),
        )
        if targets_only:
            _write_targets(open_dataset(dataset), tag, settings, values, dry_run, as_json)
        else:
            _label(open_dataset(dataset), tag, settings, values, dry_run, as_json)
    except DatasetError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _label(dataset, tag: str, settings, values: Path | None, dry_run: bool, as_json: bool) -> None:
    from rich.console import Console

    from valuecurve.labels.label_set import write_labels
    from valuecurve.labels.making import make_labels
    from valuecurve.labels.summary import print_summary, summarise
    from valuecurve.scoring import read_scores

    scores = read_scores(dataset, tag, values)
    labelling = make_labels(dataset, scores, settings, values)
    summary = summarise(labelling)
    written = []
    if not dry_run:
        labels = write_labels(dataset, tag, labelling.table, labelling.settings, values)
        written = [labels.folder / "labels.parquet", _draw(labelling, tag, labels.folder)]
    if as_json:
        found = {**summary, "written": [str(path) for path in written]}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for warning in summary["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    print_summary(summary, Console(markup=False, emoji=False, highlight=False))
    typer.echo(
        "\nnothing was written (--dry-run)" if dry_run else f"\nlabels: {written[0]}\npicture: {written[1]}"
    )


def _draw(labelling, tag: str, folder: Path) -> Path:
    """The histograms, `labels.png` beside the labels."""
    from valuecurve.evaluation.label_figure import panels_of, plot_labels
    from valuecurve.scoring.scores import writing

    title, subtitle = f"Advantages of {labelling.dataset.key}", _how(labelling.settings, tag)
    with writing(folder):
        return plot_labels(panels_of(labelling), folder / "labels.png", title, subtitle)


def _how(settings: dict, tag: str) -> str:
    mode = {"n_step": "n-step", "full": "full-episode", "progress": "progress"}[settings["mode"]]
    horizon = f", {settings['horizon']} frames ahead" if settings["horizon"] else ""
    scope = "of each task" if settings["scope"] == "task" else "of all frames"
    stages = " and stage" if settings["stages"] else ""
    return (
        f"tag {tag}: {mode} advantages{horizon}, in value units; the highest "
        f"{settings['positive_fraction']:.0%} {scope}{stages} are positive"
    )


def _write_targets(dataset, tag: str, settings, values: Path | None, dry_run: bool, as_json: bool) -> None:
    from valuecurve.labels.targets import make_targets, write_targets

    table, about = make_targets(dataset, settings, values)
    path = None if dry_run else write_targets(dataset, tag, table, about, values)
    target = table["target"].to_numpy()
    found = {**about, "frames": len(target), "mean": float(target.mean()), "written": path and str(path)}
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(
        f"{len(target):,} targets from {target.min():.2f} to {target.max():.2f}, mean {target.mean():.2f}; "
        f"outcomes: {about['outcomes']}"
    )
    typer.echo("nothing was written (--dry-run)" if path is None else f"targets: {path}")


def _number(scale: str) -> str | float:
    try:
        return float(scale)
    except ValueError:
        return scale
