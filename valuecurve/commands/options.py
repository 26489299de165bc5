"""Arguments and options that several commands share. Their defaults stand with the commands."""

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[
    str, typer.Argument(help="Folder of a LeRobot dataset, or one of the Hub: org/name@revision.")
]
ScoredDataset = Annotated[
    str, typer.Argument(help="Folder of a scored LeRobot dataset, or one of the Hub: org/name@revision.")
]
Checkpoint = Annotated[str, typer.Argument(help="Value checkpoint: a folder, or a model of the Hub.")]
Tag = Annotated[str, typer.Option(help="Tag of its scores.")]
Values = Annotated[Path | None, typer.Option(help="Folder of the sidecars instead of DATASET/values.")]
OutcomeColumn = Annotated[
    str | None, typer.Option(help="Column that holds success or failure, instead of the usual ones.")
]
AssumeOutcome = Annotated[
    str | None, typer.Option(help="success or failure: what to take for episodes without an outcome.")
]
RewardColumn = Annotated[
    str | None, typer.Option(help="Column of dense rewards, in steps; default: -1 a step.")
]
Fail = Annotated[
    str | None, typer.Option(help="floor or penalty: what a failure costs; default: as in training.")
]
FailPenalty = Annotated[
    float | None, typer.Option(help="Steps, for --fail penalty; default: as in training.")
]
Dark = Annotated[bool, typer.Option("--dark", help="On dark paper; the names end in _dark.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
