"""`valuecurve evaluate`: a checkpoint on held-out episodes."""

import os
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    AssumeOutcome,
    BatchSize,
    Cameras,
    Checkpoint,
    CheckpointRevision,
    Dataset,
    Dtype,
    Fail,
    FailPenalty,
    HorizonSeconds,
    Json,
    NoState,
    OutcomeColumn,
    RewardColumn,
    Scale,
    Split,
    Statistics,
    Threads,
    Values,
)


def evaluate(
    checkpoint: Checkpoint,
    dataset: Dataset,
    split: Split = "test",
    output: Annotated[
        Path | None, typer.Option(help="Folder of the report; default: report/ beside the checkpoint.")
    ] = None,
    episodes: Annotated[str | None, typer.Option(help='Only these of the split, as "0:100, 150".')] = None,
    no_probes: Annotated[
        bool, typer.Option("--no-probes", help="Leave the shortcut probes out: one pass instead of four.")
    ] = False,
    fail: Fail = None,
    fail_penalty: FailPenalty = None,
    outcome_column: OutcomeColumn = None,
    assume_outcome: AssumeOutcome = None,
    reward_column: RewardColumn = None,
    values: Values = None,
    cameras: Cameras = None,
    no_state: NoState = False,
    statistics: Statistics = None,
    scale: Scale = None,
    batch_size: BatchSize = 64,
    dtype: Dtype = "auto",
    threads: Threads = None,
    resamples: Annotated[int, typer.Option(help="Resamples behind the confidence intervals.")] = 1000,
    horizon: Annotated[
        int | None, typer.Option(help="Frames ahead of the labels in its pictures; default: 50.")
    ] = None,
    horizon_seconds: HorizonSeconds = None,
    positive_fraction: Annotated[
        float, typer.Option(help="Share of the frames that these labels call positive, from 0 to 1.")
    ] = 0.3,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Folder of frame stores; default: as in training.")
    ] = None,
    dataset_id: Annotated[
        str | None, typer.Option(help="Name of the dataset on the Hub (owner/name), for the model card.")
    ] = None,
    revision: CheckpointRevision = None,
    as_json: Json = False,
) -> None:
    """Measure a checkpoint on held-out episodes: metrics with intervals, baselines, probes, figures."""
    from transformers.utils.logging import disable_progress_bar

    from valuecurve.episodes import DatasetError, open_dataset
    from valuecurve.evaluation.evaluating import evaluate as run
    from valuecurve.evaluation.report import check_report_folder, to_json, write_report
    from valuecurve.evaluation.split import read_split
    from valuecurve.evaluation.subject import EvaluationSettings, checkpoint_folder
    from valuecurve.scoring.checkpoint import load_checkpoint
    from valuecurve.training import ConfigError

    disable_progress_bar()
    settings = EvaluationSettings(
        split=split,
        episodes=episodes,
        probes=not no_probes,
        fail=fail,
        fail_penalty=fail_penalty,
        outcome_column=outcome_column,
        assume_outcome=assume_outcome,
        reward_column=reward_column,
        values=values,
        cameras=tuple(name.strip() for name in cameras.split(",")) if cameras else (),
        state=not no_state,
        statistics=statistics,
        scale=scale,
        dtype=dtype,
        batch_size=batch_size,
        resamples=resamples,
        horizon=horizon,
        horizon_seconds=horizon_seconds,
        positive_fraction=positive_fraction,
    )
    try:
        settings.check()
        if threads is not None and threads < 1:
            raise ConfigError(f"--threads must be 1 or more, got {threads}")
        check_hub_id(dataset_id)
        opened = open_dataset(dataset)
        loaded = load_checkpoint(checkpoint, revision)
        folder = checkpoint_folder(checkpoint, loaded.revision)
        place = output or default_output(checkpoint)
        check_report_folder(place)
        found = run(
            loaded,
            opened,
            settings,
            read_split(folder, opened),
            cache_dir=cache_dir,
            progress=True,
            threads=threads,
        )
        report, written = write_report(found, place, dataset_id)
    except (ConfigError, DatasetError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing was written", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(to_json(report | {"written": written}))
    else:
        _print(report, written)


def default_output(checkpoint: str) -> Path:
    """report/ beside a checkpoint's folder; of a model of the Hub, here."""
    folder = Path(checkpoint)
    return Path(os.path.normpath(folder / ".." / "report")) if folder.is_dir() else Path("report")


def check_hub_id(name: str | None) -> None:
    from valuecurve.evaluation.eval_results import is_hub_id
    from valuecurve.training import ConfigError

    if name is not None and not is_hub_id(name):
        raise ConfigError(f"--dataset-id must be the name of a dataset on the Hub, owner/name, got {name!r}")


def _print(report: dict, written: list[Path]) -> None:
    from rich.console import Console

    from valuecurve.evaluation.probes import NAMES
    from valuecurve.evaluation.report import report_table
    from valuecurve.evaluation.report_text import trained_on

    console = Console(markup=False, emoji=False, highlight=False)
    evaluated = report["evaluated"]
    console.print(
        f"{evaluated['episodes']:,} episodes ({evaluated['successes']:,} successes), {evaluated['frames']:,} "
        f"frames of {report['dataset']['key']}, split {evaluated['split']}",
        soft_wrap=True,
    )
    for text in [*evaluated["warnings"], *(trained_on(evaluated) or ())]:
        console.print(f"warning: {text}", style="yellow", soft_wrap=True)
    console.print()
    console.print(report_table(report))
    for name, probe in report["probes"].items():
        console.print(f"\n{NAMES[name]}: {probe['finding']}")
    console.print()
    for path in written:
        console.print(str(path), soft_wrap=True)
