"""`export_labels`: a label set as a new dataset, in one of the formats."""

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import valuecurve
from valuecurve.advantages import indicator_text
from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError
from valuecurve.labels.exports import folder
from valuecurve.labels.exports.formats import (
    FORMATS,
    SIDECARS,
    TEMPLATES,
    changes_of,
    write_flat,
    write_sidecar,
)
from valuecurve.labels.exports.rewriting import check_columns, rewrite_tables, write_json, write_tasks_jsonl
from valuecurve.labels.label_set import LabelSet, read_labels

LINKED = ("videos", "images")  # folders of a dataset that tools only read


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

    Raises:
        DatasetError: an unknown format, an output that exists or lies in the source, labels that are missing
            for some episodes or are of another dataset, a column that the source has already, a full disk.
    """
    output, sidecars = Path(output), Path(values) if values is not None else None
    template = _checked_template(_known(format), template)
    folder.check_place(output, dataset.root, sidecars, overwrite)
    labels = read_labels(dataset, tag, values)
    if format != "parquet":
        _check_complete(dataset, labels, format, tag)
    with folder.new_folder(output) as target:
        linked = copied = 0
        if format == "parquet":
            write_flat(dataset, labels, template, target)
        else:
            written = _write_dataset(format, dataset, labels, tag, template, target)
            linked, copied = folder.take_over(unchanged(dataset, written, labels.folder.parent, target))
        write_json(_provenance(labels, tag, format, template), target / folder.MARK)
    episodes = len(np.unique(labels.episode_index))
    positive = int(labels.positive.sum())
    return Exported(output, format, len(labels.rows), episodes, positive, linked, copied)


def _write_dataset(
    format: str, dataset: EpisodeDataset, labels: LabelSet, tag: str, template: str, target: Path
) -> set[Path]:
    """Write what a format changes or adds; its paths, relative to the dataset."""
    if format in SIDECARS:
        return {write_sidecar(format, dataset, labels, target).relative_to(target)}
    changes = changes_of(format, dataset, labels, tag, template)
    check_columns(dataset, changes)
    written = rewrite_tables(dataset, changes, target)
    if format == "kai0" and changes.tasks is not None:  # its reader knows no other list of tasks
        write_tasks_jsonl(changes.tasks, target / "meta/tasks.jsonl")
        written.add(Path("meta/tasks.jsonl"))
    return written


def unchanged(
    dataset: EpisodeDataset, written: set[Path], values: Path, target: Path
) -> Iterator[folder.Taken]:
    """Every file of the dataset that was not written anew; its sidecars and hidden files stay behind."""
    root = dataset.root
    left = {(root / "values").resolve(), values.resolve()}
    pictures = {path.relative_to(root) for path in dataset.data_files if _holds_images(dataset)}
    for place, folders, names in os.walk(root, followlinks=True):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if name[0] != "." and (here / name).resolve() not in left
        )
        for name in sorted(names):
            relative = (here / name).relative_to(root)
            if name[0] == "." or relative in written or relative == Path(folder.MARK):
                continue
            link = relative.parts[0] in LINKED or relative in pictures
            yield folder.Taken(here / name, target / relative, link)


def _holds_images(dataset: EpisodeDataset) -> bool:
    """Whether images lie in the data files themselves."""
    return any(feature.get("dtype") == "image" for feature in dataset.info["features"].values())


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
    template = template or TEMPLATES[format]
    try:
        indicator_text("task", True, template)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    return template


def _check_complete(dataset: EpisodeDataset, labels: LabelSet, format: str, tag: str) -> None:
    """Every frame needs a label: readers would take one without for negative, positive, or fail."""
    missing = np.setdiff1d(dataset.episode_ids, labels.episode_index).tolist()
    if not missing:
        return
    some = ", ".join(map(str, missing[:10])) + (f" … ({len(missing)} in all)" if len(missing) > 10 else "")
    raise DatasetError(
        f"{dataset.root}: no labels under {tag!r} for episode{'s' if len(missing) > 1 else ''} {some}; the "
        f"format {format!r} needs one for every frame. Score and label the rest, or export the labelled "
        "frames alone: --format parquet"
    )


def _provenance(labels: LabelSet, tag: str, format: str, template: str) -> dict:
    """What the export was made from; the same export gives the same bytes."""
    return {
        "format": format,
        "tag": tag,
        "template": template or None,
        "valuecurve": valuecurve.__version__,
        **{key: labels.manifest[key] for key in ("dataset", "scores", "labels")},
    }
