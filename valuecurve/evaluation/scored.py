"""Curves of a scored dataset: its score sidecars, with labels and outcomes where there are any.

Nothing here needs torch. Left out: frames (film.py), drawing (pictures.py, figures.py, video.py), and
evaluating a checkpoint.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..episodes import DatasetError, EpisodeDataset, episode_numbers, resolve_outcomes, select
from ..labels.label_set import LabelSet, read_labels
from ..labels.making import episode_scales, is_pairwise
from ..labels.rewards import value_rewards
from ..metrics import value_report
from ..returns import dataset_returns
from ..scoring.scores import Scores, read_scores
from .choosing import SHOWN, choose_episodes, failure_kind
from .curves import Curve
from .split import episodes_of_split, find_split


@dataclass
class Scored:
    """The scored episodes of a dataset. n frames, E episodes; everything is in their order."""

    dataset: EpisodeDataset
    view: EpisodeDataset  # the scored episodes alone: its rows are those of the scores
    scores: Scores
    labels: LabelSet | None
    success: np.ndarray | None  # bool [E]; None where outcomes are not known
    notes: list[str] = field(default_factory=list)  # what is not known, and why
    split: str | None = None  # which one these are of alone

    @property
    def about(self) -> dict:
        """manifest["scores"]."""
        return self.scores.manifest["scores"]

    @property
    def distributions(self) -> np.ndarray | None:
        """float32 [n, bins]; None where the scores lack them."""
        return self.scores.columns.get("distribution")

    @property
    def frame_success(self) -> np.ndarray | None:
        """Outcome of each frame's episode, bool [n]."""
        return None if self.success is None else np.repeat(self.success, self.view.lengths)

    @cached_property
    def targets(self) -> np.ndarray | None:
        """Value targets, float64 [n], as training makes them; None where outcomes or scales are not known.

        Of a labelled dataset they are the clipped returns of its labels; else they come from the outcomes and
        the scales of the model, failures at what they cost in training ("floor" where that is not written).
        """
        about = self.about
        ends = about["v_min"], about["v_max"]
        returns = self._labelled("returns", slice(None))
        if returns is not None and np.isfinite(returns).all():
            return np.clip(returns.astype(np.float64), *ends)
        if self.success is None or is_pairwise(self.scores):
            return None
        scale, fps = episode_scales(self.view, "checkpoint", about), about["fps"] or self.view.fps
        earned = value_rewards(
            self.view.lengths,
            self.success,
            scale,
            fail=about.get("fail") or "floor",
            fail_penalty=(about.get("fail_penalty") or 0.0) * self.view.fps / fps,
            v_min=ends[0],
        )
        return np.clip(dataset_returns(earned, self.view.lengths), *ends)

    @cached_property
    def measured(self) -> dict[str, dict[str, np.ndarray]]:
        """The curves of a `ValueReport`; without targets only that which needs outcomes alone."""
        targets, about = self.targets, self.about
        return value_report(
            None if targets is None else self.distributions,
            np.zeros(len(self.scores.value)) if targets is None else targets,
            values=self.scores.value,
            episode_index=self.view.episode_index,
            frame_index=self.view.frame_index,
            success=self.frame_success,
            v_min=about["v_min"],
            v_max=about["v_max"],
        ).curves

    def curve(self, episode: int, strip: tuple[np.ndarray, np.ndarray] | None = None) -> Curve:
        """The curve of an episode; `strip` holds thumbnails and their frames, from `film.film_strips`.

        The band is the distribution, else the outermost quantiles, else the standard deviation.
        """
        view, about = self.view, self.about
        position = int(view.episode_positions([episode])[0])
        rows = slice(int(view.starts[position]), int(view.starts[position] + view.lengths[position]))
        task = view.tasks[int(view.episode_tasks[position])]
        scale, success = about["scales"].get(task), self.success
        interval, name = self._interval(rows)
        shown = {} if strip is None else {"thumbnails": strip[0], "thumbnail_frames": strip[1]}
        return Curve(
            episode_index=episode,
            task=task,
            success=None if success is None else bool(success[position]),
            fps=view.fps,
            value=self.scores.value[rows],
            probabilities=None if self.distributions is None else self.distributions[rows],
            target=None if self.targets is None else self.targets[rows],
            scale_seconds=None if scale is None else scale / (about["fps"] or view.fps),
            failure_kind=failure_kind(view, position),
            positive=self._labelled("positive", rows),
            advantage=self._labelled("advantage", rows),
            v_min=about["v_min"],
            v_max=about["v_max"],
            threshold=None if self.labels is None else self._labelled("threshold", rows),
            horizon=None if self.labels is None else self.labels.settings["horizon"],
            interval=interval,
            interval_name=name,
            **shown,
        )

    def positions(self, episodes: Sequence[int]) -> np.ndarray:
        """Positions of episodes in the view.

        Raises:
            DatasetError: an episode that the dataset has not, or that is not scored.
        """
        self.dataset.episode_positions(list(episodes))
        missing = sorted(set(episodes) - set(self.view.episode_ids.tolist()))
        if missing:
            scored = _listed(self.view.episode_ids)
            raise DatasetError(f"{self.scores.folder}: episode {missing[0]} is not scored; {scored} are")
        return self.view.episode_positions(list(episodes))

    def choose(self, count: int = SHOWN) -> list[int]:
        """Episodes to show, as `choose_episodes`."""
        return self.view.episode_ids[choose_episodes(self.view, self.success, count)].tolist()

    def only(self, split: str, episodes: Sequence[int]) -> "Scored":
        """Those of these episodes that are scored, which are the split's.

        Raises:
            DatasetError: none of them is scored.
        """
        kept = np.intersect1d(self.view.episode_ids, episodes)
        if not len(kept):
            raise DatasetError(
                f"{self.scores.folder}: no episode of the split {split!r} is scored; "
                f"{_listed(self.view.episode_ids)} are"
            )
        scores, rows = self.scores, np.isin(self.view.episode_index, kept)
        columns = {name: column[rows] for name, column in scores.columns.items()}
        return replace(
            self,
            view=select(self.dataset, kept.tolist())[0],
            scores=Scores(
                scores.folder,
                scores.manifest,
                scores.rows[rows],
                scores.value[rows],
                scores.value_std[rows],
                columns,
            ),
            success=None
            if self.success is None
            else self.success[self.view.episode_positions(kept.tolist())],
            split=split,
        )

    def _labelled(self, name: str, rows: slice) -> np.ndarray | None:
        """A column of the labels for these rows of the view; None where not all of them are labelled."""
        if self.labels is None:
            return None
        wanted = self.scores.rows[rows]
        places = np.searchsorted(self.labels.rows, wanted)
        inside = places < len(self.labels.rows)
        if not inside.all() or (self.labels.rows[places] != wanted).any():
            return None
        if name == "threshold":
            return frame_thresholds(self.labels, self.dataset.tasks, places)
        return getattr(self.labels, name)[places]

    def _interval(self, rows: slice) -> tuple[np.ndarray | None, str]:
        """The band where there are no distributions, [2, T], and its name."""
        levels = self.about.get("quantile_levels")
        if self.distributions is not None:
            return None, ""
        if levels and "quantiles" in self.scores.columns and min(levels) < max(levels):
            quantiles = self.scores.columns["quantiles"][rows].astype(np.float64)
            ends = quantiles[:, [int(np.argmin(levels)), int(np.argmax(levels))]].T
            return np.sort(ends, axis=0), f"{min(levels):.0%}–{max(levels):.0%} of the prediction"
        value, std = self.scores.value[rows], self.scores.value_std[rows]
        ends = np.clip(np.stack([value - std, value + std]), self.about["v_min"], self.about["v_max"])
        return ends, "± one standard deviation"


def frame_thresholds(labels: LabelSet, tasks: Sequence[str], places: np.ndarray) -> np.ndarray:
    """The threshold of each of these frames, float64 [m]: that of its task and stage, as the labels name it.

    `places` are positions in the label set, an index or a mask; `tasks` are those of the dataset.
    """
    settings, stage = labels.settings, labels.stage
    of_task = settings["scope"] == "task"
    names = [tasks[index] if of_task else "all" for index in labels.task_index[places].tolist()]
    if stage is not None:
        numbers = stage[places].tolist()
        names = [f"{name} (stage {number})" for name, number in zip(names, numbers, strict=True)]
    return np.array([settings["thresholds"][name] for name in names], np.float64)


def read_scored(
    dataset: EpisodeDataset,
    tag: str,
    values: str | Path | None = None,
    outcome_column: str | None = None,
    assume_outcome: str | None = None,
) -> Scored:
    """The scores of a dataset under a tag, with labels and outcomes where there are any.

    Raises:
        DatasetError: no scores, or damaged ones; labels that do not belong to them; an outcome column that
            was named and does not hold outcomes.
    """
    scores = read_scores(dataset, tag, values)
    if not len(scores.rows):
        raise DatasetError(f"{scores.folder} holds no scored episode: there is nothing to draw")
    labels = read_labels(dataset, tag, values) if "labels" in scores.manifest else None
    episodes = np.unique(dataset.episode_index[scores.rows])
    view = dataset
    if len(episodes) < len(dataset.episode_ids):
        view, _ = select(dataset, episodes.tolist())
    scored = Scored(dataset, view, scores, labels, None)
    try:
        found = resolve_outcomes(dataset, outcome_column, assume_outcome, values)
        scored.success = found.success[dataset.episode_positions(episodes.tolist())]
    except DatasetError as error:
        if outcome_column or assume_outcome:
            raise
        scored.notes.append(f"outcomes are not known: {error}")
    return scored


def choose_scored(
    scored: Scored, split: str, checkpoint: str | None, episodes: str | None
) -> tuple[Scored, list[int] | None]:
    """The scores of the split's episodes alone, and those of them that --episodes names, in its order.

    Args:
        split: one of `split.SPLITS`; "all" changes nothing.
        checkpoint: whose split it is: a folder, or a model of the Hub.
        episodes: such as "3, 5, 10:20"; None names none.

    Raises:
        DatasetError: a split that is not known, or has none of these episodes; none of it is scored.
    """
    found = find_split(checkpoint, split, scored.dataset)
    asked = None if episodes is None else episode_numbers(episodes, scored.dataset)
    if split == "all":
        return scored, asked
    if asked is not None:
        inside = set(episodes_of_split(scored.dataset, split, found, asked))
        asked = [episode for episode in asked if episode in inside]
    return scored.only(split, episodes_of_split(scored.dataset, split, found)), asked


def _listed(episodes: np.ndarray) -> str:
    """ "episodes 0 to 349", or a few of them where there are holes."""
    first, last = int(episodes[0]), int(episodes[-1])
    if last - first + 1 == len(episodes):
        return f"episodes {first} to {last}" if len(episodes) > 1 else f"episode {first}"
    shown = ", ".join(map(str, episodes[:8].tolist()))
    return f"episodes {shown}{' …' if len(episodes) > 8 else ''}"
