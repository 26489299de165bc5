"""What an export changes in a dataset: new columns, new tasks, and which episodes it keeps."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError, inside

DROPPED = -1


@dataclass
class Kept:
    """The episodes of a dataset that an export keeps, K of E with n of N frames; they are numbered 0 … K - 1.

    All of them: then every number stays as it is.
    """

    dataset: EpisodeDataset
    positions: np.ndarray  # int64 [K], rows of dataset.episodes, ascending

    @property
    def all(self) -> bool:
        """Whether no episode is dropped."""
        return len(self.positions) == len(self.dataset.episode_ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Frames of the kept episodes, int64 [K]."""
        return self.dataset.lengths[self.positions]

    @cached_property
    def place(self) -> np.ndarray:
        """The number of every frame among the kept ones, int64 [N]; DROPPED where it is none of them."""
        kept = np.zeros(len(self.dataset.episode_ids), bool)
        kept[self.positions] = True
        frames = np.repeat(kept, self.dataset.lengths)
        return np.where(frames, np.cumsum(frames) - 1, DROPPED)

    def new_numbers(self) -> dict[str, np.ndarray]:
        """The columns that number episodes and frames anew, int64 [n] each; none where all are kept."""
        if self.all:
            return {}
        episode = np.repeat(np.arange(len(self.positions)), self.lengths)
        return {"episode_index": episode, "index": np.arange(len(episode))}

    def episode_of(self, episodes: np.ndarray) -> np.ndarray:
        """Position among the kept ones of episodes by their index, int64; DROPPED where they are not kept."""
        number = np.full(len(self.dataset.episode_ids), DROPPED)
        number[self.positions] = np.arange(len(self.positions))
        return number[np.searchsorted(self.dataset.episode_ids, episodes)]

    def moved_files(self, target: Path) -> dict[Path, Path | None]:
        """Where files go that are renamed or left out in the export: relative path -> the new one, or None.

        Empty where all episodes are kept. A file of v2.1 has the number of its episode in its name.
        """
        if self.all:
            return {}
        root, info = self.dataset.root, self.dataset.info
        videos = [key for key, feature in info["features"].items() if feature.get("dtype") == "video"]
        templates = [("data_path", {})] + [("video_path", {"video_key": key}) for key in videos]
        if self.dataset.version != "v2.1":
            return self._unused_videos(videos)
        size = int(info.get("chunks_size") or 1000)
        moved: dict[Path, Path | None] = {}
        numbers = self.episode_of(self.dataset.episode_ids)
        for old, new in zip(self.dataset.episode_ids.tolist(), numbers.tolist(), strict=True):
            for template, keys in templates:
                paths = [
                    inside(folder, info[template], {"episode_index": i, "episode_chunk": i // size, **keys})
                    for folder, i in ((root, old), (target, max(new, 0)))
                ]
                moved[paths[0].relative_to(root)] = paths[1].relative_to(target) if new != DROPPED else None
        return moved

    def _unused_videos(self, videos: list[str]) -> dict[Path, Path | None]:
        """The videos of v3.0 in which no kept episode lies."""
        unused: dict[Path, Path | None] = {}
        for key in videos:
            paths, _ = self.dataset.video_files(key)
            used = {paths[i] for i in self.positions}
            unused.update({path.relative_to(self.dataset.root): None for path in set(paths) - used})
        return unused


@dataclass
class Changes:
    """What an export changes in the tables. n kept frames in dataset order.

    Attributes:
        columns: new features by name, `[n]` each: float32, int64 or bool. Declared, with statistics.
        task_index: the task of every frame, int64 `[n]`; None where tasks stay as they are.
        tasks: all task texts, position = task_index; given together with `task_index`.
    """

    columns: dict[str, np.ndarray] = field(default_factory=dict)
    task_index: np.ndarray | None = None
    tasks: list[str] | None = None

    def arrays(self, kept: Kept) -> dict[str, np.ndarray]:
        """All columns that are written anew, `[n]` each."""
        tasks = {} if self.task_index is None else {"task_index": self.task_index}
        return {**self.columns, **tasks, **kept.new_numbers()}


def everything(dataset: EpisodeDataset) -> Kept:
    """All episodes of a dataset."""
    return Kept(dataset, np.arange(len(dataset.episode_ids)))


def check_columns(dataset: EpisodeDataset, changes: Changes) -> None:
    """Raises DatasetError when the dataset has a feature or a column of a new name already."""
    known = {*dataset.info["features"], *dataset.frames.column_names}
    taken = [name for name in changes.columns if name in known]
    if taken:
        raise DatasetError(
            f"{dataset.root} has the column {taken[0]!r} already, and exports change no column. "
            "Export from the dataset without it (is this an export?)"
        )
