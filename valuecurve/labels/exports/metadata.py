"""The metadata of a dataset with new features, new tasks, and without dropped episodes: v3.0 and v2.1.

Keys and columns that nobody here knows stay as they are.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from valuecurve.episodes.layout import read_jsonl, read_parquet
from valuecurve.episodes.statistics import merge_statistics
from valuecurve.labels.exports.changes import DROPPED, Changes, Kept
from valuecurve.labels.exports.schemas import declared
from valuecurve.labels.exports.statistics import dataset_statistics, episode_statistics

STATISTICS = ("min", "max", "mean", "std", "count")  # all that v2.1 keeps; v3.0 has quantiles too


def write_metadata(kept: Kept, changes: Changes, target: Path) -> set[Path]:
    """Write the metadata that changes below `target`.

    Returns:
        its paths, relative to the dataset.
    """
    arrays = changes.arrays(kept)
    statistics = {name: episode_statistics(values, kept.lengths) for name, values in arrays.items()}
    _write_info(kept, changes, target)
    write = _write_v21 if kept.dataset.version == "v2.1" else _write_v30
    return {Path("meta/info.json")} | write(kept, changes, statistics, target)


def _write_info(kept: Kept, changes: Changes, target: Path) -> None:
    """info.json as it is, with the new features and totals."""
    path = Path("meta/info.json")
    info = json.loads((kept.dataset.root / path).read_text(encoding="utf-8"))
    for name, values in changes.columns.items():
        info["features"][name] = {"dtype": values.dtype.name, "shape": [1], "names": None}
    if changes.tasks is not None:
        info["total_tasks"] = len(changes.tasks)
    if not kept.all:
        episodes = len(kept.positions)
        cameras = sum(feature.get("dtype") == "video" for feature in info["features"].values())
        info |= {"total_episodes": episodes, "total_frames": int(kept.lengths.sum())}
        info["splits"] = {"train": f"0:{episodes}"}
        old = {
            "total_videos": episodes * cameras,
            "total_chunks": -(-episodes // int(info.get("chunks_size") or 1000)),
        }
        info |= {name: total for name, total in old.items() if name in info}
    write_json(info, target / path)


# -- v3.0 --------------------------------------------------------------------------------------------------


def _write_v30(
    kept: Kept, changes: Changes, statistics: dict[str, dict[str, np.ndarray]], target: Path
) -> set[Path]:
    root, written = kept.dataset.root, {Path("meta/stats.json")}
    if changes.tasks is not None:
        written.add(Path("meta/tasks.parquet"))
        index = pd.Index(changes.tasks, name="task")  # LeRobot looks tasks up by their position
        frame = pd.DataFrame({"task_index": np.arange(len(changes.tasks))}, index=index)
        frame.to_parquet(target / "meta/tasks.parquet")
    texts = _episode_tasks(kept, changes)
    parts = []
    for path in sorted((root / "meta/episodes").glob("*/*.parquet")):
        relative = path.relative_to(root)
        written.add(relative)
        table = _episode_table(kept, read_parquet(path), texts, statistics)
        if table.num_rows:
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, target / relative)
            parts.append(table)
    _write_stats_json(kept, changes, [] if kept.all else _statistics_of_tables(parts), target)
    return written


def _episode_table(
    kept: Kept,
    table: pa.Table,
    texts: list[list[str]] | None,
    statistics: dict[str, dict[str, np.ndarray]],
) -> pa.Table:
    """Rows of meta/episodes of the kept episodes, with what changes in them."""
    position = kept.episode_of(table["episode_index"].to_numpy())
    table, position = table.filter(pa.array(position != DROPPED)), position[position != DROPPED]
    ends = np.cumsum(kept.lengths)
    new: dict[str, list] = {}
    if texts is not None:
        new["tasks"] = [texts[i] for i in position]
    if not kept.all:
        new["episode_index"] = position.tolist()
        new["dataset_from_index"] = (ends - kept.lengths)[position].tolist()
        new["dataset_to_index"] = ends[position].tolist()
    for name, values in new.items():
        if name in table.column_names:
            table = _with_column(table, name, pa.array(values))
    kinds = {}
    for name, values in statistics.items():
        for statistic, numbers in values.items():
            key, column = f"stats/{name}/{statistic}", pa.array([[x] for x in numbers[position].tolist()])
            if key not in table.column_names:
                dtype = "int64" if statistic == "count" else "float64"
                kinds[key] = {"feature": {"dtype": dtype, "_type": "Value"}, "_type": "List"}
            table = _with_column(table, key, column)
    return table.replace_schema_metadata(declared(table.schema, kinds).metadata)


def _with_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    """A column replaced, with its own type, or appended."""
    if name not in table.column_names:
        return table.append_column(name, column)
    field = table.schema.field(name)
    return table.set_column(table.column_names.index(name), field, column.cast(field.type))


def _statistics_of_tables(parts: list[pa.Table]) -> list[dict[str, dict]]:
    """feature -> statistic -> value of every episode, out of the columns stats/<feature>/<statistic>."""
    episodes = []
    for table in parts:
        names = [name for name in table.column_names if name.startswith("stats/")]
        for row in table.select(names).to_pylist():
            episode: dict[str, dict] = {}
            for name, value in row.items():
                _, feature, statistic = name.split("/", 2)
                episode.setdefault(feature, {})[statistic] = value
            episodes.append(episode)
    return episodes


# -- v2.1 --------------------------------------------------------------------------------------------------


def _write_v21(
    kept: Kept, changes: Changes, statistics: dict[str, dict[str, np.ndarray]], target: Path
) -> set[Path]:
    meta, written = kept.dataset.root / "meta", {Path("meta/episodes_stats.jsonl")}
    if changes.tasks is not None:
        written.add(Path("meta/tasks.jsonl"))
        write_tasks_jsonl(changes.tasks, target / "meta/tasks.jsonl")
    texts = _episode_tasks(kept, changes)
    if texts is not None or not kept.all:
        written.add(Path("meta/episodes.jsonl"))
        rows = [
            {**row, "tasks": row.get("tasks") if texts is None else texts[i]}
            for i, row in _kept_rows(kept, read_jsonl(meta / "episodes.jsonl"))
        ]
        _write_jsonl(rows, target / "meta/episodes.jsonl")
    rows = []
    path = meta / "episodes_stats.jsonl"
    ids = kept.dataset.episode_ids.tolist()
    known = read_jsonl(path) if path.is_file() else [{"episode_index": episode} for episode in ids]
    for i, row in _kept_rows(kept, known):
        own = {
            name: {statistic: [values[statistic][i].item()] for statistic in STATISTICS}
            for name, values in statistics.items()
        }
        rows.append({**row, "stats": {**(row.get("stats") or {}), **own}})
    _write_jsonl(rows, target / "meta/episodes_stats.jsonl")
    if (meta / "stats.json").is_file():  # older tools keep it beside the statistics of the episodes
        written.add(Path("meta/stats.json"))
        _write_stats_json(kept, changes, [row["stats"] for row in rows], target)
    return written


def _kept_rows(kept: Kept, rows: list[dict]) -> Iterable[tuple[int, dict]]:
    """(position among the kept, row) of the kept episodes, numbered anew."""
    positions = kept.episode_of(np.array([row["episode_index"] for row in rows]))
    for i, row in zip(positions.tolist(), rows, strict=True):
        if i != DROPPED:
            yield i, row if kept.all else {**row, "episode_index": i}


# -- both --------------------------------------------------------------------------------------------------


def _write_stats_json(kept: Kept, changes: Changes, episodes: list[dict[str, dict]], target: Path) -> None:
    """stats.json: exact over all frames for what changes; else as it is, or merged of the kept episodes."""
    path = kept.dataset.root / "meta/stats.json"
    stats = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not kept.all:
        for feature in stats:
            parts = [episode.get(feature, {}) for episode in episodes]
            if all(part.get(name) is not None for part in parts for name in STATISTICS):
                stats[feature] = _merged(parts)
    arrays = changes.arrays(kept)
    stats.update({name: dataset_statistics(values) for name, values in arrays.items()})
    write_json(stats, target / "meta/stats.json")


def _merged(parts: list[dict]) -> dict[str, list]:
    """The statistics of one feature over several episodes, ready for JSON."""
    names = [name for name in parts[0] if all(part.get(name) is not None for part in parts)]
    arrays = [{name: np.array(part[name]) for name in names} for part in parts]
    return {name: value.tolist() for name, value in merge_statistics(arrays).items()}


def _episode_tasks(kept: Kept, changes: Changes) -> list[list[str]] | None:
    """The task texts of each kept episode [K], in the order in which they first occur in it."""
    if changes.task_index is None or changes.tasks is None:
        return None
    episode = np.repeat(np.arange(len(kept.lengths)), kept.lengths)
    pairs = episode * len(changes.tasks) + changes.task_index
    firsts = np.sort(np.unique(pairs, return_index=True)[1])
    texts: list[list[str]] = [[] for _ in kept.lengths]
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
