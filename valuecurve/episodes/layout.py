"""Where things lie in a LeRobot dataset folder, v3.0 and v2.1: info, tasks, episode table, paths.

Formats as written by huggingface/lerobot (v3.0: src/lerobot/datasets/utils.py; v2.1: its release 0.3).
All paths come from the templates of `meta/info.json` and may not leave the dataset folder.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")  # org/name, org/name@revision
VERSIONS = ("v3.0", "v2.1")
CONVERTERS = {  # in releases of lerobot before 0.4
    "v2.0": "lerobot's converter: python -m lerobot.datasets.v21.convert_dataset_v20_to_v21 (lerobot < 0.4)",
    "v1": "lerobot's converters, from version to version (lerobot < 0.4)",
}


class DatasetError(ValueError):
    """A dataset that cannot be used as it is: what was seen, where, and what to do.

    `episode` is the one whose pictures are at fault, where that is known: the others may still be read.
    """

    def __init__(self, message: str = "", episode: int | None = None):
        super().__init__(message)
        self.episode = episode


@dataclass(frozen=True)
class Camera:
    """One camera: `height` and `width` in pixels as declared; `kind` "video" (mp4) or "image" (parquet)."""

    key: str
    height: int
    width: int
    kind: str

    @property
    def name(self) -> str:
        """Short name: the key without "observation.images."."""
        return self.key.removeprefix("observation.images.").removeprefix("observation.")


def is_hub_id(place: str | Path) -> bool:
    """Whether a dataset is one of the Hub: spelt as one, and nothing here has that name."""
    text = place if isinstance(place, str) else place.as_posix()
    return HUB_ID.fullmatch(text) is not None and not os.path.lexists(text)


# -- meta/info.json ----------------------------------------------------------------------------------------


def read_info(root: Path) -> dict:
    """`meta/info.json`, checked: a known version, fps, features and path templates."""
    path = root / "meta" / "info.json"
    if not root.is_dir():
        raise DatasetError(
            f"{root} is not a folder: give that of a LeRobot dataset, or one of the Hub (org/name)"
        )
    if not path.is_file():
        raise DatasetError(f"{root} is not a LeRobot dataset: it has no meta/info.json")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version = str(info["codebase_version"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DatasetError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    _check_version(path, version)
    fps = info.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e6:
        raise DatasetError(f"{path}: fps must be a positive number, got {fps!r}")
    if not isinstance(info.get("features"), dict):
        raise DatasetError(f"{path}: 'features' is missing")
    for key, feature in info["features"].items():
        _check_feature(path, key, feature)
    chunks_size = info.get("chunks_size") or 1000
    if not isinstance(chunks_size, int) or chunks_size < 1:
        raise DatasetError(f"{path}: chunks_size must be a positive whole number, got {chunks_size!r}")
    if not isinstance(info.get("data_path"), str):
        raise DatasetError(f"{path}: 'data_path' is missing")
    return info


def _check_version(path: Path, version: str) -> None:
    if version in VERSIONS:
        return
    command = next((text for old, text in CONVERTERS.items() if version.startswith(old)), None)
    remedy = f"convert it with {command}" if command else "a newer valuecurve may read it"
    raise DatasetError(
        f"{path}: codebase_version {version!r} is not supported "
        f"(supported: {' and '.join(VERSIONS)}); {remedy}"
    )


def _check_feature(path: Path, key: str, feature: object) -> None:
    if not isinstance(feature, dict):
        raise DatasetError(f"{path}: the feature {key!r} must be a mapping, got {feature!r}")
    shape = feature.get("shape") or []
    if not isinstance(shape, list) or not all(isinstance(n, int) for n in shape):
        raise DatasetError(f"{path}: the shape of {key!r} must be a list of whole numbers, got {shape!r}")
    for name in ("info", "video_info"):
        if not isinstance(feature.get(name) or {}, dict):
            raise DatasetError(f"{path}: {name!r} of {key!r} must be a mapping, got {feature[name]!r}")


def read_cameras(info: dict) -> dict[str, Camera]:
    """Cameras by feature key, in the order of info.json; depth maps are not cameras."""
    cameras = {}
    for key, feature in info["features"].items():
        if feature.get("dtype") not in ("video", "image") or _is_depth(feature):
            continue
        height, width = _image_size(feature)
        cameras[key] = Camera(key, height, width, feature["dtype"])
    return cameras


def _is_depth(feature: dict) -> bool:
    details = {**(feature.get("video_info") or {}), **(feature.get("info") or {})}
    return bool(details.get("is_depth_map") or details.get("video.is_depth_map"))


def _image_size(feature: dict) -> tuple[int, int]:
    """(height, width) of a shape written as [3, H, W] or [H, W, 3]; the shape decides, then the names."""
    shape = [int(n) for n in feature.get("shape") or (0, 0, 0)]
    if len(shape) != 3:
        return 0, 0
    first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
    if first and last:
        first = str((feature.get("names") or ["c"])[0]).startswith("c")
    return (shape[1], shape[2]) if first else (shape[0], shape[1])


def state_names(feature: dict, dimensions: int) -> list[str]:
    """One name per state dimension; `names` may be a list, a mapping of lists, or missing."""
    names = feature.get("names")
    if isinstance(names, dict):
        groups = [group if isinstance(group, list) else [group] for group in names.values()]
        names = [name for group in groups for name in group]
        if len(names) != dimensions and isinstance(feature["names"], dict):
            names = list(feature["names"])
    if not isinstance(names, list) or len(names) != dimensions:
        return [f"state_{i}" for i in range(dimensions)]
    return [str(name) for name in names]


# -- tasks and the episode table ---------------------------------------------------------------------------


def read_tasks(root: Path, version: str) -> list[str]:
    """Task texts; the position in the list is the task_index."""
    if version == "v2.1":
        path = root / "meta" / "tasks.jsonl"
        rows = read_jsonl(path)
        pairs = [(row.get("task_index"), row.get("task")) for row in rows]
    else:
        path = root / "meta" / "tasks.parquet"
        table = read_parquet(path)
        text = "task" if "task" in table.column_names else "__index_level_0__"
        if text not in table.column_names or "task_index" not in table.column_names:
            raise DatasetError(f"{path}: columns {table.column_names}, expected task_index and task")
        pairs = list(zip(table["task_index"].to_pylist(), table[text].to_pylist(), strict=True))
    if version == "v2.1":
        pairs.sort(key=lambda pair: pair[0] if isinstance(pair[0], int) else len(pairs))
    if [index for index, _ in pairs] != list(range(len(pairs))):
        raise DatasetError(
            f"{path}: task_index must be 0 … {len(pairs) - 1} in row order (as LeRobot reads it)"
        )
    tasks = [task for _, task in pairs if isinstance(task, str)]
    if len(tasks) < len(pairs):
        raise DatasetError(f"{path}: every task must be a text")
    return tasks


def read_episode_table(root: Path, version: str) -> pa.Table:
    """One row per episode, sorted by episode_index; statistics columns are left out."""
    if version == "v2.1":
        where = root / "meta" / "episodes.jsonl"
        table = _table_from_rows(read_jsonl(where))
    else:
        where = root / "meta" / "episodes"
        paths = sorted(where.glob("*/*.parquet"))
        if not paths:
            raise DatasetError(f"{where} holds no parquet file: the episode table is missing")
        parts = []
        for path in paths:
            names = parquet_schema(path).names
            parts.append(read_parquet(path, [name for name in names if not name.startswith("stats/")]))
        table = pa.concat_tables(parts, promote_options="permissive")
    for name in ("episode_index", "length"):
        if name not in table.column_names:
            raise DatasetError(f"{where}: the column {name!r} is missing (columns: {table.column_names})")
        if table[name].null_count or not pa.types.is_integer(table[name].type):
            raise DatasetError(f"{where}: {name!r} must be a whole number in every row")
    if table.num_rows == 0:
        raise DatasetError(f"{where}: no episode")
    table = table.sort_by("episode_index")
    index = table["episode_index"].to_numpy()
    if np.any(np.diff(index) == 0):
        raise DatasetError(f"{where}: episode {index[:-1][np.diff(index) == 0][0]} is listed twice")
    if np.any(table["length"].to_numpy() < 1):
        worst = index[table["length"].to_numpy() < 1][0]
        raise DatasetError(f"{where}: episode {worst} has a length below 1")
    return table


def _table_from_rows(rows: list[dict]) -> pa.Table:
    """Rows of a JSON lines file; a column of mixed types becomes text."""
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            columns[name] = pa.array(
                [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
            )
    return pa.table(columns)


# -- files -------------------------------------------------------------------------------------------------


def data_files(root: Path, info: dict, episodes: pa.Table) -> list[Path]:
    """The parquet files that hold the frames, each once, in episode order."""
    return list(dict.fromkeys(_episode_paths(root, info, "data_path", episodes, "data")))


def video_files(root: Path, info: dict, episodes: pa.Table, camera: str) -> tuple[list[Path], np.ndarray]:
    """The mp4 file of every episode `[E]`, and where the episode begins in it: seconds, float64 `[E]`."""
    paths = _episode_paths(root, info, "video_path", episodes, f"videos/{camera}", video_key=camera)
    name = f"videos/{camera}/from_timestamp"
    if info["codebase_version"] == "v2.1":
        return paths, np.zeros(len(paths))
    seconds = _episode_column(root, episodes, name).astype(np.float64)
    if not np.all(np.isfinite(seconds)):
        raise DatasetError(f"{root}/meta/episodes: {name!r} is missing for some episodes")
    return paths, seconds


def _episode_paths(
    root: Path, info: dict, template: str, episodes: pa.Table, prefix: str, **keys: str
) -> list[Path]:
    pattern = info.get(template)
    if not isinstance(pattern, str):
        raise DatasetError(f"{root}/meta/info.json: {template!r} is missing")
    if info["codebase_version"] == "v2.1":
        chunks_size = int(info.get("chunks_size") or 1000)
        index = episodes["episode_index"].to_pylist()
        fields = [{"episode_index": i, "episode_chunk": i // chunks_size} for i in index]
    else:
        chunk = _episode_column(root, episodes, f"{prefix}/chunk_index").tolist()
        file = _episode_column(root, episodes, f"{prefix}/file_index").tolist()
        fields = [{"chunk_index": int(c), "file_index": int(f)} for c, f in zip(chunk, file, strict=True)]
    made: dict[tuple, Path] = {}
    for field in fields:
        values = tuple(field.values())
        if values not in made:
            made[values] = inside(root, pattern, {**field, **keys})
    return [made[tuple(field.values())] for field in fields]


def _episode_column(root: Path, episodes: pa.Table, name: str) -> np.ndarray:
    if name not in episodes.column_names:
        raise DatasetError(f"{root}/meta/episodes: the column {name!r} is missing")
    if episodes[name].null_count:
        raise DatasetError(f"{root}/meta/episodes: {name!r} is empty for some episodes")
    kind = episodes[name].type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise DatasetError(f"{root}/meta/episodes: {name!r} must hold numbers, it holds {kind}")
    return episodes[name].to_numpy()


def inside(root: Path, pattern: str, fields: dict) -> Path:
    """`root / pattern` with the fields filled in; a path that leaves the folder is an error."""
    try:
        relative = Path(pattern.format(**fields))
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"{root}/meta/info.json: the path template {pattern!r} cannot be filled in: {error}"
        ) from error
    if relative.is_absolute() or ".." in relative.parts:
        raise DatasetError(f"{root}: the path {str(relative)!r} leaves the dataset folder")
    return root / relative


# -- reading -----------------------------------------------------------------------------------------------


def parquet_schema(path: Path) -> pa.Schema:
    """Schema of a parquet file, or a DatasetError."""
    return open_parquet(path).schema_arrow


def open_parquet(path: Path) -> pq.ParquetFile:
    """An open parquet file; missing, truncated or not parquet is a DatasetError that names it."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing: download or copy the dataset again")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from error


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """One parquet file as a table, or a DatasetError that names it."""
    file = open_parquet(path)
    try:
        return file.read(columns=columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from error
    finally:
        file.close()


def unreadable(path: Path, error: Exception, size: int | None = None) -> DatasetError:
    """The error for a file that is there, of `size` bytes, and cannot be read."""
    if size is None:
        size = path.stat().st_size if path.exists() else 0
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DatasetError(f"{path} ({size} bytes) cannot be read, it is truncated or damaged: {reason}")


def read_jsonl(path: Path) -> list[dict]:
    """Rows of a JSON lines file, or a DatasetError that names file and line."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing: download or copy the dataset again")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (UnicodeDecodeError, OSError) as error:
        raise unreadable(path, error) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{path}, line {number}: expected an object, got {type(row).__name__}")
        rows.append(row)
    return rows
