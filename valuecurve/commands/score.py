"""`valuecurve score`, which is also `python -m valuecurve.scoring` (for accelerate launch)."""

from typing import Annotated

import typer

from .options import (
    BatchSize,
    Cameras,
    Checkpoint,
    CheckpointRevision,
    Dataset,
    Dtype,
    NewTag,
    NoState,
    Scale,
    Statistics,
    Threads,
    Values,
)


def score(
    checkpoint: Checkpoint,
    dataset: Dataset,
    tag: NewTag,
    values: Values = None,
    episodes: Annotated[str | None, typer.Option(help='Episodes to score, as "0:100, 150".')] = None,
    every: Annotated[int, typer.Option(help="Score each k-th frame, interpolate the others.")] = 1,
    quantiles: Annotated[str | None, typer.Option(help="Also write quantiles, as 0.1,0.5,0.9.")] = None,
    distribution: Annotated[bool, typer.Option("--distribution", help="Also write all bins.")] = False,
    batch_size: BatchSize = 64,
    part_frames: Annotated[
        int | None, typer.Option(help="Frames of a part; default: a 64th of all, from 1024 to 4096.")
    ] = None,
    dtype: Dtype = "auto",
    horizon: Annotated[
        int | None, typer.Option(help="Frames between both of a pair (pairwise checkpoints); default: 50.")
    ] = None,
    cameras: Cameras = None,
    no_state: NoState = False,
    statistics: Statistics = None,
    scale: Scale = None,
    threads: Threads = None,
    revision: CheckpointRevision = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there under the tag, labels too.")
    ] = False,
) -> None:
    """Score every frame of a dataset by a checkpoint. Run again after an interruption, it continues."""
    from transformers.utils.logging import disable_progress_bar

    from valuecurve.episodes import DatasetError, open_dataset
    from valuecurve.scoring.checkpoint import load_checkpoint
    from valuecurve.scoring.job import Settings
    from valuecurve.scoring.run import score_dataset
    from valuecurve.training import ConfigError

    disable_progress_bar()
    try:
        settings = Settings(
            episodes=episodes,
            every=every,
            quantiles=_numbers(quantiles) if quantiles else (),
            distribution=distribution,
            batch_size=batch_size,
            part_frames=part_frames,
            dtype=dtype,
            horizon=horizon,
            cameras=tuple(name.strip() for name in cameras.split(",")) if cameras else (),
            state=not no_state,
            statistics=statistics,
            scale=scale,
        )
        settings.check()
        if threads is not None and threads < 1:
            raise ConfigError(f"--threads must be 1 or more, got {threads}")
        opened = open_dataset(dataset)
        loaded = load_checkpoint(checkpoint, revision)
        summary = score_dataset(loaded, opened, tag, values, settings, overwrite, True, threads)
    except (ConfigError, DatasetError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("interrupted: the same command continues", err=True)
        raise typer.Exit(130) from None
    _report(summary)


def _numbers(text: str) -> tuple[float, ...]:
    from valuecurve.training import ConfigError

    try:
        return tuple(float(piece) for piece in text.split(","))
    except ValueError:
        raise ConfigError(f"--quantiles must be numbers, as 0.1,0.5,0.9; got {text!r}") from None


def _report(summary) -> None:
    """What was done, by the main process; exits with 1 when an episode could not be read."""
    from accelerate import PartialState

    if not PartialState().is_main_process:
        return
    scores = summary.manifest["scores"]
    if summary.frames:
        rate = summary.frames / max(summary.seconds, 1e-6)
        typer.echo(f"{summary.frames} frames in {summary.seconds:.1f} s ({rate:.0f} frames/s)")
    elif not summary.failed:
        typer.echo("nothing was left to score")
    if scores["every"] > 1:
        typer.echo(f"one frame in {scores['every']} was scored, the others are interpolated")
    typer.echo(str(summary.folder))
    for episode, message in summary.failed.items():
        typer.echo(f"error: episode {episode} was left out: {message}", err=True)
    if summary.failed:
        raise typer.Exit(1)
