"""`export_labels`: a label set as a new dataset, in one of the formats."""

import difflib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

import valuecurve
from valuecurve.advantages import indicator_text
from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError
from valuecurve.labels.exports import folder
from valuecurve.labels.exports.changes import Kept, check_columns
from valuecurve.labels.exports.formats import (
    FORMATS,
    SIDECARS,
    TEMPLATES,
    changes_of,
    write_flat,
    write_sidecar,
)
from valuecurve.labels.exports.metadata import write_json, write_tasks_jsonl
from valuecurve.labels.exports.rewriting import rewrite_tables, take_over
from valuecurve.labels.label_set import LabelSet, read_labels
from valuecurve.labels.shares import label_shares

PICTURE = "labels.png"  # the histograms of the labels, which an export takes along


@dataclass
class Exported:
    """What an export has made."""

    folder: Path
    format: str
    frames: int
    episodes: int
    positive: int  # frames
    linked: int  # files that are hard links to the source's
    copied: int  # bytes that had to be copied, because the output lies on another file system


def export_labels(
    dataset: EpisodeDataset,
    tag: str,
    format: str,
    output: str | Path,
    *,
    values: str | Path | None = None,
    template: str | None = None,
    overwrite: bool = False,
    drop_unlabelled: bool = False,
) -> Exported:
    """Write the labels of a tag as a new dataset; the source is only read.

    Args:
        dataset: the labelled dataset.
        tag: the tag of its labels.
        format: one of FORMATS.
        output: the folder to make; it is there when the export is whole, and not before.
        values: the folder of sidecars; DATASET/values when None.
        template: text of a labelled task with {task} and {indicator}, or a preset (`advantages.TEMPLATES`);
            the format's own when None.
        overwrite: replace an export that is at `output` already.
        drop_unlabelled: leave out the episodes that have no labels; the others are numbered anew. Without it,
            unlabelled episodes are an error in all formats but "parquet", which holds the labels alone.

    Raises:
        DatasetError: an unknown format, an output that exists or lies in the source, labels that are missing
            for some episodes or are of another dataset, a column that the source has already, a full disk.
    """
    output, sidecars = Path(output), Path(values) if values is not None else None
    template = _checked_template(_known(format), template)
    folder.check_place(output, dataset.root, sidecars, overwrite)
    labels = read_labels(dataset, tag, values)
    kept = Kept(dataset, dataset.episode_positions(np.unique(labels.episode_index).tolist()))
    if format != "parquet" and not drop_unlabelled:
        _check_complete(kept, format, tag)
    with folder.new_folder(output) as target:
        linked = copied = 0
        if format == "parquet":
            write_flat(dataset, labels, template, target)
        else:
            written = _write_dataset(format, kept, _renumbered(labels, kept), tag, template, target)
            linked, copied = take_over(kept, written, labels.folder.parent, target)
        write_json(_provenance(labels, kept, tag, format, template), target / folder.MARK)
        if (labels.folder / PICTURE).is_file():
            shutil.copyfile(labels.folder / PICTURE, target / PICTURE)
    positive = int(labels.positive.sum())
    return Exported(output, format, len(labels.rows), len(kept.positions), positive, linked, copied)


def _renumbered(labels: LabelSet, kept: Kept) -> LabelSet:
    """The labels with the numbers that episodes and frames have in the export."""
    table = labels.table
    for name, values in kept.new_numbers().items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return replace(labels, table=table)


def _write_dataset(
    format: str, kept: Kept, labels: LabelSet, tag: str, template: str, target: Path
) -> set[Path]:
    """Write what a format changes or adds; its paths, relative to the dataset."""
    dataset, written = kept.dataset, set()
    changes = changes_of(format, kept, labels, tag, template)
    check_columns(dataset, changes)
    if changes.arrays(kept):
        written |= rewrite_tables(kept, changes, target)
    if format in SIDECARS:
        written.add(write_sidecar(format, dataset, labels, target).relative_to(target))
    if format == "kai0" and changes.tasks is not None:  # its reader knows no other list of tasks
        write_tasks_jsonl(changes.tasks, target / "meta/tasks.jsonl")
        written.add(Path("meta/tasks.jsonl"))
    return written


def _known(format: str) -> str:
    if format in FORMATS:
        return format
    near = difflib.get_close_matches(format.lower(), FORMATS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FORMATS)}"
    raise DatasetError(f"unknown format {format!r}; {hint}")


def _checked_template(format: str, template: str | None) -> str:
    if format not in TEMPLATES:
        if template is not None:
            raise DatasetError(
                f"the format {format!r} writes no task texts, so --template has no effect; drop it"
            )
        return ""
    template = TEMPLATES[format] if template is None else template
    try:
        indicator_text("task", True, template)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    return template


def _check_complete(kept: Kept, format: str, tag: str) -> None:
    """Every frame needs a label: readers would take one without for negative, positive, or fail."""
    missing = np.delete(kept.dataset.episode_ids, kept.positions).tolist()
    if not missing:
        return
    some = ", ".join(map(str, missing[:10])) + (f" … ({len(missing)} in all)" if len(missing) > 10 else "")
    raise DatasetError(
        f"{kept.dataset.root}: no labels under {tag!r} for episode{'s' if len(missing) > 1 else ''} {some}; "
        f"the format {format!r} needs one for every frame. Score and label the rest, or leave these episodes "
        "out: --drop-unlabelled"
    )


def _provenance(labels: LabelSet, kept: Kept, tag: str, format: str, template: str) -> dict:
    """What the export was made from; the same export gives the same bytes."""
    return {
        "format": format,
        "tag": tag,
        "template": template or None,
        "episodes": "all" if kept.all else kept.dataset.episode_ids[kept.positions].tolist(),
        "valuecurve": valuecurve.__version__,
        **{key: labels.manifest[key] for key in ("dataset", "scores", "labels")},
        "shares": label_shares(labels, kept.dataset.tasks),
    }
