"""`valuecurve push dataset`: label sets, or a whole dataset, to the Hub."""

from typing import Annotated

import typer

from valuecurve.commands.options import Values
from valuecurve.commands.push_options import DryRun, Private, PullRequest, Revision, one_line_errors


def dataset(
    dataset: Annotated[
        str,
        typer.Argument(help="A labelled LeRobot dataset (folder, or org/name of the Hub), or an export."),
    ],
    repo: Annotated[str, typer.Argument(help="Dataset repository, owner/name; made where there is none.")],
    tag: Annotated[
        list[str] | None,
        typer.Option(help="Label set to push; may be given again. Without: the dataset itself."),
    ] = None,
    values: Values = None,
    private: Private = False,
    revision: Revision = None,
    pr: PullRequest = False,
    dry_run: DryRun = False,
) -> None:
    """Push label sets, for `datasets.load_dataset(REPO, TAG)`, or a dataset: one commit, with its card."""
    with one_line_errors():
        from valuecurve.hub.datasets import push_dataset
        from valuecurve.hub.upload import Target, print_pushed

        target = Target(repo, "dataset", private, revision, pr)
        pushed = push_dataset(dataset, target, tag or (), values, dry_run)
        print_pushed(pushed, target)
