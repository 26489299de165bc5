"""Which episodes pictures show: chosen by their data alone, before any prediction is looked at."""

from itertools import zip_longest

import numpy as np

from ..episodes import EpisodeDataset

SHOWN = 3  # episodes of each outcome


def choose_episodes(view: EpisodeDataset, success: np.ndarray | None, count: int = SHOWN) -> list[int]:
    """Positions of episodes to show: `count` of each outcome, tasks and kinds of failure taking turns.

    `success` is bool [E]; where outcomes are not known (None), `count` of all.
    """
    groups = [np.arange(len(view.episode_ids))]
    if success is not None:
        groups = [np.flatnonzero(success), np.flatnonzero(~success)]
    chosen = []
    for positions in groups:
        tasks: dict[int, dict[str | None, list[int]]] = {}  # by task, then kind of failure
        for position in positions.tolist():
            of_task = tasks.setdefault(int(view.episode_tasks[position]), {})
            of_task.setdefault(failure_kind(view, position), []).append(position)
        turns = [_in_turn(sorted(of.values(), key=len, reverse=True)) for _, of in sorted(tasks.items())]
        chosen += _in_turn(turns)[:count]
    return chosen


def failure_kind(view: EpisodeDataset, position: int) -> str | None:
    """What the dataset says went wrong in an episode; None where it says nothing."""
    if "failure_kind" not in view.episodes.column_names:
        return None
    return view.episodes["failure_kind"][position].as_py() or None


def _in_turn(lists: list[list[int]]) -> list[int]:
    """The first of each list, then the second of each, and so on."""
    return [item for turn in zip_longest(*lists) for item in turn if item is not None]
