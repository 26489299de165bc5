"""What is to be scored, and how: whether checkpoint and dataset fit, the parts, and the manifest."""

import difflib
import math
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version

import numpy as np
import torch

from ..episodes import Camera, EpisodeDataset, episode_numbers
from ..processing_value import TokenRows
from ..training import ConfigError
from .checkpoint import Checkpoint
from .forward import best_dtype
from .pictures import Part
from .scores import FIXED, FORMAT

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
HORIZON = 50  # frames; seed 3
PAIR_COLUMNS = ("relative", "absolute_value", "absolute_advantage")


@dataclass(frozen=True)
class Settings:
    """How to score. All of it is in the manifest, but for what follows from it."""

    episodes: str | list[int] | None = None  # a list, or "0:100, 150"; all when None
    every: int = 1  # score each k-th frame of an episode and its last; the others are interpolated
    quantiles: tuple[float, ...] = ()
    distribution: bool = False
    batch_size: int = 64  # frames in one forward pass
    part_frames: int | None = None  # frames of a part; None: a 64th of all, from 1024 to 4096
    dtype: str = "auto"  # float32 | bfloat16 | auto
    horizon: int | None = None  # frames from a frame to the one that a pair compares it with; None: HORIZON
    cameras: tuple[str, ...] = ()  # names; empty: all that the checkpoint knows
    state: bool = True  # put the state into the prompt, where the checkpoint was trained with it
    statistics: str | None = None  # key of the checkpoint's state statistics; default: the dataset's
    scale: float | None = None  # steps, for tasks that the checkpoint does not know

    def check(self) -> None:
        """Raises ConfigError when a setting is out of range."""
        ranges = {
            "every": (self.every >= 1, "1 or more"),
            "batch-size": (self.batch_size >= 1, "1 or more"),
            "part-frames": (self.part_frames is None or self.part_frames >= 1, "1 or more"),
            "horizon": (self.horizon is None or self.horizon >= 1, "1 or more"),
            "quantiles": (all(0 < level < 1 for level in self.quantiles), "between 0 and 1"),
            "dtype": (self.dtype in ("auto", *DTYPES), f"one of auto, {', '.join(DTYPES)}"),
            "scale": (self.scale is None or 0 < self.scale < math.inf, "positive"),
        }
        for name, (good, rule) in ranges.items():
            if not good:
                raise ConfigError(f"--{name} must be {rule}, got {getattr(self, name.replace('-', '_'))}")
        if self.quantiles and self.distribution:
            raise ConfigError("choose --quantiles or --distribution: the one follows from the other")


@dataclass
class Job:
    """A checkpoint and a dataset that fit."""

    dataset: EpisodeDataset
    checkpoint: Checkpoint
    settings: Settings
    device: torch.device
    cameras: list[Camera] = field(init=False)  # in the order in which the model sees them
    statistics: str | None = field(init=False)  # key of the state statistics; None: no state in the prompts
    episodes: list[int] = field(init=False)
    scales: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        """Raises ConfigError or DatasetError when the two do not fit."""
        self.settings.check()
        if self.settings.horizon is not None and not self.pairs:
            raise ConfigError(
                f"--horizon {self.settings.horizon} is for checkpoints that compare pairs of frames, and "
                "this one reads single frames: give the horizon to valuecurve label"
            )
        numbers = self.settings.episodes
        asked = None if numbers is None else episode_numbers(numbers, self.dataset)
        positions = np.unique(self.dataset.episode_positions(asked))
        self.episodes = self.dataset.episode_ids[positions].tolist()
        if not self.episodes:
            raise ConfigError("--episodes chooses no episode")
        self.cameras = self._cameras()
        self.statistics = self._statistics()
        self.scales = self._scales()

    @property
    def pairs(self) -> bool:
        """Whether the model judges pairs of frames."""
        return self.checkpoint.model.config.frames_per_sample == 2

    @property
    def horizon(self) -> int:
        """Frames between both of a pair."""
        return self.settings.horizon or HORIZON

    @property
    def dtype(self) -> torch.dtype:
        """What the backbones compute in."""
        name = self.settings.dtype
        return best_dtype(self.device) if name == "auto" else DTYPES[name]

    def _cameras(self) -> list[Camera]:
        here = {camera.name: camera for camera in self.dataset.cameras.values()}
        known = self.checkpoint.processor.cameras or list(here)
        wanted = list(self.settings.cameras) or known
        for name in wanted:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ConfigError(
                    f"--cameras: {hint}the checkpoint does not know {name!r}, it knows {', '.join(known)}"
                )
        missing = [name for name in wanted if name not in here]
        if missing:
            some = [name for name in wanted if name in here]
            hint = f"; to score with {', '.join(some)} alone: --cameras {','.join(some)}" if some else ""
            raise ConfigError(
                f"{self.dataset.root} has no camera {missing[0]!r}, which the checkpoint was trained with. "
                f"Cameras of the dataset: {', '.join(here) or 'none'}; of the checkpoint: {', '.join(known)}"
                f"{hint}"
            )
        return [here[name] for name in known if name in wanted]

    def _statistics(self) -> str | None:
        known, dataset = self.checkpoint.processor.state_statistics, self.dataset
        if not known or not self.settings.state:
            if self.settings.statistics is not None:
                raise ConfigError(f"--statistics {self.settings.statistics}: no state is read; leave it out")
            return None
        if dataset.state_key is None:
            raise ConfigError(
                f"{dataset.root} has no state, and the checkpoint was trained with one: --no-state leaves it "
                "out of the prompts"
            )
        key = self.settings.statistics or dataset.key
        if key not in known and self.settings.statistics is None and len(known) == 1:
            key = next(iter(known))  # other episodes of the same robot
        if key not in known:
            raise ConfigError(
                f"the checkpoint has no state statistics of {key!r}: choose with --statistics one of "
                f"{', '.join(sorted(known))}"
            )
        seen, wanted = dataset.states.shape[1], len(known[key]["q01"])
        if seen != wanted:
            raise ConfigError(
                f"the state of {dataset.root} has {seen} dimensions, that of {key!r}, which the checkpoint "
                f"was trained on, {wanted}: another robot? --no-state leaves the state out of the prompts"
            )
        return key

    def _scales(self) -> dict[str, float]:
        known, dataset = self.checkpoint.processor.scales, self.dataset
        if self.pairs or not known:
            return {}  # progress: a share of the episode
        scales = {}
        rows = dataset.episode_rows(self.episodes)
        found, first = np.unique(dataset.task_index[rows], return_index=True)
        for index, row in zip(found.tolist(), rows[first].tolist(), strict=True):
            task = dataset.tasks[index]
            scale = known.get(task, self.settings.scale)
            if scale is None:
                near = difflib.get_close_matches(task, known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ConfigError(
                    f"{dataset.where(row)}: the checkpoint does not know the task {task!r}: {hint}It knows "
                    f"{', '.join(map(repr, sorted(known)))}. --scale STEPS says how many steps one value "
                    "unit shall stand for in such tasks"
                )
            scales[task] = float(scale)
        return scales

    # -- frames --------------------------------------------------------------------------------------------

    @cached_property
    def part_frames(self) -> int:
        """Frames of a part, about: few enough that many processes get an even share of a small dataset."""
        frames = int(self.dataset.lengths[self.dataset.episode_positions(self.episodes)].sum())
        return self.settings.part_frames or min(max(frames // 64, 1024), 4096)

    @cached_property
    def parts(self) -> list[Part]:
        """Whole episodes, about `part_frames` frames each; they depend on dataset and settings alone."""
        dataset, positions = self.dataset, self.dataset.episode_positions(self.episodes)
        lengths = dataset.lengths[positions]
        number = (np.cumsum(lengths) - lengths) // self.part_frames
        groups = np.split(np.array(self.episodes), np.flatnonzero(np.diff(number)) + 1)
        return [
            Part(i, episodes.tolist(), self._wanted(dataset.episode_rows(episodes.tolist())))
            for i, episodes in enumerate(groups)
        ]

    def scored(self, rows: np.ndarray) -> np.ndarray:
        """Which of these rows are scored, and not interpolated: bool [n]."""
        frame = self.dataset.frame_index[rows]
        return (frame % self.settings.every == 0) | (rows == self.last_rows(rows))

    def last_rows(self, rows: np.ndarray) -> np.ndarray:
        """The last row of each row's episode, int64 [n]."""
        place = np.searchsorted(self.dataset.starts, rows, side="right") - 1
        return self.dataset.starts[place] + self.dataset.lengths[place] - 1

    def partners(self, rows: np.ndarray) -> np.ndarray:
        """The later frame that a pair compares each row with: `horizon` ahead, or the last, int64 [n]."""
        return np.minimum(rows + self.horizon, self.last_rows(rows))

    def _wanted(self, rows: np.ndarray) -> np.ndarray:
        scored = rows[self.scored(rows)]
        return np.union1d(scored, self.partners(scored)) if self.pairs else scored

    def prompts(self, rows: np.ndarray) -> TokenRows:
        """Prompts of rows, as in training."""
        dataset, processor = self.dataset, self.checkpoint.processor
        tasks = [dataset.tasks[index] for index in dataset.task_index[rows].tolist()]
        states = None if self.statistics is None else dataset.states[rows]
        prompts = processor.robot_prompts(tasks, states, self.statistics)
        place = {text: i for i, text in enumerate(dict.fromkeys(prompts))}
        return processor.tokenize(list(place))[np.array([place[text] for text in prompts])]

    # -- the manifest --------------------------------------------------------------------------------------

    @property
    def columns(self) -> list[str]:
        more = ["quantiles"] * bool(self.settings.quantiles) + ["distribution"] * self.settings.distribution
        return [*FIXED, *more, *(PAIR_COLUMNS if self.pairs else ())]

    def manifest(self) -> dict:
        """The manifest of a run that has just begun."""
        dataset, config, settings = self.dataset, self.checkpoint.model.config, self.settings
        scores = {
            "model": self.checkpoint.name,
            "revision": self.checkpoint.revision,
            "weights": self.checkpoint.weights,
            "fps": self.checkpoint.processor.fps,
            "scales": self.scales,
            "fail": self.checkpoint.processor.fail,
            "fail_penalty": self.checkpoint.processor.fail_penalty,
            "v_min": float(config.v_min),
            "v_max": float(config.v_max),
            "num_bins": config.num_bins,
            "every": settings.every,
            "columns": self.columns,
            "quantile_levels": list(settings.quantiles) or None,
            "episodes": "all" if len(self.episodes) == len(dataset.episode_ids) else self.episodes,
            "failed_episodes": {},
            "complete": False,
            "parts": len(self.parts),
            "part_frames": self.part_frames,
            "cameras": [camera.name for camera in self.cameras],
            "statistics": self.statistics,
            "dtype": str(self.dtype).removeprefix("torch."),
            "batch_size": settings.batch_size,
            "versions": {name: version(name) for name in ("valuecurve", "torch", "transformers", "av")},
        }
        scores |= {"horizon": self.horizon} if self.pairs else {}
        about = {
            "key": dataset.key,
            "fingerprint": dataset.fingerprint,
            "frames": dataset.frames.num_rows,
            "episodes": len(dataset.episode_ids),
            **dataset.origin,
        }
        return {"format": FORMAT, "dataset": about, "scores": scores}
