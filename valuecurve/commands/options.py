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
NewTag = Annotated[str, typer.Option(help="Name of these scores.")]
Split = Annotated[str, typer.Option(help="test, validation or train, as the checkpoint was trained; or all.")]
SplitCheckpoint = Annotated[
    str | None,
    typer.Option("--checkpoint", help="Of --split: whose split, a folder or a model of the Hub."),
]
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
Cameras = Annotated[str | None, typer.Option(help="Cameras, as top,wrist; default: the checkpoint's.")]
NoState = Annotated[bool, typer.Option("--no-state", help="Leave the state out of the prompts.")]
Statistics = Annotated[
    str | None, typer.Option(help="Dataset key of the state statistics to use; default: this dataset's.")
]
Scale = Annotated[
    float | None, typer.Option(help="Steps of one value unit, in tasks that the checkpoint does not know.")
]
BatchSize = Annotated[int, typer.Option(help="Frames in one forward pass.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, or auto: what the hardware has.")]
Threads = Annotated[
    int | None, typer.Option(help="Forward passes at a time, on a CPU; default: one for each core.")
]
CheckpointRevision = Annotated[str | None, typer.Option(help="Revision of a checkpoint of the Hub.")]
HorizonSeconds = Annotated[float | None, typer.Option(help="The same in seconds.")]  # stands below a horizon
Dark = Annotated[bool, typer.Option("--dark", help="On dark paper; the names end in _dark.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
