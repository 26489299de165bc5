"""`valuecurve relabel-outcomes`: outcomes for a dataset that has none, as a sidecar."""

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import Dataset, Json, Values


def relabel_outcomes(
    dataset: Dataset,
    csv: Annotated[
        Path, typer.Option(help="CSV file with the columns episode_index and success, a line an episode.")
    ],
    values: Values = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Make a new dataset with the column next.success there, instead of a sidecar."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an export that is at --output already.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Check the file; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Give every episode an outcome from a CSV file. Inspecting, training and labelling honour it."""
    from valuecurve.episodes import DatasetError, open_dataset, read_outcome_csv, write_outcomes

    try:
        opened = open_dataset(dataset)
        opened.values_folder(values)  # refused before the file is read, and by --dry-run too
        success = read_outcome_csv(opened, csv)
        path = None
        if output is not None and not dry_run:
            from valuecurve.labels.exports.outcomes import export_outcomes

            path = export_outcomes(opened, success, output, overwrite)
        elif not dry_run:
            path = write_outcomes(opened, success, values)
    except DatasetError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    good = int(success.sum())
    if as_json:
        found = {"episodes": len(success), "successes": good, "failures": len(success) - good}
        typer.echo(json.dumps({**found, "written": None if path is None else str(path)}, indent=2))
        return
    typer.echo(f"{len(success)} episodes: {good} successes, {len(success) - good} failures")
    if path is None:
        typer.echo("nothing was written (--dry-run)")
        return
    typer.echo(f"outcomes: {path}")
    if values is not None and output is None:
        typer.echo(f"other commands find them with --values {values} (training: --data.values {values})")
