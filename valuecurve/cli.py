"""`valuecurve …`: thin commands over the rooms."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from valuecurve.episodes.inspection import inspect_dataset, print_report

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Value functions for robot learning: a robot episode in, a value curve out."""


@app.command()
def inspect(
    dataset: Annotated[Path, typer.Argument(help="Folder of a LeRobot dataset (v3.0 or v2.1).")],
    outcome_column: Annotated[
        str | None, typer.Option(help="Column that holds success or failure, instead of the usual ones.")
    ] = None,
    assume_outcome: Annotated[
        str | None, typer.Option(help="success or failure: what to take for episodes without an outcome.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show what a dataset holds, what will be trained on, and every problem. Exits with 1 on errors."""
    report = inspect_dataset(dataset, outcome_column, assume_outcome)
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print_report(report, Console(markup=False, emoji=False, highlight=False))
    if report["errors"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
