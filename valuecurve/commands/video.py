"""`valuecurve video`: overlay videos of scored episodes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    AssumeOutcome,
    Dark,
    Json,
    OutcomeColumn,
    ScoredDataset,
    Split,
    SplitCheckpoint,
    Tag,
    Values,
)


def video(
    dataset: ScoredDataset,
    tag: Tag,
    episodes: Annotated[
        str | None,
        typer.Option(help='Episodes, as "3, 5, 10:20", a video each; default: three of each outcome.'),
    ] = None,
    split: Split = "all",
    checkpoint: SplitCheckpoint = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the videos; default: videos/ beside the scores.")
    ] = None,
    values: Values = None,
    layout: Annotated[str, typer.Option(help="The curve below the cameras, or beside them.")] = "below",
    cameras: Annotated[
        str | None, typer.Option(help="Cameras, as top,wrist; default: those that were scored.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second of the video; default: those of the dataset.")
    ] = None,
    dark: Dark = False,
    outcome_column: OutcomeColumn = None,
    assume_outcome: AssumeOutcome = None,
    as_json: Json = False,
) -> None:
    """Write mp4s of scored episodes: the cameras, and the value curve that grows as the robot moves."""
    from valuecurve.episodes import DatasetError, open_dataset
    from valuecurve.evaluation.dataset_videos import write_videos
    from valuecurve.evaluation.film import choose_cameras
    from valuecurve.evaluation.scored import choose_scored, read_scored

    try:
        opened = open_dataset(dataset)
        scored = read_scored(opened, tag, values, outcome_column, assume_outcome)
        scored, chosen = choose_scored(scored, split, checkpoint, episodes)
        paths = write_videos(
            scored,
            output or scored.scores.folder / "videos",
            scored.choose() if chosen is None else chosen,
            choose_cameras(opened, cameras, scored.about.get("cameras")),
            layout=layout,
            fps=fps,
            dark=dark,
        )
    except DatasetError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        found = {"written": [str(path) for path in paths], "notes": scored.notes}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for note in scored.notes:
        typer.echo(f"note: {note}", err=True)
    for path in paths:
        typer.echo(str(path))
