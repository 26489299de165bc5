"""Robot frames as training batches: everything is prepared once, a batch is a few array look-ups.

A row of these datasets is a frame number. `RobotCollator` turns many of them into one batch of the model,
with images as uint8 from the frame store and prompts that were tokenised beforehand.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from .. import returns
from ..episodes import (
    DatasetError,
    EpisodeDataset,
    FrameStore,
    Outcomes,
    build_frame_store,
    open_dataset,
    resolve_outcomes,
    split_episodes,
)
from ..processing_value import TokenRows, ValueProcessor
from .config import ConfigError, DataConfig


@dataclass
class RobotData:
    """A dataset ready to be learnt: outcomes, split, targets (value units, `[N]`) and scales (steps).

    With `scale: task_max`, the scale of a task is that of its training episodes; a task that has none takes
    all of its episodes.
    """

    dataset: EpisodeDataset
    outcomes: Outcomes
    split: dict[str, list[int]]
    targets: np.ndarray
    scales: dict[str, float]
    cameras: list[str]  # feature keys, in the order in which the model sees them

    @classmethod
    def prepare(cls, config: DataConfig) -> "RobotData":
        dataset = open_dataset(config.dataset)
        outcomes = resolve_outcomes(dataset, column=config.outcome_column, assume=config.assume_outcome)
        split = split_episodes(dataset, outcomes, seed=config.split_seed)
        if not all(split.values()):
            raise DatasetError(
                f"{dataset.root}: {len(dataset.lengths)} episode(s) are too few for training, validation and "
                "test: at least 3 are needed"
            )
        tasks = np.array(dataset.tasks)[dataset.episode_tasks]
        scale = config.scale
        if scale == "task_max":
            train = np.isin(dataset.episode_ids, split["train"])
            scale = returns.task_scales(dataset.lengths, tasks)
            scale |= returns.task_scales(dataset.lengths[train], tasks[train])
        targets, scales = returns.dataset_targets(
            dataset.lengths,
            outcomes.success,
            tasks,
            scale=scale,
            fail=config.fail,
            fail_penalty=config.fail_penalty,
        )
        return cls(
            dataset=dataset,
            outcomes=outcomes,
            split=split,
            targets=targets.astype(np.float32),
            scales=scales,
            cameras=_choose_cameras(dataset, config.cameras),
        )

    def rows(self, part: str) -> np.ndarray:
        """Frame rows of "train", "validation" or "test", in order."""
        return np.flatnonzero(np.isin(self.dataset.episode_index, self.split[part]))

    def state_statistics(self) -> dict[str, list[float]]:
        """1% and 99% quantiles of every state dimension over the training split."""
        states = self.dataset.states[self.rows("train")]
        return {
            "q01": np.quantile(states, 0.01, axis=0).tolist(),
            "q99": np.quantile(states, 0.99, axis=0).tolist(),
        }

    def frame_store(self, image_size: int, resample: str, cache_dir: str | None) -> FrameStore:
        return build_frame_store(
            self.dataset, image_size, resample, cameras=self.cameras, cache_dir=cache_dir
        )

    @property
    def camera_names(self) -> list[str]:
        return [self.dataset.cameras[key].name for key in self.cameras]


def _choose_cameras(dataset: EpisodeDataset, names: list[str] | None) -> list[str]:
    by_name = {camera.name: key for key, camera in dataset.cameras.items()}
    unknown = [name for name in names or [] if name not in by_name]
    if unknown:
        raise ConfigError(f"{dataset.root}: no camera {unknown[0]!r}. Cameras: {', '.join(by_name)}.")
    if names and len(set(names)) < len(names):
        raise ConfigError(f"data.cameras names a camera twice: {', '.join(names)}.")
    chosen = [by_name[name] for name in names] if names else list(dataset.cameras)
    if not chosen:
        raise ConfigError(f"{dataset.root}: this dataset has no cameras; a value model needs at least one.")
    return chosen


class FrameRows(Dataset):
    """Frame rows `[n]` as a dataset; a batch of it is an array of rows."""

    def __init__(self, rows: np.ndarray):
        self.frames = np.asarray(rows, np.int64)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> np.int64:
        return self.frames[index]

    def __getitems__(self, indices: list[int]) -> np.ndarray:
        return self.frames[indices]


def evenly_spaced(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows, spread evenly over all of them."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


class RobotCollator:
    """Frame rows `[B]` to a batch of the model: array look-ups, no loop over frames.

    Returns (for C cameras): `input_ids`, `attention_mask`, `token_type_ids` `[B, S]`, `pixel_values` uint8
    `[B * C, 3, H, W]` and `value_targets` float32 `[B]`.

    With `state_dropout`, that share of rows has a prompt without state. The choice depends on the rows of the
    batch and the seed alone, so a resumed run makes the same one.
    """

    def __init__(self, data: RobotData, store: FrameStore, processor: ValueProcessor, use_state: bool = True):
        self.data, self.store, self.processor = data, store, processor
        dataset = data.dataset
        self.use_state = use_state and dataset.state_key is not None
        self.without_state = processor.tokenize(processor.robot_prompts(dataset.tasks))
        self.with_state = tokenize_frames(dataset, processor) if self.use_state else None
        self.state_dropout, self.seed = 0.0, 0

    def training(self, state_dropout: float, seed: int) -> "RobotCollator":
        """The same collator for training batches, with state dropout."""
        copy = object.__new__(RobotCollator)
        copy.__dict__.update(self.__dict__, state_dropout=state_dropout, seed=seed)
        return copy

    def __call__(self, rows, image_rows=None) -> dict[str, torch.Tensor]:
        """`image_rows` takes the images from other frames than prompts and targets (a probe)."""
        rows = np.asarray(rows, np.int64)
        image_rows = rows if image_rows is None else np.asarray(image_rows, np.int64)
        batch = self.processor.assemble(self._prompts(rows), images_per_row=len(self.data.cameras))
        frames = np.stack([self.store.gather(camera, image_rows) for camera in self.data.cameras], axis=1)
        batch["pixel_values"] = torch.from_numpy(frames.reshape(-1, *frames.shape[2:]))
        batch["value_targets"] = torch.from_numpy(self.data.targets[rows])
        return batch

    def _prompts(self, rows: np.ndarray) -> TokenRows:
        tasks = self.data.dataset.task_index[rows]
        if self.with_state is None:
            return self.without_state[tasks]
        if not self.state_dropout:
            return self.with_state[rows]
        drop = np.random.default_rng([self.seed, *rows]).random(len(rows)) < self.state_dropout
        prompts = TokenRows.concatenate([self.with_state[rows], self.without_state[tasks]])
        return prompts[np.arange(len(rows)) + drop * len(rows)]


def tokenize_frames(dataset: EpisodeDataset, processor: ValueProcessor, chunk: int = 65536) -> TokenRows:
    """Prompts with state of every frame of a dataset, tokenised once."""
    tasks = np.array(dataset.tasks, dtype=object)[dataset.task_index]
    parts = [
        processor.tokenize(
            processor.robot_prompts(tasks[i : i + chunk].tolist(), dataset.states[i : i + chunk], dataset.key)
        )
        for i in range(0, len(tasks), chunk)
    ]
    return TokenRows.concatenate(parts)
