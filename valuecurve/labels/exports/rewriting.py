"""The tables of a dataset with new columns and new tasks: its data files and its metadata, v3.0 and v2.1.

Everything that does not change is taken over as it is: other columns with their types, images in the tables
byte for byte, row groups, compression, the metadata of the schemas, other keys of the JSON files. One file,
and of it one row group, is in memory at a time.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError, open_parquet, read_jsonl, read_parquet
from valuecurve.labels.exports.statistics import dataset_statistics, episode_statistics

MANY_FILES = 50  # from here on a progress bar
V21_STATISTICS = ("min", "max", "mean", "std", "count")  # v2.1 keeps no quantiles
CODECS = {"UNCOMPRESSED": "none", "LZ4_RAW": "lz4"}  # parquet's names -> pyarrow's, where they differ


@dataclass
class Changes:
    """What an export changes in the tables. N frames in dataset order.

    Attributes:
        columns: new features by name, `[N]` each: float32, int64 or bool. Declared, with statistics.
        task_index: the task of every frame, int64 `[N]`; None where tasks stay as they are.
        tasks: all task texts, position = task_index; given together with `task_index`.
    """

    columns: dict[str, np.ndarray] = field(default_factory=dict)
    task_index: np.ndarray | None = None
    tasks: list[str] | None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All columns that are written, the task_index among them."""
        tasks = {} if self.task_index is None else {"task_index": self.task_index}
        return {**self.columns, **tasks}


def check_columns(dataset: EpisodeDataset, changes: Changes) -> None:
    """Raises DatasetError when the dataset has a feature or a column of a new name already."""
    known = {*dataset.info["features"], *dataset.frames.column_names}
    taken = [name for name in changes.columns if name in known]
    if taken:
        raise DatasetError(
            f"{dataset.root} has the column {taken[0]!r} already, and exports change no column. "
            "Export from the dataset without it (is this an export?)"
        )


def rewrite_tables(dataset: EpisodeDataset, changes: Changes, target: Path) -> set[Path]:
    """Write the data files and the metadata with the changes below `target`.

    Returns:
        the paths of the dataset, relative to it, that were written anew.
    """
    written = _rewrite_data(dataset, changes, target)
    written |= {Path("meta/info.json")}
    _write_info(dataset, changes, target)
    statistics = {
        name: episode_statistics(values, dataset.lengths) for name, values in changes.arrays.items()
    }
    if dataset.version == "v2.1":
        return written | _write_v21(dataset, changes, statistics, target)
    return written | _write_v30(dataset, changes, statistics, target)


# -- data files --------------------------------------------------------------------------------------------


def _rewrite_data(dataset: EpisodeDataset, changes: Changes, target: Path) -> set[Path]:
    files = dataset.data_files
    bar = {"console": Console(stderr=True), "transient": True, "disable": len(files) < MANY_FILES}
    written = set()
    for path in track(files, "writing data files", **bar):
        relative = path.relative_to(dataset.root)
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        _rewrite_file(dataset, path, changes.arrays, target / relative)
        written.add(relative)
    return written


def _rewrite_file(dataset: EpisodeDataset, path: Path, arrays: dict[str, np.ndarray], target: Path) -> None:
    """One data file, row group by row group."""
    with open_parquet(path) as file:
        schema = _with_features(file.schema_arrow, arrays)
        codec = _codec(file.metadata)
        with pq.ParquetWriter(target, schema, compression=codec) as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                rows = _dataset_rows(dataset, table)
                columns = [
                    _cells(arrays[name][rows], name, schema.field(name).type)
                    if name in arrays
                    else table[name]
                    for name in schema.names
                ]
                table = pa.Table.from_arrays(columns, schema=schema)
                writer.write_table(table, row_group_size=max(table.num_rows, 1))


def _dataset_rows(dataset: EpisodeDataset, table: pa.Table) -> np.ndarray:
    """The dataset's row of every frame of a table, int64 [n]; data files may hold episodes in any order."""
    episode, frame = (_flat(table[name]) for name in ("episode_index", "frame_index"))
    return dataset.starts[np.searchsorted(dataset.episode_ids, episode)] + frame


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    """One number a frame; some datasets write it as a list of one."""
    if pa.types.is_nested(column.type):
        return np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return column.to_numpy()


def _cells(values: np.ndarray, name: str, kind: pa.DataType) -> pa.Array:
    """Values as a column of the given type, a number or a list of one number a frame."""
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values).cast(kind.value_type), 1)
    if pa.types.is_list(kind):
        offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array(values).cast(kind.value_type))
    return pa.array(values).cast(kind)


def _with_features(schema: pa.Schema, arrays: dict[str, np.ndarray]) -> pa.Schema:
    """The schema with the new columns at its end, declared in the metadata of `datasets` if it has any."""
    new = {name: values for name, values in arrays.items() if name not in schema.names}
    for name, values in new.items():
        schema = schema.append(pa.field(name, pa.from_numpy_dtype(values.dtype)))
    kinds = {name: {"dtype": values.dtype.name, "_type": "Value"} for name, values in new.items()}
    return _declared(schema, kinds)


def _declared(schema: pa.Schema, kinds: dict[str, dict]) -> pa.Schema:
    """The schema with features added to the `huggingface` metadata, where it has that."""
    metadata = dict(schema.metadata or {})
    if b"huggingface" not in metadata:
        return schema
    content = json.loads(metadata[b"huggingface"])
    features = content.setdefault("info", {}).setdefault("features", {})
    features.update(kinds)
    return schema.with_metadata({**metadata, b"huggingface": json.dumps(content).encode()})


def _codec(metadata: pq.FileMetaData) -> str:
    """The compression that most columns of a file have."""
    if not metadata.num_row_groups:
        return "snappy"
    group = metadata.row_group(0)
    seen = Counter(group.column(i).compression for i in range(group.num_columns))
    name = str(seen.most_common(1)[0][0])
    return CODECS.get(name, name.lower())


# -- metadata ----------------------------------------------------------------------------------------------


def _write_info(dataset: EpisodeDataset, changes: Changes, target: Path) -> None:
    """info.json as it is, with the new features and the number of tasks."""
    path = Path("meta/info.json")
    info = json.loads((dataset.root / path).read_text(encoding="utf-8"))
    for name, values in changes.columns.items():
        info["features"][name] = {"dtype": values.dtype.name, "shape": [1], "names": None}
    if changes.tasks is not None:
        info["total_tasks"] = len(changes.tasks)
    write_json(info, target / path)


def _write_v30(
    dataset: EpisodeDataset, changes: Changes, statistics: dict[str, dict[str, np.ndarray]], target: Path
) -> set[Path]:
    written = {Path("meta/stats.json")}
    _write_stats_json(dataset, changes, target)
    if changes.tasks is not None:
        written.add(Path("meta/tasks.parquet"))
        index = pd.Index(changes.tasks, name="task")  # LeRobot looks tasks up by their position
        frame = pd.DataFrame({"task_index": np.arange(len(changes.tasks))}, index=index)
        frame.to_parquet(target / "meta/tasks.parquet")
    texts = _episode_tasks(dataset, changes)
    for path in sorted((dataset.root / "meta/episodes").glob("*/*.parquet")):
        relative = path.relative_to(dataset.root)
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        table = _episode_table(dataset, read_parquet(path), texts, statistics)
        pq.write_table(table, target / relative)
        written.add(relative)
    return written


def _episode_table(
    dataset: EpisodeDataset,
    table: pa.Table,
    texts: list[list[str]] | None,
    statistics: dict[str, dict[str, np.ndarray]],
) -> pa.Table:
    """Rows of meta/episodes with the tasks and the statistics of the changed features."""
    position = np.searchsorted(dataset.episode_ids, table["episode_index"].to_numpy())
    kinds = {}
    if texts is not None and "tasks" in table.column_names:
        kind = table.schema.field("tasks").type
        tasks = pa.array([texts[i] for i in position], kind)
        table = table.set_column(table.column_names.index("tasks"), table.schema.field("tasks"), tasks)
    for name, values in statistics.items():
        for statistic, numbers in values.items():
            key = f"stats/{name}/{statistic}"
            column = pa.array([[number] for number in numbers[position].tolist()])
            if key in table.column_names:
                field_ = table.schema.field(key)
                table = table.set_column(table.column_names.index(key), field_, column.cast(field_.type))
                continue
            table = table.append_column(key, column)
            dtype = str(column.type.value_type).replace("double", "float64")
            kinds[key] = {"feature": {"dtype": dtype, "_type": "Value"}, "_type": "List"}
    return table.replace_schema_metadata(_declared(table.schema, kinds).metadata)


def _write_v21(
    dataset: EpisodeDataset, changes: Changes, statistics: dict[str, dict[str, np.ndarray]], target: Path
) -> set[Path]:
    meta, written = dataset.root / "meta", set()
    if changes.tasks is not None:
        written |= {Path("meta/tasks.jsonl"), Path("meta/episodes.jsonl")}
        write_tasks_jsonl(changes.tasks, target / "meta/tasks.jsonl")
        texts = _episode_tasks(dataset, changes) or []
        rows = read_jsonl(meta / "episodes.jsonl")
        position = np.searchsorted(dataset.episode_ids, [row["episode_index"] for row in rows])
        rows = [{**row, "tasks": texts[i]} for row, i in zip(rows, position, strict=True)]
        _write_jsonl(rows, target / "meta/episodes.jsonl")
    written.add(Path("meta/episodes_stats.jsonl"))
    _write_jsonl(_episode_statistics_rows(dataset, statistics), target / "meta/episodes_stats.jsonl")
    if (meta / "stats.json").is_file():  # older tools keep it beside the statistics of the episodes
        written.add(Path("meta/stats.json"))
        _write_stats_json(dataset, changes, target)
    return written


def _episode_statistics_rows(
    dataset: EpisodeDataset, statistics: dict[str, dict[str, np.ndarray]]
) -> list[dict]:
    """Rows of meta/episodes_stats.jsonl with the statistics of the changed features."""
    path = dataset.root / "meta/episodes_stats.jsonl"
    known = (
        read_jsonl(path) if path.is_file() else [{"episode_index": i} for i in dataset.episode_ids.tolist()]
    )
    place = {episode: i for i, episode in enumerate(dataset.episode_ids.tolist())}
    rows = []
    for row in known:
        stats = dict(row.get("stats") or {})
        i = place.get(row["episode_index"])
        if i is not None:
            for name, values in statistics.items():
                stats[name] = {statistic: [values[statistic][i].item()] for statistic in V21_STATISTICS}
        rows.append({**row, "stats": stats})
    return rows


def _write_stats_json(dataset: EpisodeDataset, changes: Changes, target: Path) -> None:
    """stats.json with the statistics of the changed features over all frames."""
    path = dataset.root / "meta/stats.json"
    stats = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    stats.update({name: dataset_statistics(values) for name, values in changes.arrays.items()})
    write_json(stats, target / "meta/stats.json")


def _episode_tasks(dataset: EpisodeDataset, changes: Changes) -> list[list[str]] | None:
    """The task texts of each episode `[E]`, in the order in which they first occur in it."""
    if changes.task_index is None or changes.tasks is None:
        return None
    episode = np.repeat(np.arange(len(dataset.lengths)), dataset.lengths)
    pairs = episode * len(changes.tasks) + changes.task_index
    firsts = np.sort(np.unique(pairs, return_index=True)[1])
    texts: list[list[str]] = [[] for _ in dataset.lengths]
    for i, task in zip(episode[firsts].tolist(), changes.task_index[firsts].tolist(), strict=True):
        texts[i].append(changes.tasks[task])
    return texts


def write_tasks_jsonl(tasks: list[str], path: Path) -> None:
    """Tasks as v2.1 keeps them."""
    _write_jsonl([{"task_index": i, "task": task} for i, task in enumerate(tasks)], path)


def write_json(content: dict, path: Path) -> None:
    """A JSON file as LeRobot writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_jsonl(rows: list[dict], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
