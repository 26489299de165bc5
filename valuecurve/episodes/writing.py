"""Writing LeRobot v3.0 datasets: many episodes per video and per table, as lerobot 0.6 lays them out.

    root/
      meta/info.json                          version, fps, features, totals
      meta/tasks.parquet                      task text (pandas index "task") -> task_index
      meta/stats.json                         per feature: min, max, mean, std, count, quantiles
      meta/episodes/chunk-000/file-000.parquet  one row an episode: tasks, length, place, statistics
      data/chunk-000/file-000.parquet         one row a frame
      videos/<camera>/chunk-000/file-000.mp4  h264; frame k of an episode at from_timestamp + k / fps

Everything is written to `<root>.tmp-…` beside the target and renamed at the end: a folder of that name is
either whole or absent. Left out: image features stored in the table, several files per chunk, appending.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from valuecurve.episodes.layout import DatasetError
from valuecurve.episodes.statistics import array_statistics, image_statistics, merge_statistics
from valuecurve.episodes.video_file import VideoFile

VERSION = "v3.0"
FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{FILE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{FILE}.mp4"
EPISODES_PATH = f"meta/episodes/{FILE}.parquet"
FIRST_FILE = {"chunk_index": 0, "file_index": 0}
AUTOMATIC = ("timestamp", "frame_index", "episode_index", "index", "task_index")  # written for the caller


class DatasetWriter:
    """Writes one dataset, episode by episode.

    Args:
        root: folder to create; it must not exist (or `overwrite`).
        fps: frames per second, an integer.
        cameras: feature key (such as "observation.images.side") -> (height, width), both even.
        features: feature key -> {"dtype", "shape", "names"} as in info.json, without the cameras and
            without the five columns that every dataset has.
        robot_type: free text for info.json.
        tasks: task texts in the order of their task_index; others are appended as they come.
        crf, gop, preset: of the h264 encoder: quality (lower is better and larger), frames between two
            key frames, effort.

    Use as a context manager (finishes on success, removes the temporary folder on an error) or call
    `finish`. Raises DatasetError, naming the episode and the feature, for whatever does not fit.
    """

    def __init__(
        self,
        root: str | Path,
        fps: int,
        cameras: Mapping[str, tuple[int, int]],
        features: Mapping[str, Mapping],
        *,
        robot_type: str | None = None,
        tasks: Sequence[str] = (),
        crf: int = 23,
        gop: int = 10,
        preset: str = "slow",
        overwrite: bool = False,
    ):
        self.root, self.fps = Path(root), int(fps)
        if self.root.exists() and not overwrite:
            raise DatasetError(f"{self.root} exists already; choose another folder or pass overwrite=True")
        if self.fps != fps or self.fps < 1:
            raise DatasetError(f"fps must be a positive integer, got {fps}")
        self.features = {key: _feature(key, feature) for key, feature in features.items()}
        self.cameras, self.robot_type = dict(cameras), robot_type
        self.task_index = {task: index for index, task in enumerate(tasks)}
        self._temporary = self.root.with_name(f"{self.root.name}.tmp-{os.getpid()}")
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._videos = {
            key: VideoFile(self._temporary / video_path(key), size, self.fps, crf, gop, preset)
            for key, size in self.cameras.items()
        }
        self._tables: list[pa.Table] = []
        self._episodes: list[dict] = []
        self._statistics: list[dict[str, dict[str, np.ndarray]]] = []
        self._frames = 0

    def add_episode(
        self,
        frames: Mapping[str, np.ndarray],
        images: Mapping[str, np.ndarray],
        task: str | Sequence[str],
        episode_columns: Mapping[str, object] | None = None,
    ) -> int:
        """Append one episode of T frames and return its index.

        Args:
            frames: every feature as an array [T] or [T, *shape].
            images: every camera as uint8 [T, H, W, 3] RGB.
            task: the task text, or one text per frame.
            episode_columns: further columns of this episode's row in meta/episodes.
        """
        index = len(self._episodes)
        length = self._check(index, frames, images)
        texts = [task] * length if isinstance(task, str) else list(task)
        if len(texts) != length:
            raise DatasetError(f"episode {index}: {len(texts)} task texts for {length} frames")
        columns = {key: _as(feature, frames[key]) for key, feature in self.features.items()}
        columns |= self._automatic(index, length, texts)
        self._tables.append(_arrow({key: columns[key] for key in self._all_features()}, self._all_features()))
        statistics = {key: array_statistics(values) for key, values in columns.items() if _numeric(values)}
        statistics |= {key: image_statistics(images[key]) for key in self.cameras}
        self._statistics.append(statistics)
        row = self._row(index, length, list(dict.fromkeys(texts)))
        for key, video in self._videos.items():
            place = FIRST_FILE | video.append(images[key])
            row |= {f"videos/{key}/{name}": value for name, value in place.items()}
        row |= dict(episode_columns or {})
        row |= {
            f"stats/{key}/{name}": value.tolist()
            for key, values in statistics.items()
            for name, value in values.items()
        }
        self._episodes.append(row | {f"meta/episodes/{key}": value for key, value in FIRST_FILE.items()})
        self._frames += length
        return index

    def finish(self) -> Path:
        """Write tables and metadata, close the videos and put the folder in its place."""
        if not self._episodes:
            raise DatasetError(f"{self.root}: a dataset needs at least one episode")
        for video in self._videos.values():
            video.close()
        root = self._temporary
        _write_table(pa.concat_tables(self._tables), root / DATA_PATH.format(**FIRST_FILE))
        _write_table(pa.Table.from_pylist(self._episodes), root / EPISODES_PATH.format(**FIRST_FILE))
        tasks = pd.DataFrame(
            {"task_index": list(self.task_index.values())}, index=pd.Index(list(self.task_index), name="task")
        )
        tasks.to_parquet(root / "meta" / "tasks.parquet")
        totals = {
            key: merge_statistics([one[key] for one in self._statistics]) for key in self._statistics[0]
        }
        nested = {key: {name: value.tolist() for name, value in one.items()} for key, one in totals.items()}
        _write_json(nested, root / "meta" / "stats.json")
        _write_json(self._info(), root / "meta" / "info.json")
        if self.root.exists():
            shutil.rmtree(self.root)
        root.rename(self.root)
        return self.root

    def abandon(self) -> None:
        """Remove what was written so far."""
        for video in self._videos.values():
            video.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()

    def _check(self, index: int, frames: Mapping, images: Mapping) -> int:
        """The episode's length, after making sure that everything is there and fits."""
        for given, wanted, what in ((frames, self.features, "feature"), (images, self.cameras, "camera")):
            if set(given) != set(wanted):
                missing, extra = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
                raise DatasetError(f"episode {index}: {what}s missing {missing}, unknown {extra}")
        for key, feature in self.features.items():
            shape = np.shape(frames[key])[1:] or (1,)
            if list(shape) != feature["shape"]:
                raise DatasetError(
                    f"episode {index}, {key}: expected {feature['shape']} a frame, got {list(shape)}"
                )
        lengths = {key: len(values) for key, values in {**frames, **images}.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise DatasetError(
                f"episode {index}: arrays must have the same length of 1 or more, got {lengths}"
            )
        for key, (height, width) in self.cameras.items():
            if images[key].dtype != np.uint8 or images[key].shape[1:] != (height, width, 3):
                found = f"{images[key].dtype} {images[key].shape}"
                raise DatasetError(
                    f"episode {index}, {key}: expected uint8 [T, {height}, {width}, 3], got {found}"
                )
        return next(iter(lengths.values()))

    def _automatic(self, index: int, length: int, texts: list[str]) -> dict[str, np.ndarray]:
        for text in texts:
            self.task_index.setdefault(text, len(self.task_index))
        return {
            "timestamp": (np.arange(length) / self.fps).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, index),
            "index": np.arange(self._frames, self._frames + length),
            "task_index": np.array([self.task_index[text] for text in texts]),
        }

    def _row(self, index: int, length: int, tasks: list[str]) -> dict:
        return {
            "episode_index": index,
            "tasks": tasks,
            "length": length,
            **{f"data/{key}": value for key, value in FIRST_FILE.items()},
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
        }

    def _all_features(self) -> dict[str, dict]:
        """Table features in file order: the caller's, then the automatic ones."""
        kinds = {key: "float32" if key == "timestamp" else "int64" for key in AUTOMATIC}
        return {**self.features, **{key: _feature(key, {"dtype": kind}) for key, kind in kinds.items()}}

    def _totals(self) -> dict[str, dict[str, list]]:
        """The dataset's statistics, for stats.json."""
        merged = {
            key: merge_statistics([one[key] for one in self._statistics]) for key in self._statistics[0]
        }
        return {key: {name: value.tolist() for name, value in one.items()} for key, one in merged.items()}

    def _info(self) -> dict:
        videos = {
            key: {
                "dtype": "video",
                "shape": [*size, 3],
                "names": ["height", "width", "channels"],
                "info": self._videos[key].info(),
            }
            for key, size in self.cameras.items()
        }
        return {
            "codebase_version": VERSION,
            "robot_type": self.robot_type,
            "total_episodes": len(self._episodes),
            "total_frames": self._frames,
            "total_tasks": len(self.task_index),
            "chunks_size": 1000,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.cameras else None,
            "features": {**videos, **self._all_features()},
        }


def video_path(key: str) -> str:
    """Where the video of a camera lies, relative to the dataset."""
    return VIDEO_PATH.format(video_key=key, **FIRST_FILE)


def _feature(key: str, feature: Mapping) -> dict:
    if "/" in key:
        raise DatasetError(f"feature names must not contain '/', got {key!r}")
    return {
        "dtype": feature["dtype"],
        "shape": list(feature.get("shape", (1,))),
        "names": feature.get("names"),
    }


def _as(feature: dict, values) -> np.ndarray:
    """`values` in the feature's dtype; one number a frame is [T], more are [T, *shape]."""
    array = np.asarray(values)
    shape = () if feature["shape"] == [1] else tuple(feature["shape"])
    if feature["dtype"] == "string":
        return array.astype(object)
    return array.reshape(len(array), *shape).astype(feature["dtype"])


def _numeric(values: np.ndarray) -> bool:
    return values.dtype != object


def _arrow(columns: dict[str, np.ndarray], features: dict[str, dict]) -> pa.Table:
    """An Arrow table with the `datasets` schema in its metadata, as lerobot writes it."""
    arrays, hub_features = {}, {}
    for key, values in columns.items():
        dtype = features[key]["dtype"]
        kind = {"_type": "Value", "dtype": dtype}
        arrays[key] = pa.array(values.reshape(len(values), -1)[:, 0] if values.ndim == 1 else values.ravel())
        if values.ndim == 2:
            arrays[key] = pa.FixedSizeListArray.from_arrays(arrays[key], values.shape[1])
            kind = {"_type": "List", "feature": kind, "length": values.shape[1]}
        hub_features[key] = kind
    metadata = {"huggingface": json.dumps({"info": {"features": hub_features}})}
    return pa.table(arrays).replace_schema_metadata(metadata)


def _write_table(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")


def _write_json(content: dict, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
