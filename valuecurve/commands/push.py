"""`valuecurve push …`: models, label sets, the Space and the metric to the Hub."""

import typer

from valuecurve.commands.push_dataset import dataset

push = typer.Typer(no_args_is_help=True, help="Push to the Hugging Face Hub: listed first, one commit.")
push.command()(dataset)
