"""A label set: advantages and indicators of a dataset under a tag, in `labels.parquet` beside its scores.

`write_labels` replaces the file as a whole; `read_labels` gives it back once all is checked. The scores
of the tag are never touched, so that a dataset may be labelled as often as one likes.

Deliberately absent: how labels are made (making.py) and how others want them (the exports).
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError, read_parquet
from valuecurve.scoring.scores import (
    check_dataset,
    kept_folder,
    read_manifest,
    tag_folder,
    write_manifest,
    write_part,
)

FILE = "labels.parquet"
COLUMNS = {  # name: type; these are always there. `return` is null where no reward is known
    "index": pa.int64(),
    "episode_index": pa.int64(),
    "frame_index": pa.int64(),
    "task_index": pa.int64(),
    "value": pa.float32(),
    "value_std": pa.float32(),
    "return": pa.float32(),
    "advantage": pa.float32(),
    "positive": pa.bool_(),
    "intervention": pa.bool_(),
}
OPTIONAL_COLUMNS = {
    "stage": pa.int32(),
    "slice": pa.int32(),
    "relative": pa.float32(),
    "absolute_value": pa.float32(),
    "absolute_advantage": pa.float32(),
}


@dataclass
class LabelSet:
    """n labelled frames, in dataset order: whole episodes, usually all of them."""

    folder: Path  # V/T
    manifest: dict
    rows: np.ndarray  # int64 [n]: rows of the dataset, ascending
    table: pa.Table  # [n], columns as in COLUMNS and OPTIONAL_COLUMNS

    @property
    def settings(self) -> dict:
        """How the labels were made: manifest["labels"]."""
        return self.manifest["labels"]

    @cached_property
    def index(self) -> np.ndarray:
        """The dataset's own frame number, int64 `[n]`."""
        return self._array("index")

    @cached_property
    def episode_index(self) -> np.ndarray:
        """int64 `[n]`"""
        return self._array("episode_index")

    @cached_property
    def frame_index(self) -> np.ndarray:
        """int64 `[n]`"""
        return self._array("frame_index")

    @cached_property
    def task_index(self) -> np.ndarray:
        """int64 `[n]`; may change inside an episode."""
        return self._array("task_index")

    @cached_property
    def value(self) -> np.ndarray:
        """V(t), float32 `[n]`, value units."""
        return self._array("value")

    @cached_property
    def value_std(self) -> np.ndarray:
        """Standard deviation of the predicted distribution, float32 `[n]`, value units."""
        return self._array("value_std")

    @cached_property
    def returns(self) -> np.ndarray:
        """G_t / scale, float32 `[n]`, value units; NaN where no reward is known."""
        return self._array("return")

    @cached_property
    def advantage(self) -> np.ndarray:
        """A_t, float32 `[n]`, value units."""
        return self._array("advantage")

    @cached_property
    def positive(self) -> np.ndarray:
        """The indicator, bool `[n]`."""
        return self._array("positive")

    @cached_property
    def intervention(self) -> np.ndarray:
        """Frames that a human drove, bool `[n]`."""
        return self._array("intervention")

    @property
    def stage(self) -> np.ndarray | None:
        """0 ... stages - 1, int32 `[n]`; None where labels are not made per stage."""
        return self._array("stage") if "stage" in self.table.column_names else None

    @property
    def slice(self) -> np.ndarray | None:
        """0 (lowest advantages) ... slices - 1, int32 `[n]`; None without slices."""
        return self._array("slice") if "slice" in self.table.column_names else None

    def _array(self, name: str) -> np.ndarray:
        return self.table[name].to_numpy()


def write_labels(
    dataset: EpisodeDataset, tag: str, table: pa.Table, settings: dict, values: str | Path | None = None
) -> LabelSet:
    """Write the labels of a tag, in place of any that it had; the manifest of its scores gets "labels".

    Args:
        dataset: the labelled dataset.
        tag: a tag that has scores.
        table: columns as in COLUMNS and OPTIONAL_COLUMNS, in dataset order.
        settings: how the labels were made, ready for JSON.
        values: the folder of sidecars; DATASET/values when None.

    Raises:
        DatasetError: the tag has no scores, or the folder cannot be written (read-only, full).
    """
    folder = tag_folder(dataset, tag, values)
    manifest = {**read_manifest(folder), "labels": settings}
    fields = [(name, kind) for name, kind in {**COLUMNS, **OPTIONAL_COLUMNS}.items() if _wanted(name, table)]
    metadata = {"labels": _canonical(settings), "scores": scores_digest(manifest)}
    table = table.select([name for name, _ in fields]).cast(pa.schema(fields))
    table = table.replace_schema_metadata(metadata)
    write_part(folder / FILE, table)
    write_manifest(folder, manifest)
    return LabelSet(folder, manifest, _rows(dataset, table, folder / FILE), table)


def read_labels(dataset: EpisodeDataset, tag: str, values: str | Path | None = None) -> LabelSet:
    """The labels of a tag.

    Args:
        dataset: the dataset that was labelled, as it is on disk.
        tag: the tag.
        values: the folder of sidecars; DATASET/values when None.

    Raises:
        DatasetError: no labels; labels of another dataset or revision, of scores that were replaced since, or
            that were interrupted half-way; a damaged file; NaN.
    """
    folder = kept_folder(dataset, tag, values)
    path = folder / FILE
    manifest = read_manifest(folder)
    place = dataset.hub.repo if dataset.hub else dataset.root
    elsewhere = "" if values is None else f" --values {values}"
    again = f"label again: valuecurve label {place} --tag {tag}{elsewhere}"
    if "labels" not in manifest or not path.is_file():
        raise DatasetError(f"{folder} has no labels; {again}")
    check_dataset(folder, manifest, dataset)
    table = _read(path, again)
    metadata = table.schema.metadata or {}
    if metadata.get(b"scores", b"").decode() != scores_digest(manifest):
        raise DatasetError(f"{path} was made from other scores than those beside it; {again}")
    if metadata.get(b"labels", b"").decode() != _canonical(manifest["labels"]):
        raise DatasetError(f"{path} and its manifest differ: labelling was interrupted; {again}")
    return LabelSet(folder, manifest, _rows(dataset, table, path), table)


def scores_digest(manifest: dict) -> str:
    """A short hash of manifest["scores"]: which scores a label set was made from."""
    return hashlib.sha256(_canonical(manifest.get("scores")).encode()).hexdigest()[:16]


def _wanted(name: str, table: pa.Table) -> bool:
    return name in COLUMNS or name in table.column_names


def _canonical(value) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _read(path: Path, again: str) -> pa.Table:
    table = read_parquet(path)
    expected = {**COLUMNS, **OPTIONAL_COLUMNS}
    missing = [name for name in COLUMNS if name not in table.column_names]
    wrong = [f.name for f in table.schema if f.name in expected and f.type != expected[f.name]]
    if missing or wrong:
        seen = ", ".join(missing + wrong)
        raise DatasetError(f"{path}: columns are missing or of another type: {seen}; {again}")
    empty = [name for name in expected if name != "return" and name in table.column_names]
    empty = [name for name in empty if table[name].null_count or not table.num_rows]
    if empty:
        raise DatasetError(f"{path}: the column {empty[0]!r} is not filled in; {again}")
    return table.select([name for name in table.column_names if name in expected])  # of the Hub it has more


def _rows(dataset: EpisodeDataset, table: pa.Table, path: Path) -> np.ndarray:
    """Rows of the dataset `[n]`, with everything that a reader relies on checked."""
    episode, frame = table["episode_index"].to_numpy(), table["frame_index"].to_numpy()
    position = np.minimum(np.searchsorted(dataset.episode_ids, episode), len(dataset.episode_ids) - 1)
    rows = np.clip(dataset.starts[position] + frame, 0, len(dataset.frame_index) - 1)
    own = dataset.frames["index"].to_numpy() if "index" in dataset.frames.column_names else rows
    same = (dataset.episode_index[rows] == episode) & (dataset.frame_index[rows] == frame)
    same &= (own[rows] == table["index"].to_numpy()) & (dataset.task_index[rows] == table["task_index"])
    same[1:] &= np.diff(rows) > 0
    finite = np.isfinite(table["advantage"].to_numpy()) & np.isfinite(table["value"].to_numpy())
    whole = np.isin(episode, _whole_episodes(dataset, episode))
    for fine, what in (
        (same, "is not in the dataset, or out of order"),
        (finite, "has a value that is NaN"),
        (whole, "is of an episode that is not labelled whole"),
    ):
        if not fine.all():
            row = int(np.flatnonzero(~fine)[0])
            raise DatasetError(f"{path}: episode {episode[row]}, frame {frame[row]} {what}; label again")
    return rows


def _whole_episodes(dataset: EpisodeDataset, episode: np.ndarray) -> np.ndarray:
    """Those of the episodes of these frames `[n]` that have as many frames as in the dataset."""
    seen, counts = np.unique(episode, return_counts=True)
    place = np.searchsorted(dataset.episode_ids, seen).clip(max=len(dataset.episode_ids) - 1)
    return seen[(dataset.episode_ids[place] == seen) & (dataset.lengths[place] == counts)]
