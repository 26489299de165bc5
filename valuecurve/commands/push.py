"""`valuecurve push …`: models, label sets, the Space and the metric to the Hub."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from valuecurve.commands.push_dataset import dataset
from valuecurve.commands.push_options import DryRun, Private, PullRequest, Revision, one_line_errors

push = typer.Typer(no_args_is_help=True, help="Push to the Hugging Face Hub: listed first, one commit.")
push.command()(dataset)


@push.command()
def model(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a checkpoint, a run, or an adapter.")],
    repo: Annotated[str, typer.Argument(help="Repository to push to, owner/name; made if it is not there.")],
    private: Private = False,
    revision: Revision = None,
    pr: PullRequest = False,
    dry_run: DryRun = False,
    weights: Annotated[
        Literal["ema", "raw"] | None,
        typer.Option(help="Averaged weights, or those of the optimiser; default: as training exported them."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder that valuecurve evaluate wrote; default: report/ beside it.")
    ] = None,
    dataset_id: Annotated[
        list[str] | None,
        typer.Option(help="Name on the Hub of the dataset trained on; repeated, in the order of a mixture."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Of an adapter: the model of the Hub that it adapts.")
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Licence of the weights; default: what the backbones ask for.")
    ] = None,
    max_shard_size: Annotated[str, typer.Option(help="Largest file of weights.")] = "5GB",
) -> None:
    """Push a checkpoint: weights, code, processor, split, recipe, card and results, in one commit."""
    with one_line_errors():
        from transformers.utils.logging import disable_progress_bar

        from valuecurve.hub.models import push_model
        from valuecurve.hub.upload import Target, print_pushed

        disable_progress_bar()  # of weights that are read or written
        target = Target(repo, "model", private, revision, pr)
        pushed = push_model(
            checkpoint,
            target,
            weights=weights,
            base=base,
            report=report,
            dataset_ids=dataset_id,
            license=license,
            max_shard=max_shard_size,
            dry_run=dry_run,
        )
        print_pushed(pushed, target)


@push.command()
def space(
    repo: Annotated[str, typer.Argument(help="Space to push to, owner/name; made if it is not there.")],
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="For visitors to choose: org/model or name=org/model@revision; repeated."),
    ] = None,
    private: Private = False,
    revision: Revision = None,
    pr: PullRequest = False,
    dry_run: DryRun = False,
) -> None:
    """Push the Gradio Space that shows value curves, with the package's source beside its app."""
    with one_line_errors():
        from valuecurve.hub.spaces import push_space
        from valuecurve.hub.upload import Target, print_pushed

        target = Target(repo, "space", private, revision, pr)
        print_pushed(push_space(target, checkpoint or (), dry_run=dry_run), target)


@push.command()
def metric(
    repo: Annotated[str, typer.Argument(help="Space to push to: owner/value_metrics.")],
    private: Private = False,
    revision: Revision = None,
    pr: PullRequest = False,
    dry_run: DryRun = False,
) -> None:
    """Push the evaluate module of the value metrics: evaluate.load("owner/value_metrics") then finds it."""
    with one_line_errors():
        from valuecurve.hub.spaces import push_metric
        from valuecurve.hub.upload import Target, print_pushed

        target = Target(repo, "space", private, revision, pr)
        print_pushed(push_metric(target, dry_run=dry_run), target)
