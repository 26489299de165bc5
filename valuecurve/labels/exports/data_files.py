"""The data files of a dataset with new columns, and without the frames of dropped episodes.

Other columns keep their types and every bit, images in the tables among them; row groups, compression and the
metadata of the schemas stay. One file, and of it one row group, is in memory at a time.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import open_parquet
from valuecurve.labels.exports.changes import DROPPED, Kept
from valuecurve.labels.exports.schemas import declared

MANY_FILES = 50  # from here on a progress bar
CODECS = {"UNCOMPRESSED": "none", "LZ4_RAW": "lz4"}  # parquet's names -> pyarrow's, where they differ


def rewrite_data(kept: Kept, arrays: dict[str, np.ndarray], target: Path) -> set[Path]:
    """Write the data files with new columns [n] below `target`.

    Returns:
        the paths of all data files of the dataset, relative to it.
    """
    dataset, moved = kept.dataset, kept.moved_files(target)
    files = dataset.data_files
    bar = {"console": Console(stderr=True), "transient": True, "disable": len(files) < MANY_FILES}
    for path in track(files, "writing data files", **bar):
        relative = path.relative_to(dataset.root)
        place = moved.get(relative, relative)
        if place is None:
            continue
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        if not _rewrite_file(kept, path, arrays, target / place):
            (target / place).unlink()  # only dropped episodes
    return {path.relative_to(dataset.root) for path in files}


def _rewrite_file(kept: Kept, path: Path, arrays: dict[str, np.ndarray], target: Path) -> int:
    """One data file, row group by row group; how many frames it has."""
    frames = 0
    with open_parquet(path) as file:
        schema = _with_columns(file.schema_arrow, arrays)
        with pq.ParquetWriter(target, schema, compression=_codec(file.metadata)) as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                rows = kept.place[_dataset_rows(kept.dataset, table)]
                if (rows == DROPPED).any():
                    table, rows = table.filter(pa.array(rows != DROPPED)), rows[rows != DROPPED]
                if not len(rows):
                    continue
                columns = [
                    _cells(arrays[name][rows], schema.field(name).type) if name in arrays else table[name]
                    for name in schema.names
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=len(rows))
                frames += len(rows)
    return frames


def _dataset_rows(dataset: EpisodeDataset, table: pa.Table) -> np.ndarray:
    """The dataset's row of every frame of a table, int64 [n]; data files may hold episodes in any order."""
    episode, frame = (_flat(table[name]) for name in ("episode_index", "frame_index"))
    return dataset.starts[np.searchsorted(dataset.episode_ids, episode)] + frame


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    """One number a frame; some datasets write it as a list of one."""
    if pa.types.is_nested(column.type):
        return np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return column.to_numpy()


def _cells(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Values as a column of the given type, a number or a list of one number a frame."""
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values).cast(kind.value_type), 1)
    if pa.types.is_list(kind):
        offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array(values).cast(kind.value_type))
    return pa.array(values).cast(kind)


def _with_columns(schema: pa.Schema, arrays: dict[str, np.ndarray]) -> pa.Schema:
    """The schema with the new columns at its end."""
    new = {name: values for name, values in arrays.items() if name not in schema.names}
    for name, values in new.items():
        schema = schema.append(pa.field(name, pa.from_numpy_dtype(values.dtype)))
    return declared(
        schema, {name: {"dtype": values.dtype.name, "_type": "Value"} for name, values in new.items()}
    )


def _codec(metadata: pq.FileMetaData) -> str:
    """The compression that most columns of a file have."""
    if not metadata.num_row_groups:
        return "snappy"
    group = metadata.row_group(0)
    seen = Counter(group.column(i).compression for i in range(group.num_columns))
    name = str(seen.most_common(1)[0][0])
    return CODECS.get(name, name.lower())
