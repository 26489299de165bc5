"""`valuecurve plot`: pictures of a scored dataset."""

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


def plot(
    dataset: ScoredDataset,
    tag: Tag,
    episodes: Annotated[
        str | None,
        typer.Option(help='Episodes to draw, as "3, 5, 10:20"; default: three of each outcome.'),
    ] = None,
    split: Split = "all",
    checkpoint: SplitCheckpoint = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; default: pictures/ beside the scores.")
    ] = None,
    values: Values = None,
    format: Annotated[str, typer.Option(help="png, svg, pdf, or several: png,svg.")] = "png,svg",
    dark: Dark = False,
    kind: Annotated[
        str | None,
        typer.Option(
            help="curve, heat_map, curves (of episodes); reliability, predicted_against_target, "
            "auroc_over_elapsed, small_multiples (of all that is scored); or several: curve,heat_map. "
            "Default: all that can be drawn."
        ),
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="Camera of the film strip; default: the first that was scored.")
    ] = None,
    no_film: Annotated[bool, typer.Option("--no-film", help="No film strip: no video is read.")] = False,
    outcome_column: OutcomeColumn = None,
    assume_outcome: AssumeOutcome = None,
    as_json: Json = False,
) -> None:
    """Draw the scores of a dataset: curves, heat maps, calibration, detection, error. Needs no model."""
    from valuecurve.episodes import DatasetError, open_dataset
    from valuecurve.evaluation.dataset_pictures import draw_pictures
    from valuecurve.evaluation.film import choose_cameras
    from valuecurve.evaluation.scored import choose_scored, read_scored

    try:
        opened = open_dataset(dataset)
        scored = read_scored(opened, tag, values, outcome_column, assume_outcome)
        scored, chosen = choose_scored(scored, split, checkpoint, episodes)
        cameras = [] if no_film else choose_cameras(opened, camera, scored.about.get("cameras"))
        drawn = draw_pictures(
            scored,
            output or scored.scores.folder / "pictures",
            episodes=chosen,
            kinds=kind,
            formats=format,
            dark=dark,
            camera=cameras[0] if cameras else None,
        )
    except DatasetError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        found = {"written": [str(path) for path in drawn.paths], "notes": drawn.notes}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for note in drawn.notes:
        typer.echo(f"note: {note}", err=True)
    for path in drawn.paths:
        typer.echo(str(path))
