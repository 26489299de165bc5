"""A dataset with changes: which files are written anew, and which are taken over from the source."""

import os
from collections.abc import Iterator
from pathlib import Path

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.labels.exports import folder
from valuecurve.labels.exports.changes import Changes, Kept
from valuecurve.labels.exports.data_files import rewrite_data
from valuecurve.labels.exports.metadata import write_metadata

LINKED = ("videos", "images")  # folders of a dataset that tools only read


def rewrite_tables(kept: Kept, changes: Changes, target: Path) -> set[Path]:
    """Write the data files and the metadata with the changes below `target`.

    Returns:
        the paths of the dataset, relative to it, that need not be taken over.
    """
    return rewrite_data(kept, changes.arrays(kept), target) | write_metadata(kept, changes, target)


def take_over(kept: Kept, written: set[Path], values: Path, target: Path) -> tuple[int, int]:
    """Link or copy every file of the dataset that was not written anew, some of the Hub's at a time.

    Returns:
        how many were hard-linked, and how many bytes were copied because links were not possible.
    """
    linked = copied = 0
    files = {file.source: file for file in _unchanged(kept, written, values, target)}
    for batch in kept.dataset.in_batches(files):
        links, copies = folder.take_over(files[path] for path in batch)
        linked, copied = linked + links, copied + copies
    return linked, copied


def _unchanged(kept: Kept, written: set[Path], values: Path, target: Path) -> Iterator[folder.Taken]:
    """Every file that was not written anew; sidecars and hidden files stay behind."""
    dataset, root, moved = kept.dataset, kept.dataset.root, kept.moved_files(target)
    left = {(root / "values").resolve(), values.resolve()}
    pictures = {path.relative_to(root) for path in dataset.data_files if _holds_images(dataset)}
    known = written | {Path(folder.MARK)}
    for relative in _files(dataset, left):
        new = moved.get(relative, relative)
        if relative not in known and new is not None:
            link = relative.parts[0] in LINKED or relative in pictures
            yield folder.Taken(root / relative, target / new, link)


def _files(dataset: EpisodeDataset, left: set[Path]) -> Iterator[Path]:
    """All files of the dataset, relative to it, but hidden ones and those below the folders `left`."""
    if dataset.hub is not None:  # also what is not fetched yet
        names = [Path(name) for name in dataset.hub.sizes]
        yield from (p for p in names if p.parts[0] != "values" and not any(n[0] == "." for n in p.parts))
        return
    for place, folders, names in os.walk(dataset.root, followlinks=True):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if name[0] != "." and (here / name).resolve() not in left
        )
        yield from ((here / name).relative_to(dataset.root) for name in sorted(names) if name[0] != ".")


def _holds_images(dataset: EpisodeDataset) -> bool:
    """Whether images lie in the data files themselves."""
    return any(feature.get("dtype") == "image" for feature in dataset.info["features"].values())
