"""The frame table: all parquet data files of a dataset as one Arrow table, one row per frame.

Scalar columns and the state are read; images stay in their files (see video.py), and actions and other
vectors are not needed by value functions. No Python loop runs over frames.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import)

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from valuecurve.episodes.layout import DatasetError, open_parquet, unreadable

MANY_FILES = 1000  # from here on reading takes seconds and shows a progress bar
INDEX_COLUMNS = ("episode_index", "frame_index", "task_index")


@dataclass
class FrameTable:
    """Frames sorted by (episode_index, frame_index), the file of each row, and a digest of each file."""

    table: pa.Table
    file_of_row: np.ndarray  # int32 [N], position in the list of files
    digests: list[str]


def read_frames(
    files: Sequence[Path], features: dict, state_key: str | None, image_keys: Sequence[str]
) -> FrameTable:
    """Read all data files. Errors name the file (and episode and frame where there is one)."""

    def read(path: Path) -> tuple[pa.Table, str] | DatasetError:
        try:
            return _read_file(path, features, state_key, image_keys)
        except DatasetError as error:
            return error

    with ThreadPoolExecutor(4) as pool:  # of 1 to 8 threads the fastest on 3,000 small files
        bar = {"console": Console(stderr=True), "transient": True, "disable": len(files) < MANY_FILES}
        results = list(track(pool.map(read, files), "reading data files", len(files), **bar))
    errors = [str(result) for result in results if isinstance(result, DatasetError)]
    if errors:
        raise DatasetError("\n".join(errors))
    parts = [result for result in results if not isinstance(result, DatasetError)]
    tables = [table for table, _ in parts]
    try:
        table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise DatasetError(f"{files[0].parent}: the data files do not fit together: {error}") from error
    file_of_row = np.repeat(np.arange(len(files), dtype=np.int32), [t.num_rows for t in tables])
    order = _sort_order(table)
    if order is not None:
        table, file_of_row = table.take(pa.array(order)).combine_chunks(), file_of_row[order]
    return FrameTable(table, file_of_row, [digest for _, digest in parts])


def _read_file(
    path: Path, features: dict, state_key: str | None, image_keys: Sequence[str]
) -> tuple[pa.Table, str]:
    file = open_parquet(path)
    try:
        columns = [field.name for field in file.schema_arrow if _wanted(field, features, state_key)]
        missing = [name for name in (*INDEX_COLUMNS, state_key) if name and name not in columns]
        if missing:
            raise DatasetError(f"{path}: the column {missing[0]!r} is missing")
        table = file.read(columns=columns, use_threads=False)
        digest = _digest(path, file.metadata, image_keys)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    finally:
        file.close()
    for name in INDEX_COLUMNS:
        if not pa.types.is_integer(table[name].type) or table[name].null_count:
            raise DatasetError(f"{path}: {name!r} must be a whole number in every row")
    for position, name in enumerate(columns):
        if name == state_key:
            state = _state_column(path, table, name, features[name])
            table = table.set_column(position, name, state)
        elif pa.types.is_nested(table[name].type):  # shape [1] written as a list
            table = table.set_column(position, name, _unwrapped(path, table, name))
    return table.replace_schema_metadata(None), digest


def _wanted(field: pa.Field, features: dict, state_key: str | None) -> bool:
    if field.name == state_key:
        return True
    if field.name in features and features[field.name].get("dtype") in ("image", "video"):
        return False
    kind = field.type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return list(features.get(field.name, {}).get("shape", ())) == [1] and _scalar(kind.value_type)
    return _scalar(kind)


def _scalar(kind: pa.DataType) -> bool:
    return pa.types.is_primitive(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _unwrapped(path: Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    column = table[name]
    if column.null_count or not pc.all(pc.equal(pc.list_value_length(column), 1)).as_py():
        raise DatasetError(f"{path}: {name!r} must hold one value per frame, as meta/info.json declares")
    return pc.list_flatten(column)


def _state_column(path: Path, table: pa.Table, name: str, feature: dict) -> pa.Array:
    """The state as fixed-size lists of float32, of the dimension that info.json declares."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    size = int(np.prod(feature.get("shape") or [1]))
    if not pa.types.is_nested(column.type):
        values, lengths = column, pa.array(np.where(column.is_valid(), 1, 0))
    else:
        values, lengths = pc.list_flatten(column), pc.fill_null(pc.list_value_length(column), 0)
    wrong = np.flatnonzero(lengths.to_numpy(zero_copy_only=False) != size)
    if len(wrong):
        row = int(wrong[0])
        raise DatasetError(
            f"{path}, {_frame(table, row)}: {name} has {lengths[row].as_py()} values, "
            f"meta/info.json declares {size} ({len(wrong)} such frames in this file)"
        )
    if pa.types.is_nested(values.type):
        raise DatasetError(f"{path}: {name} must be one vector per frame, got {column.type}")
    values = values.cast(pa.float32(), safe=False).fill_null(np.float32("nan"))
    return pa.FixedSizeListArray.from_arrays(values, size)


def _frame(table: pa.Table, row: int) -> str:
    return f"episode {table['episode_index'][row].as_py()}, frame {table['frame_index'][row].as_py()}"


def _sort_order(table: pa.Table) -> np.ndarray | None:
    """Order that sorts by (episode_index, frame_index); None when sorted already, the usual case."""
    episode, frame = table["episode_index"].to_numpy(), table["frame_index"].to_numpy()
    step = np.diff(episode)
    if np.all((step > 0) | ((step == 0) & (np.diff(frame) >= 0))):
        return None
    return np.lexsort((frame, episode))


def _digest(path: Path, metadata: pq.FileMetaData, image_keys: Sequence[str]) -> str:
    """SHA-256 of the file, without its image columns (they may be hundreds of gigabytes)."""
    with path.open("rb") as file:
        if not image_keys:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str((path.stat().st_size, metadata.num_rows)).encode())
        for group in range(metadata.num_row_groups):
            for column in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(column)
                if chunk.path_in_schema.startswith(tuple(f"{key}." for key in image_keys)):
                    digest.update(str(chunk.total_compressed_size).encode())
                    continue
                file.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
                digest.update(file.read(chunk.total_compressed_size))
    return digest.hexdigest()
