"""`open_dataset`: a LeRobot dataset, v3.0 or v2.1, in a folder or on the Hub, as one small object.

"Row" always means the position of a frame in `frames` (0 ... N-1). Videos are not touched here (video.py).
Not here: how files come from the Hub (hub_dataset.py), depth maps, actions.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from valuecurve.episodes import layout
from valuecurve.episodes.checks import find_errors
from valuecurve.episodes.frames import read_frames
from valuecurve.episodes.layout import Camera, DatasetError, is_hub_id

if TYPE_CHECKING:
    from valuecurve.episodes.hub_dataset import HubFiles

STATE_KEY = "observation.state"


@dataclass
class EpisodeDataset:
    """A dataset in memory: everything but the pictures. N frames, E episodes, D state dimensions."""

    root: Path
    key: str  # short name: folder name or repository id
    version: str  # "v3.0" | "v2.1"
    fps: float
    cameras: dict[str, Camera]  # by full feature key, in info.json's order
    state_key: str | None
    state_names: list[str]  # D names
    tasks: list[str]  # position = task_index
    frames: pa.Table  # [N] scalar columns and the state, sorted by (episode_index, frame_index)
    episodes: pa.Table  # [E] sorted by episode_index: length, and all other metadata columns
    fingerprint: str  # of meta files, data files and video sizes: the same on every machine and copy
    info: dict = field(repr=False)
    data_files: list[Path] = field(repr=False)
    file_of_row: np.ndarray = field(repr=False)  # int32 [N], position in data_files
    hub: "HubFiles | None" = field(
        default=None, repr=False
    )  # where it comes from; None: a folder of one's own

    @property
    def values(self) -> Path:
        """The folder of its sidecars where none is named: `values` in its own folder; for a dataset of the
        Hub, whose files are in a cache, `values/org--name` in the current one."""
        if self.hub is None:
            return self.root / "values"
        return Path("values") / self.hub.repo.replace("/", "--")

    def values_folder(self, values: str | Path | None) -> Path:
        """The folder of its sidecars: the one that --values names, else `values`; it need not exist.

        Raises:
            DatasetError: a place among the files of the dataset, which never change.
        """
        if values is None:
            return self.values
        place, root = Path(values).resolve(), self.root.resolve()
        around = (place, *place.parents)
        if root in around and root / "values" not in around:
            raise DatasetError(
                f"--values {values} lies among the files of the dataset {self.root}: choose a folder outside "
                "of it, or leave the option out (its own place is the folder values)"
            )
        return Path(values)

    @property
    def origin(self) -> dict[str, str]:
        """For manifests: name and commit of a dataset of the Hub, else nothing."""
        return {} if self.hub is None else {"name": self.hub.repo, "revision": self.hub.revision}

    @cached_property
    def states(self) -> np.ndarray:
        """float32 [N, D]; D = 0 without a state."""
        if self.state_key is None:
            return np.zeros((self.frames.num_rows, 0), np.float32)
        column = self.frames[self.state_key].combine_chunks()
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        return np.concatenate([chunk.flatten().to_numpy() for chunk in chunks]).reshape(len(column), -1)

    @cached_property
    def episode_index(self) -> np.ndarray:
        """int64 [N]"""
        return self.frames["episode_index"].to_numpy().astype(np.int64, copy=False)

    @cached_property
    def frame_index(self) -> np.ndarray:
        """int64 [N]"""
        return self.frames["frame_index"].to_numpy().astype(np.int64, copy=False)

    @cached_property
    def task_index(self) -> np.ndarray:
        """int64 [N]; may change inside an episode."""
        return self.frames["task_index"].to_numpy().astype(np.int64, copy=False)

    @cached_property
    def episode_ids(self) -> np.ndarray:
        """episode_index of each row of `episodes`, int64 [E]; usually 0 ... E-1."""
        return self.episodes["episode_index"].to_numpy().astype(np.int64, copy=False)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Frames of each episode, int64 [E]."""
        return self.episodes["length"].to_numpy().astype(np.int64, copy=False)

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of each episode, int64 [E]."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def episode_tasks(self) -> np.ndarray:
        """task_index at the first frame of each episode, int64 [E]."""
        return self.task_index[self.starts]

    def episode_positions(self, episodes: list[int] | None = None) -> np.ndarray:
        """Positions in `episodes` of the given episode indices (all when None), int64."""
        if episodes is None:
            return np.arange(len(self.episode_ids))
        wanted = np.asarray(episodes, dtype=np.int64)
        positions = np.searchsorted(self.episode_ids, wanted)
        found = self.episode_ids[np.minimum(positions, len(self.episode_ids) - 1)] == wanted
        if not found.all():
            raise DatasetError(f"{self.root}: there is no episode {wanted[~found].tolist()[:10]}")
        return positions

    def episode_rows(self, episodes: list[int] | None = None) -> np.ndarray:
        """Rows of the given episodes (all when None), ascending, int64."""
        mask = np.zeros(len(self.episode_ids), bool)
        mask[self.episode_positions(episodes)] = True
        return np.flatnonzero(np.repeat(mask, self.lengths))

    def where(self, row: int) -> str:
        """File, episode and frame of a row, for messages."""
        path = self.data_files[self.file_of_row[row]]
        return f"{path}, episode {self.episode_index[row]}, frame {self.frame_index[row]}"

    def video_files(self, camera: str) -> tuple[list[Path], np.ndarray]:
        """The mp4 of each episode `[E]` and the second at which the episode begins in it, float64 `[E]`."""
        return layout.video_files(self.root, self.info, self.episodes, camera)

    def size(self, path: Path) -> int:
        """Bytes of one of its files, be it here or on the Hub; -1 where there is none."""
        if self.hub is not None:
            return self.hub.size(path)
        return path.stat().st_size if path.is_file() else -1

    @contextmanager
    def using(self, path: Path) -> Iterator[None]:
        """Read one of its files: of a dataset of the Hub it is fetched first, and stays meanwhile."""
        if self.hub is None:
            yield
            return
        with self.hub.using(path):
            yield

    def in_batches(self, paths: Iterable[Path]) -> Iterator[list[Path]]:
        """Many of its files; those of the Hub a batch at a time, which stays until the next is asked for."""
        yield from [list(paths)] if self.hub is None else self.hub.in_batches(paths)

    def ahead(self, paths: Iterable[Path]) -> None:
        """Say which files will be read soon: of a dataset of the Hub they are fetched in the background."""
        if self.hub is not None:
            self.hub.ahead(paths)


def open_dataset(path: str | Path, *, key: str | None = None) -> EpisodeDataset:
    """Open a LeRobot dataset and check it.

    Args:
        path: folder that holds `meta/info.json`; or a dataset of the Hub, `org/name` or `org/name@revision`,
            of which metadata and tables are fetched now, and videos when they are decoded. A folder here wins
            over a dataset of the Hub that is spelt the same.
        key: short name of the dataset; the folder's name or the repository id when None.

    Raises:
        DatasetError: no such folder or dataset, no access; not a dataset, an unsupported version, a missing
            or damaged parquet file, frames that do not fit the episode table, an unknown task_index, NaN in
            the state. `valuecurve inspect` lists all problems; this raises the first. Videos are checked when
            they are decoded.
    """
    try:
        dataset = read_dataset(path, key=key)
        errors = find_errors(dataset)
    except DatasetError as error:
        errors = str(error).splitlines()  # one line per damaged file
        dataset = None
    if errors or dataset is None:
        more = f" ({len(errors) - 1} more: valuecurve inspect {path})" if len(errors) > 1 else ""
        raise DatasetError(errors[0] + more)
    return dataset


def read_dataset(path: str | Path, *, key: str | None = None) -> EpisodeDataset:
    """`open_dataset` without the consistency checks: for `inspect`, which reports all problems at once."""
    hub, root = None, Path(path)
    if is_hub_id(path):
        from valuecurve.episodes.hub_dataset import open_hub  # here: the Hub's client takes a while to import

        hub = open_hub(path)
        root = hub.root
        hub.fetch(hub.below("meta"))
    info = layout.read_info(root)
    version = info["codebase_version"]
    tasks = layout.read_tasks(root, version)
    episodes = layout.read_episode_table(root, version)
    cameras = layout.read_cameras(info)
    state_key = STATE_KEY if STATE_KEY in info["features"] else None
    files = layout.data_files(root, info, episodes)
    if hub is not None:
        hub.fetch(map(hub.relative, files))
    images = [camera.key for camera in cameras.values() if camera.kind == "image"]
    frames = read_frames(files, info["features"], state_key, images)
    dataset = EpisodeDataset(
        root=root,
        key=key or (hub.repo if hub else _default_key(root)),
        version=version,
        fps=float(info["fps"]),
        cameras=cameras,
        state_key=state_key,
        state_names=[],
        tasks=tasks,
        frames=frames.table,
        episodes=episodes,
        fingerprint="",
        info=info,
        data_files=files,
        file_of_row=frames.file_of_row,
        hub=hub,
    )
    if state_key is not None:
        dataset.state_names = layout.state_names(info["features"][state_key], dataset.states.shape[1])
    dataset.fingerprint = _fingerprint(dataset, frames.digests)
    return dataset


def _default_key(root: Path) -> str:
    """Folder name; the repository id for a snapshot in the Hub's cache."""
    resolved = root.resolve()
    if resolved.parent.name == "snapshots" and resolved.parent.parent.name.startswith("datasets--"):
        return resolved.parent.parent.name.removeprefix("datasets--").replace("--", "/")
    return resolved.name


def _fingerprint(dataset: EpisodeDataset, digests: list[str]) -> str:
    """Hash of what the dataset holds: info, tasks, episode table, data files, sizes of the videos."""
    info = json.dumps(dataset.info, sort_keys=True)
    digest = hashlib.sha256(json.dumps([info, dataset.tasks, digests]).encode())
    for row in dataset.episodes.to_pylist():
        digest.update(repr(sorted(row.items())).encode())
    for camera in dataset.cameras.values():
        if camera.kind == "video":
            for path in dict.fromkeys(dataset.video_files(camera.key)[0]):
                name = path.relative_to(dataset.root).as_posix()
                digest.update(f"{name} {dataset.size(path)}\n".encode())
    return digest.hexdigest()[:32]
