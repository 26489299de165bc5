"""`valuecurve export`."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import Json, Values

LEROBOT = "lerobot-train --dataset.repo_id=local/labelled --dataset.root={folder}"
NEXT = {  # what to do with an export, by format
    "lerobot": f"{LEROBOT} …; at inference, give the task with the positive indicator",
    "kai0": "train kai0's AWBC on it: repo_id={folder}, prompt_from_task=True",
    "rabc": f"{LEROBOT} --sample_weighting.type=rabc …",
    "evo-rl": f"Evo-RL's {LEROBOT} --acp.enable=true "
    "--acp.indicator_field=complementary_info.acp_indicator_{tag} …",
    "opentau": 'OpenTau, in the configuration of the policy: "advantage": "use", "advantage_threshold": 0',
    "parquet": 'datasets.load_dataset("{folder}")',
}


def export(
    dataset: Annotated[
        str,
        typer.Argument(help="Folder of a labelled LeRobot dataset, or one of the Hub: org/name@revision."),
    ],
    tag: Annotated[str, typer.Option(help="Tag of its labels.")],
    format: Annotated[str, typer.Option(help="lerobot, kai0, rabc, evo-rl, opentau or parquet.")],
    output: Annotated[Path, typer.Option(help="Folder to make.")],
    values: Values = None,
    template: Annotated[
        str | None,
        typer.Option(help="Text of a labelled task, with {task} and {indicator}, or: default, kai0."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an export that is there already.")] = False,
    drop_unlabelled: Annotated[
        bool, typer.Option(help="Leave out the episodes without labels; the others are numbered anew.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the labels of a dataset in somebody's format, as a new dataset; videos are hard-linked."""
    from valuecurve.episodes import DatasetError, open_dataset
    from valuecurve.labels.exports import export_labels

    try:
        made = export_labels(
            open_dataset(dataset),
            tag,
            format,
            output,
            values=values,
            template=template,
            overwrite=overwrite,
            drop_unlabelled=drop_unlabelled,
        )
    except DatasetError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps({**asdict(made), "folder": str(made.folder)}, indent=2, ensure_ascii=False))
        return
    share = made.positive / made.frames
    typer.echo(f"{made.frames} frames of {made.episodes} episodes, {share:.1%} positive: {made.folder}")
    if made.linked:
        typer.echo(f"{made.linked} files hard-linked")
    if made.copied:
        typer.echo(
            f"{made.copied / 1e6:.2f} MB of videos and images copied: {made.folder} is on another disk"
        )
    folder = str(made.folder) if format == "parquet" else shlex.quote(str(made.folder))
    typer.echo(NEXT[format].replace("{folder}", folder).replace("{tag}", tag))
