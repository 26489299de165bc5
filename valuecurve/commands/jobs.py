"""`valuecurve jobs …`: training and scoring on Hugging Face Jobs."""

from typing import Annotated

import typer

from valuecurve.commands.options import NewTag
from valuecurve.commands.push_options import one_line_errors

jobs = typer.Typer(no_args_is_help=True, help="Train and score on Hugging Face Jobs; progress is on the Hub.")
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

Flavor = Annotated[str, typer.Option(help="Hardware, as `hf jobs hardware` lists it.")]
Timeout = Annotated[str, typer.Option(help="Longest time of an attempt, as 90m or 12h.")]
Attempts = Annotated[int, typer.Option(min=1, help="Runs in all: one that died goes on from the Hub.")]
Source = Annotated[
    str | None,
    typer.Option(
        help='What the job installs: a release, or "valuecurve @ git+https://…"; default: this one.'
    ),
]
Secret = Annotated[
    list[str] | None,
    typer.Option(help="Environment variable to pass on as a secret, such as WANDB_API_KEY; repeated."),
]
Namespace = Annotated[str | None, typer.Option(help="Organisation that the job runs and counts for.")]
Public = Annotated[bool, typer.Option("--public", help="Make the repository public, if it is new.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the job and stop.")]


@jobs.command(context_settings=PASSED_ON)
def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="Recipe (YAML); its keys can be overridden behind it.")],
    repo: Annotated[str, typer.Option(help="Model repository for checkpoints and, at last, the model.")],
    flavor: Flavor = "a10g-large",
    timeout: Timeout = "12h",
    attempts: Attempts = 3,
    source: Source = None,
    secret: Secret = None,
    namespace: Namespace = None,
    public: Public = False,
    dry_run: DryRun = False,
) -> None:
    """Train by a recipe: valuecurve jobs train RECIPE --repo owner/name --data.dataset owner/data …"""
    with one_line_errors():
        from valuecurve.hub.jobs import JobSettings, submit, train_job
        from valuecurve.training import ConfigError

        settings = JobSettings(flavor, timeout, attempts, *_rest(source, secret, namespace, public))
        try:
            job = train_job(recipe, repo, settings, context.args)
        except ConfigError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error
        submit(job, dry_run)


@jobs.command(context_settings=PASSED_ON)
def score(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(help="Value checkpoint of the Hub.")],
    dataset: Annotated[str, typer.Argument(help="LeRobot dataset of the Hub, owner/name@revision.")],
    tag: NewTag,
    repo: Annotated[str, typer.Option(help="Dataset repository for the scores, values/TAG.")],
    flavor: Flavor = "a10g-small",
    timeout: Timeout = "12h",
    attempts: Attempts = 3,
    source: Source = None,
    secret: Secret = None,
    namespace: Namespace = None,
    public: Public = False,
    dry_run: DryRun = False,
) -> None:
    """Score a dataset; further options are those of `valuecurve score`."""
    with one_line_errors():
        from valuecurve.hub.jobs import JobSettings, score_job, submit

        settings = JobSettings(flavor, timeout, attempts, *_rest(source, secret, namespace, public))
        submit(score_job(checkpoint, dataset, tag, repo, settings, context.args), dry_run)


def _rest(source: str | None, secret: list[str] | None, namespace: str | None, public: bool) -> tuple:
    from valuecurve.hub.jobs import SOURCE

    return source or SOURCE, tuple(secret or ()), namespace, public
