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


def unchanged(kept: Kept, written: set[Path], values: Path, target: Path) -> Iterator[folder.Taken]:
    """Every file of the dataset that was not written anew; its sidecars and hidden files stay behind."""
    dataset, root, moved = kept.dataset, kept.dataset.root, kept.moved_files(target)
    left = {(root / "values").resolve(), values.resolve()}
    pictures = {path.relative_to(root) for path in dataset.data_files if _holds_images(dataset)}
    for place, folders, names in os.walk(root, followlinks=True):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if name[0] != "." and (here / name).resolve() not in left
        )
        for name in sorted(names):
            relative = (here / name).relative_to(root)
            new = moved.get(relative, relative)
            if name[0] == "." or relative in written or relative == Path(folder.MARK) or new is None:
                continue
            yield folder.Taken(here / name, target / new, relative.parts[0] in LINKED or relative in pictures)


def _holds_images(dataset: EpisodeDataset) -> bool:
    """Whether images lie in the data files themselves."""
    return any(feature.get("dtype") == "image" for feature in dataset.info["features"].values())
