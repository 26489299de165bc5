"""Robot frames as training batches: everything is prepared once, a batch is a few array look-ups.

A row is a frame number over all datasets of the recipe, one after the other. `RobotCollator` turns many of
them into one batch of the model, with images as uint8 from the frame stores and prompts that were tokenised
beforehand.
"""

import difflib
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

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
    episode_numbers,
    open_dataset,
    resample,
    resolve_outcomes,
    select,
    split_episodes,
)
from ..episodes.layout import is_hub_id
from ..processing_value import TokenRows, ValueProcessor
from .config import ConfigError, DataConfig, PartConfig

logger = logging.getLogger(__name__)
WRIST_WORDS = ("wrist", "hand", "gripper")  # in the names of cameras that move with the gripper


@dataclass
class RobotPart:
    """One dataset of a mixture: its chosen episodes at the common frame rate. N frames."""

    dataset: EpisodeDataset
    source: EpisodeDataset  # as it is on disk
    source_rows: np.ndarray  # int64 [N]: the frame of `source` that shows each frame
    outcomes: Outcomes
    split: dict[str, list[int]]
    cameras: list[str]  # feature keys, in the order in which the model sees them
    rewards: np.ndarray | None  # dense rewards [N], in steps
    weight: float | None

    @classmethod
    def prepare(cls, config: PartConfig, split_seed: int, key: str | None = None) -> "RobotPart":
        """Opened and split, still at its own frame rate."""
        source = dataset = open_dataset(config.dataset, key=key)
        rows = np.arange(source.frames.num_rows)
        if config.episodes is not None:
            dataset, rows = select(source, episode_numbers(config.episodes, source, "data.episodes"))
        outcomes = resolve_outcomes(
            dataset, column=config.outcome_column, assume=config.assume_outcome, values=config.values
        )
        for warning in outcomes.warnings:
            logger.warning("%s", warning)
        split = split_episodes(dataset, outcomes, seed=split_seed)
        if not all(split.values()):
            raise DatasetError(
                f"{dataset.root}: {len(dataset.lengths)} episode(s) are too few for training, validation and "
                "test: at least 3 are needed"
            )
        rewards = None if config.reward_column is None else _dense_rewards(dataset, config.reward_column)
        cameras = _choose_cameras(dataset, config.cameras)
        return cls(dataset, source, rows, outcomes, split, cameras, rewards, config.weight)

    def at(self, fps: float) -> "RobotPart":
        """The same at another frame rate; dense rewards are summed, and counted in the new steps."""
        dataset, rows = resample(self.dataset, fps)
        rewards = self.rewards
        if rewards is not None and fps != self.dataset.fps:
            to_go = returns.dataset_returns(rewards, self.dataset.lengths)[rows] * (fps / self.dataset.fps)
            following = np.append(to_go[1:], 0.0)
            following[np.cumsum(dataset.lengths) - 1] = 0.0
            rewards = to_go - following
        return replace(self, dataset=dataset, source_rows=self.source_rows[rows], rewards=rewards)

    @property
    def tasks(self) -> np.ndarray:
        """Task text of every episode, `[E]`."""
        return np.array(self.dataset.tasks, dtype=object)[self.dataset.episode_tasks]

    @property
    def camera_names(self) -> list[str]:
        return [self.dataset.cameras[key].name for key in self.cameras]

    def is_in(self, name: str) -> np.ndarray:
        """Whether every episode belongs to "train", "validation" or "test": bool `[E]`."""
        return np.isin(self.dataset.episode_ids, self.split[name])

    def state_statistics(self) -> dict[str, list[float]]:
        """1% and 99% quantiles of every state dimension over the training split."""
        states = self.dataset.states[np.repeat(self.is_in("train"), self.dataset.lengths)]
        return {
            "q01": np.quantile(states, 0.01, axis=0).tolist(),
            "q99": np.quantile(states, 0.99, axis=0).tolist(),
        }


@dataclass
class RobotData:
    """All datasets of a recipe, ready to be learnt: targets (value units, `[N]`) and scales (steps).

    N counts the frames of all parts, one after the other. With `scale: task_max`, the scale of a task is that
    of its training episodes in all parts; a task that has none takes all of its episodes.
    """

    parts: list[RobotPart]
    targets: np.ndarray  # float32 [N]
    scales: dict[str, float]
    fail: str = "floor"  # what a failed episode costs, as of `returns.dataset_targets`
    fail_penalty: float = 0.0

    @classmethod
    def prepare(cls, config: DataConfig) -> "RobotData":
        """Opens, splits and resamples everything that the section `data` of a recipe names.

        Raises:
            DatasetError, ConfigError: data that cannot be read, or read as the recipe asks.
        """
        configs = config.parts()
        keys = _keys([part.dataset for part in configs])
        parts = [
            RobotPart.prepare(part, config.split_seed, key) for part, key in zip(configs, keys, strict=True)
        ]
        _check_no_dataset_twice(parts)
        _check_wrist_cameras(config.wrist_cameras, parts)
        _warn_of_outcomes_without_effect(config, parts)
        fps = config.fps or _common_fps(parts)
        parts = [part.at(fps) for part in parts]
        scale: str | float | dict = config.scale
        if scale == "task_max":
            lengths = np.concatenate([part.dataset.lengths for part in parts])
            tasks = np.concatenate([part.tasks for part in parts])
            train = np.concatenate([part.is_in("train") for part in parts])
            scale = returns.task_scales(lengths, tasks)
            scale |= returns.task_scales(lengths[train], tasks[train])
        targets, scales = [], {}
        for part in parts:
            of_part, part_scales = returns.dataset_targets(
                part.dataset.lengths,
                part.outcomes.success,
                part.tasks,
                scale=scale,
                fail=config.fail,
                fail_penalty=config.fail_penalty,
                rewards=part.rewards,
            )
            targets.append(of_part)
            scales |= part_scales
        together = np.concatenate(targets).astype(np.float32)
        return cls(parts, together, scales, config.fail, config.fail_penalty)

    # --- all parts in one row of frames ----------------------------------------------------------------

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of each part, int64 `[parts]`."""
        sizes = [part.dataset.frames.num_rows for part in self.parts]
        return np.cumsum([0, *sizes[:-1]])

    def part_of(self, rows: np.ndarray) -> np.ndarray:
        """Which part every row belongs to, int64 `[n]`."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def part_rows(self, name: str) -> list[np.ndarray]:
        """Frame rows of "train", "validation" or "test", in order, for each part."""
        return [
            start + np.flatnonzero(np.repeat(part.is_in(name), part.dataset.lengths))
            for start, part in zip(self.starts, self.parts, strict=True)
        ]

    def rows(self, name: str) -> np.ndarray:
        """Frame rows of "train", "validation" or "test", in order."""
        return np.concatenate(self.part_rows(name))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Frames of each episode of all parts, int64 `[E]`."""
        return np.concatenate([part.dataset.lengths for part in self.parts])

    @cached_property
    def episode(self) -> np.ndarray:
        """Number of the episode of every row, counted over all parts, int64 `[N]`."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def frame_index(self) -> np.ndarray:
        """int64 `[N]`"""
        return np.concatenate([part.dataset.frame_index for part in self.parts])

    @cached_property
    def success(self) -> np.ndarray:
        """Outcome of every row's episode, bool `[N]`."""
        return np.repeat(np.concatenate([part.outcomes.success for part in self.parts]), self.lengths)

    @cached_property
    def tasks(self) -> list[str]:
        """Task texts of all parts, each once."""
        return list(dict.fromkeys(task for part in self.parts for task in part.dataset.tasks))

    @cached_property
    def task_index(self) -> np.ndarray:
        """Position in `tasks`, of every row, int64 `[N]`."""
        place = {task: number for number, task in enumerate(self.tasks)}
        return np.concatenate(
            [np.array([place[t] for t in p.dataset.tasks])[p.dataset.task_index] for p in self.parts]
        )

    # --- for the processor and the collator ------------------------------------------------------------

    @property
    def fps(self) -> float:
        return self.parts[0].dataset.fps

    @property
    def camera_names(self) -> list[str]:
        """Names of the cameras of all parts, each once."""
        return list(dict.fromkeys(name for part in self.parts for name in part.camera_names))

    def state_statistics(self) -> dict[str, dict[str, list[float]]]:
        """By dataset key, for the datasets that have a state."""
        return {p.dataset.key: p.state_statistics() for p in self.parts if p.dataset.state_key}

    def frame_stores(self, image_size: int, resample: str, cache_dir: str | None) -> list[FrameStore]:
        """The frame store of every part, built where there is none yet."""
        return [
            build_frame_store(
                part.source,
                image_size,
                resample,
                cameras=part.cameras,
                episodes=part.dataset.episode_ids.tolist(),
                cache_dir=cache_dir,
            )
            for part in self.parts
        ]

    def part_at(self, place: str | Path) -> RobotPart | None:
        """The part whose dataset lies there, if one does."""
        if is_hub_id(place):
            repo = str(place).partition("@")[0]
            return next((p for p in self.parts if p.source.hub and p.source.hub.repo == repo), None)
        here = Path(place).resolve()
        return next((part for part in self.parts if part.source.root.resolve() == here), None)

    # --- a recipe of one dataset ------------------------------------------------------------------------

    @property
    def only(self) -> RobotPart:
        """The part of a recipe with one dataset."""
        if len(self.parts) > 1:
            raise ValueError(f"this mixture has {len(self.parts)} datasets: choose one of `parts`.")
        return self.parts[0]

    @property
    def dataset(self) -> EpisodeDataset:
        return self.only.dataset

    @property
    def outcomes(self) -> Outcomes:
        return self.only.outcomes

    @property
    def split(self) -> dict[str, list[int]]:
        return self.only.split

    @property
    def cameras(self) -> list[str]:
        return self.only.cameras


def _keys(folders: list[str]) -> list[str | None]:
    """Names for state statistics where the folders' own names are not distinct, else None.

    A dataset of the Hub has its owner in its name anyway.
    """
    names = [folder if is_hub_id(folder) else Path(folder).resolve().name for folder in folders]
    paths = [Path(folder).resolve() for folder in folders]
    return [
        f"{path.parent.name}/{path.name}" if names.count(name) > 1 and not is_hub_id(folder) else None
        for name, path, folder in zip(names, paths, folders, strict=True)
    ]


def _check_no_dataset_twice(parts: list[RobotPart]) -> None:
    seen: dict[str, Path] = {}
    for part in parts:
        other = seen.setdefault(part.source.fingerprint, part.source.root)
        if other is not part.source.root:
            raise ConfigError(
                f"data.mixture: {part.source.root} and {other} are the same dataset. Name it once, with a "
                "larger weight."
            )
    keys = [part.dataset.key for part in parts]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"data.mixture: the datasets need distinct folder names, got {', '.join(keys)}.")


def _check_wrist_cameras(names: list[str] | None, parts: list[RobotPart]) -> None:
    """All of them are cameras of a dataset: one that is not would be varied as any other."""
    known = {camera.name: None for part in parts for camera in part.dataset.cameras.values()}
    for name in names or []:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Cameras: {', '.join(known)}."
            raise ConfigError(f"data.wrist_cameras: no dataset has a camera {name!r}. {hint}")


def _warn_of_outcomes_without_effect(config: DataConfig, parts: list[RobotPart]) -> None:
    """Settings that can be meant, but rarely are."""
    sparse = any(part.rewards is None for part in parts)
    if config.fail == "floor" and config.fail_penalty:
        logger.warning("data.fail_penalty %g has no effect with data.fail: floor.", config.fail_penalty)
    if config.fail == "penalty" and not config.fail_penalty and sparse:
        logger.warning(
            "data.fail: penalty with data.fail_penalty 0: failed episodes have the targets of successes."
        )
    for part in parts:
        if part.rewards is None:
            continue
        above = returns.dataset_returns(part.rewards, part.dataset.lengths) > 0
        if above.any():
            logger.warning(
                "%s: %d of %d frames have a return above 0 by the dense rewards; their target is 0, that of "
                "success. Rewards are in steps: -1 for each that passes.",
                part.dataset.root,
                above.sum(),
                len(above),
            )


def _common_fps(parts: list[RobotPart]) -> float:
    rates = {part.dataset.fps: part.dataset.root for part in parts}
    if len(rates) > 1:
        seen = ", ".join(f"{root} has {fps:g}" for fps, root in rates.items())
        raise ConfigError(f"the datasets have different frame rates ({seen}): set data.fps to a common one.")
    return next(iter(rates))


def _dense_rewards(dataset: EpisodeDataset, column: str) -> np.ndarray:
    """Rewards r_t `[N]` from a column of the frames, in steps."""
    if column not in dataset.frames.column_names:
        raise ConfigError(
            f"data.reward_column: {dataset.root} has no column {column!r}. Columns: "
            f"{', '.join(dataset.frames.column_names)}."
        )
    try:
        rewards = dataset.frames[column].to_numpy().astype(np.float64)
    except (ValueError, TypeError) as error:
        kind = dataset.frames[column].type
        raise ConfigError(f"data.reward_column: {column!r} must hold numbers, it holds {kind}.") from error
    wrong = np.flatnonzero(~np.isfinite(rewards))
    if len(wrong):
        raise DatasetError(
            f"{dataset.where(wrong[0])}: {column} is {rewards[wrong[0]]} ({len(wrong)} such frames); dense "
            "rewards must be finite"
        )
    return rewards


def _choose_cameras(dataset: EpisodeDataset, names: list[str] | None) -> list[str]:
    by_name = {camera.name: key for key, camera in dataset.cameras.items()}
    if names is not None and not names:
        raise ConfigError("data.cameras is empty: leave it out to use all cameras.")
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


@dataclass
class RobotRows:
    """The pieces of some rows `[n]` of a batch, with I images."""

    prompts: TokenRows
    pixel_values: np.ndarray  # uint8 [I, 3, H, W]
    images_per_row: np.ndarray  # int64 [n]
    value_targets: np.ndarray  # float32 [n]
    is_wrist: np.ndarray  # bool [I]
    image_groups: np.ndarray  # int64 [I]: the same for both frames of a pair from one camera


class RobotCollator:
    """Frame rows `[B]` to a batch of the model: array look-ups, no loop over frames.

    Returns `input_ids`, `attention_mask`, `token_type_ids` `[B, S]`, `pixel_values` uint8 `[I, 3, H, W]` with
    the cameras of every row in the processor's order, and `value_targets` float32 `[B]`. A training collator
    adds `is_wrist` bool `[I]` and `image_groups` int64 `[I]`, for the augmentation.

    With `state_dropout`, that share of rows has a prompt without state. With `pairs`, a row has a reference
    frame of the same episode before its own, and its target is the difference of both targets. The reference
    is any frame in training, and the first one in evaluation. Both choices depend on the rows of the batch
    and the seed alone, so a resumed run makes the same ones.

    Args:
        stores: frame store of each part of `data`.
        pairs: for models with `frames_per_sample: 2`.
        wrist_cameras: names of cameras that move with the gripper; default: by their names.
    """

    def __init__(
        self,
        data: RobotData,
        stores: list[FrameStore],
        processor: ValueProcessor,
        use_state: bool = True,
        pairs: bool = False,
        wrist_cameras: list[str] | None = None,
    ):
        self.data, self.stores, self.processor, self.pairs = data, stores, processor, pairs
        self.use_state = use_state and any(part.dataset.state_key for part in data.parts)
        self.without_state = processor.tokenize(processor.robot_prompts(data.tasks))
        self.with_state = tokenize_frames(data, processor) if self.use_state else None
        order = {name: number for number, name in enumerate(data.camera_names)}
        self.cameras = [
            sorted(part.cameras, key=lambda key, part=part: order[part.dataset.cameras[key].name])
            for part in data.parts
        ]
        self.is_wrist = [
            np.array([_is_wrist(part.dataset.cameras[key].name, wrist_cameras) for key in keys])
            for part, keys in zip(data.parts, self.cameras, strict=True)
        ]
        self.first_rows = np.cumsum(data.lengths) - data.lengths  # of every episode
        self.is_training, self.state_dropout, self.seed = False, 0.0, 0

    def training(self, state_dropout: float, seed: int) -> "RobotCollator":
        """The same collator for training batches, with state dropout."""
        copy = object.__new__(RobotCollator)
        copy.__dict__.update(self.__dict__, is_training=True, state_dropout=state_dropout, seed=seed)
        return copy

    def __call__(self, rows, image_rows=None) -> dict[str, torch.Tensor]:
        """`image_rows` takes the images from other frames than prompts and targets (a probe)."""
        found = self.look_up(rows, image_rows)
        batch = self.processor.assemble(found.prompts, images_per_row=found.images_per_row)
        batch["pixel_values"] = torch.from_numpy(found.pixel_values)
        batch["value_targets"] = torch.from_numpy(found.value_targets)
        if self.is_training:
            batch["is_wrist"] = torch.from_numpy(found.is_wrist)
            batch["image_groups"] = torch.from_numpy(found.image_groups)
        return batch

    def look_up(self, rows, image_rows=None) -> RobotRows:
        """What belongs to frame rows `[n]`, before it is laid out as a batch."""
        rows = np.asarray(rows, np.int64)
        image_rows = rows if image_rows is None else np.asarray(image_rows, np.int64)
        random = np.random.default_rng([self.seed, *rows])
        targets, shown = self.data.targets[rows], [image_rows]
        prompts = self._prompts(rows, random)
        if self.pairs:
            share = random.random(len(rows)) if self.is_training else np.zeros(len(rows))
            targets = targets - self.data.targets[self._reference(rows, share)]
            shown = [self._reference(image_rows, share), image_rows]
        return self._with_images(shown, prompts, targets)

    def _prompts(self, rows: np.ndarray, random: np.random.Generator) -> TokenRows:
        tasks = self.data.task_index[rows]
        if self.with_state is None:
            return self.without_state[tasks]
        if not self.state_dropout:
            return self.with_state[rows]
        drop = random.random(len(rows)) < self.state_dropout
        prompts = TokenRows.concatenate([self.with_state[rows], self.without_state[tasks]])
        return prompts[np.arange(len(rows)) + drop * len(rows)]

    def _reference(self, rows: np.ndarray, share: np.ndarray) -> np.ndarray:
        """The frame at this share `[n]` in [0, 1) of every row's episode, as a row."""
        episodes = self.data.episode[rows]
        return self.first_rows[episodes] + (share * self.data.lengths[episodes]).astype(np.int64)

    def _with_images(self, shown: list[np.ndarray], prompts: TokenRows, targets: np.ndarray) -> RobotRows:
        """Rows that show these frames `[n]`, one after the other, from every camera of their dataset."""
        data = self.data
        part_of = data.part_of(shown[-1])
        cameras = np.array([len(keys) for keys in self.cameras])[part_of]
        per_row = cameras * len(shown)
        first = np.cumsum(per_row) - per_row
        size = self.stores[0].size
        pixels = np.empty((per_row.sum(), 3, size, size), np.uint8)
        is_wrist = np.zeros(per_row.sum(), bool)
        groups = np.zeros(per_row.sum(), np.int64)
        for number in np.unique(part_of):
            part, store, mine = data.parts[number], self.stores[number], np.flatnonzero(part_of == number)
            for place, rows in enumerate(shown):
                source_rows = part.source_rows[rows[mine] - data.starts[number]]
                for camera, key in enumerate(self.cameras[number]):
                    at = first[mine] + place * len(self.cameras[number]) + camera
                    pixels[at] = store.gather(key, source_rows)
                    is_wrist[at] = self.is_wrist[number][camera]
                    groups[at] = first[mine] + camera
        return RobotRows(prompts, pixels, per_row, targets, is_wrist, groups)


def _is_wrist(name: str, named: list[str] | None) -> bool:
    return name in named if named is not None else any(word in name.lower() for word in WRIST_WORDS)


def tokenize_frames(data: RobotData, processor: ValueProcessor, chunk: int = 65536) -> TokenRows:
    """Prompts of every frame, tokenised once: with the state, where the frame's dataset has one."""
    pieces = []
    for part in data.parts:
        dataset = part.dataset
        tasks = np.array(dataset.tasks, dtype=object)[dataset.task_index]
        for i in range(0, len(tasks), chunk):
            states = dataset.states[i : i + chunk] if dataset.state_key else None
            prompts = processor.robot_prompts(tasks[i : i + chunk].tolist(), states, dataset.key)
            pieces.append(processor.tokenize(prompts))
    return TokenRows.concatenate(pieces)
