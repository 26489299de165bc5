"""Options that all `valuecurve push …` commands share.

There is none for the token: on a command line it would stay in the history of the shell. It comes from
HF_TOKEN, or from `hf auth login`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

Private = Annotated[bool, typer.Option("--private", help="Make the repository private, if it is new.")]
Revision = Annotated[str | None, typer.Option(help="Branch to push to; made where there is none.")]
PullRequest = Annotated[bool, typer.Option("--pr", help="Open a pull request instead of pushing.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List what would be pushed, with sizes, and stop: no network.")
]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What a push refuses, as `error: …` and exit status 1."""
    from valuecurve.episodes import DatasetError
    from valuecurve.hub import HubError

    try:
        yield
    except (DatasetError, HubError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("interrupted: run the same command again, it continues", err=True)
        raise typer.Exit(130) from None
