"""`valuecurve …`: thin commands over the rooms."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from valuecurve import __version__
from valuecurve.commands.evaluate import evaluate
from valuecurve.commands.export import export
from valuecurve.commands.jobs import jobs
from valuecurve.commands.label import label
from valuecurve.commands.options import AssumeOutcome, Checkpoint, Dataset, Json, OutcomeColumn, Values
from valuecurve.commands.plot import plot
from valuecurve.commands.push import push
from valuecurve.commands.relabel_outcomes import relabel_outcomes
from valuecurve.commands.score import score
from valuecurve.commands.video import video
from valuecurve.episodes.inspection import inspect_dataset, print_report

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Value functions for robot learning: a robot episode in, a value curve out."""


@app.command()
def inspect(
    dataset: Dataset,
    outcome_column: OutcomeColumn = None,
    assume_outcome: AssumeOutcome = None,
    values: Values = None,
    as_json: Json = False,
) -> None:
    """Show what a dataset holds, what will be trained on, and every problem. Exits with 1 on errors."""
    report = inspect_dataset(dataset, outcome_column, assume_outcome, values)
    if as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print_report(report, Console(markup=False, emoji=False, highlight=False))
    if report["errors"]:
        raise typer.Exit(1)


@app.command()
def ask(
    checkpoint: Checkpoint,
    images: Annotated[list[Path], typer.Argument(help="One or more picture files.")],
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 32,
    as_json: Json = False,
) -> None:
    """Ask a checkpoint a question about pictures; it answers in words."""
    from transformers.utils.logging import disable_progress_bar

    from valuecurve.episodes import DatasetError
    from valuecurve.evaluation import answers
    from valuecurve.training import ConfigError
    from valuecurve.training.question_sources import read_picture

    disable_progress_bar()
    try:
        if os.path.isfile(question):  # Path.is_file raises for a long one
            raise ConfigError(f"{question} is a file: the question comes last, after the pictures.")
        pictures = [read_picture(path) for path in images]
        model, processor = answers.load_answering(checkpoint)
        answer = answers.ask(model, processor, pictures, question, max_new_tokens)
    except (ConfigError, DatasetError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        names = [str(path) for path in images]
        found = {"checkpoint": checkpoint, "images": names, "question": question, "answer": answer}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        typer.echo(answer)


@app.command()
def draw(
    source: Annotated[
        str, typer.Argument(help="Recipe (YAML), checkpoint (folder or Hub id) or config.json.")
    ],
    output: Annotated[Path, typer.Option(help="Picture to write: .svg, .png or .pdf.")] = Path(
        "architecture.svg"
    ),
) -> None:
    """Draw the architecture that a recipe or a checkpoint builds: no weights are needed."""
    from valuecurve.evaluation.architecture import read_architecture
    from valuecurve.evaluation.diagram import draw_architecture

    try:
        typer.echo(draw_architecture(read_architecture(source), output))
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def parameters(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Recipes, checkpoints or config.json; default: trainer/recipes."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print how many parameters each part has, as a Markdown table: no weights are needed."""
    from valuecurve.evaluation.architecture import parameter_rows, parameter_table, shipped_recipes

    try:
        rows = parameter_rows(sources or shipped_recipes())
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(rows, indent=2) if as_json else parameter_table(rows))


app.command()(score)
app.command()(label)
app.command()(evaluate)
app.command()(export)
app.command()(relabel_outcomes)
app.command()(plot)
app.command()(video)
app.add_typer(push, name="push")
app.add_typer(jobs, name="jobs")

if __name__ == "__main__":
    app()
