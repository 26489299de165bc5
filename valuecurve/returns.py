"""Rewards -> returns -> value targets: pure arrays, no I/O.

Time: an episode of length L has frames t = 0 ... T, T = L - 1. Rewards and returns are in steps (frames);
targets are in value units, normalised by a scale in steps. The first half of this file treats one episode,
the second a whole dataset: all frames of all episodes one after the other (`[N]`), with `lengths` `[E]`.

Deliberately absent: discounting (returns are undiscounted), and distributions over the bins (the model).
"""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

# -- one episode -------------------------------------------------------------------------------------------


def step_rewards(length: int, success: bool, fail_penalty: float = 0.0) -> np.ndarray:
    """Sparse rewards of one episode, as in RECAP (pi*0.6, eq. 5).

    r_t = -1 for t < T;  r_T = 0 on success, -fail_penalty on failure.

    Args:
        length: frames of the episode, L >= 1.
        success: the outcome.
        fail_penalty: C_fail >= 0, in steps.

    Returns:
        Rewards r_t, float64 `[L]`, in steps.
    """
    return dataset_rewards(np.array([length]), np.array([success]), fail_penalty)


def returns_to_go(rewards: np.ndarray) -> np.ndarray:
    """Undiscounted return of every frame of one episode.

    G_t = r_t + G_{t+1} = sum_{k >= t} r_k.

    Args:
        rewards: r_t, `[L]` (or `[episodes, L]`: the last axis is time), finite.

    Returns:
        G_t, float64, same shape, in the rewards' unit.
    """
    r_t = _finite("rewards", rewards)
    return np.cumsum(r_t[..., ::-1], axis=-1)[..., ::-1]


def task_scales(lengths: np.ndarray, tasks: Sequence[Hashable] | np.ndarray) -> dict:
    """Steps that one value unit stands for, per task: max(L_task - 1, 1), L_task its longest episode.

    Args:
        lengths: frames of each episode, `[E]`.
        tasks: task (text or index) of each episode, `[E]`.

    Returns:
        {task: steps as float}, in order of first appearance.
    """
    lengths = _lengths(lengths)
    tasks = _hashables(tasks, len(lengths))
    longest: dict = {}
    for task, length in zip(tasks, lengths.tolist(), strict=True):
        longest[task] = max(longest.get(task, 1), length)
    return {task: float(max(length - 1, 1)) for task, length in longest.items()}


def value_targets(
    returns: np.ndarray, scale: float | np.ndarray, v_min: float = -1.0, v_max: float = 0.0
) -> np.ndarray:
    """Normalised returns: v_t = clip(G_t / scale, v_min, v_max).

    Args:
        returns: G_t in steps, any shape.
        scale: steps per value unit, > 0; a number, or an array that broadcasts against `returns`.

    Returns:
        Targets in value units, float64, in [v_min, v_max].
    """
    g_t = _finite("returns", returns)
    scale = np.asarray(scale, dtype=np.float64)
    if not np.all(scale > 0) or not np.all(np.isfinite(scale)):
        raise ValueError(f"scale must be a positive, finite number of steps, got {scale.min()}")
    return np.clip(g_t / scale, v_min, v_max)


# -- bins --------------------------------------------------------------------------------------------------


def bin_centers(num_bins: int = 201, v_min: float = -1.0, v_max: float = 0.0) -> np.ndarray:
    """Centres of the support, c_i = v_min + i (v_max - v_min) / (num_bins - 1): float64 `[num_bins]`."""
    if num_bins < 2 or not v_min < v_max:
        raise ValueError(f"need num_bins >= 2 and v_min < v_max, got {num_bins}, {v_min}, {v_max}")
    return np.linspace(v_min, v_max, num_bins)


def value_to_bin(
    values: np.ndarray, num_bins: int = 201, v_min: float = -1.0, v_max: float = 0.0
) -> np.ndarray:
    """Index of the nearest centre; a value halfway between two goes to the upper one; outside is clipped.

    Args:
        values: value units, any shape, finite.

    Returns:
        Bins, int64, in 0 ... num_bins - 1.
    """
    bin_centers(num_bins, v_min, v_max)  # checks the arguments
    values = np.clip(_finite("values", values), v_min, v_max)
    position = (values - v_min) / (v_max - v_min) * (num_bins - 1)
    return np.clip(np.floor(position + 0.5), 0, num_bins - 1).astype(np.int64)


# -- a whole dataset ---------------------------------------------------------------------------------------


def dataset_rewards(lengths: np.ndarray, success: np.ndarray, fail_penalty: float = 0.0) -> np.ndarray:
    """`step_rewards` of all episodes, one after the other: float64 `[N]`, N = sum of lengths.

    Args:
        lengths: frames of each episode, `[E]`, each >= 1.
        success: outcome of each episode, bool `[E]`.
        fail_penalty: C_fail >= 0, in steps.
    """
    lengths = _lengths(lengths)
    success = np.asarray(success)
    if success.dtype != np.bool_ or success.shape != lengths.shape:
        raise ValueError(f"success must be bool [{len(lengths)}], got {success.dtype} {list(success.shape)}")
    if not fail_penalty >= 0:
        raise ValueError(f"fail_penalty must be >= 0 steps, got {fail_penalty}")
    rewards = np.full(lengths.sum(), -1.0)
    rewards[np.cumsum(lengths) - 1] = np.where(success, 0.0, -float(fail_penalty))
    return rewards


def dataset_returns(rewards: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`returns_to_go` of all episodes, float64 `[N]`.

    Episodes of equal length are stacked and summed together, so that no rounding of one episode reaches
    another (one running sum over the dataset would subtract large numbers from each other).
    """
    lengths = _lengths(lengths)
    rewards = _finite("rewards", rewards)
    if rewards.shape != (lengths.sum(),):
        raise ValueError(f"rewards has shape {list(rewards.shape)}, the lengths add up to {lengths.sum()}")
    starts = np.cumsum(lengths) - lengths
    returns = np.empty_like(rewards)
    for length in np.unique(lengths):
        rows = starts[lengths == length][:, None] + np.arange(length)
        returns[rows] = returns_to_go(rewards[rows])
    return returns


def dataset_targets(
    lengths: np.ndarray,
    success: np.ndarray,
    task_of_episode: Sequence[Hashable] | np.ndarray,
    *,
    scale: str | float | Mapping = "task_max",
    fail: str = "floor",
    fail_penalty: float = 0.0,
    rewards: np.ndarray | None = None,
    v_min: float = -1.0,
    v_max: float = 0.0,
) -> tuple[np.ndarray, dict]:
    """Value targets of all frames of a dataset.

    Args:
        lengths: frames of each episode, `[E]`.
        success: outcome of each episode, bool `[E]`.
        task_of_episode: task (text or index) of each episode, `[E]`.
        scale: "task_max" (longest episode of the task among these episodes), "episode" (each episode's own
            length: progress), a number of steps, or {task: steps} as an earlier call returned it
            (the training split's scales, used for validation and test).
        fail: "floor" (every frame of a failed episode is v_min) or "penalty" (`fail_penalty` at its end).
        fail_penalty: C_fail in steps, used by fail="penalty" with sparse rewards.
        rewards: dense rewards r_t `[N]` read from a column; None means sparse (`dataset_rewards`).

    Returns:
        Targets, float32 `[N]`, in [v_min, v_max], and the scales {task: steps} (empty for "episode").

    Raises:
        ValueError: unknown choice, a task that `scale` does not hold, shapes that do not fit, NaN.
    """
    if fail not in ("floor", "penalty"):
        raise ValueError(f"fail must be 'floor' or 'penalty', got {fail!r}")
    lengths = _lengths(lengths)
    success = np.asarray(success)
    if rewards is None:
        rewards = dataset_rewards(lengths, success, fail_penalty if fail == "penalty" else 0.0)
    returns = dataset_returns(rewards, lengths)
    per_episode, scales = _episode_scales(lengths, task_of_episode, scale)
    targets = value_targets(returns, np.repeat(per_episode, lengths), v_min, v_max)
    if fail == "floor":
        targets[np.repeat(~success.astype(bool), lengths)] = v_min
    return targets.astype(np.float32), scales


def _episode_scales(
    lengths: np.ndarray, tasks: Sequence[Hashable] | np.ndarray, scale: str | float | Mapping
) -> tuple[np.ndarray, dict]:
    """Steps per value unit of each episode `[E]`, and the scales per task."""
    if isinstance(scale, str) and scale == "episode":
        return np.maximum(lengths - 1, 1).astype(np.float64), {}
    names = _hashables(tasks, len(lengths))
    if isinstance(scale, str):
        if scale != "task_max":
            raise ValueError(f"scale must be 'task_max', 'episode', a number or a mapping, got {scale!r}")
        scales = task_scales(lengths, names)
    elif isinstance(scale, Mapping):
        scales = {task: float(steps) for task, steps in scale.items()}
        unknown = sorted({repr(task) for task in names if task not in scales})
        if unknown:
            raise ValueError(
                f"no scale for the task {', '.join(unknown)}; known: {sorted(map(repr, scales))}"
            )
    else:
        scales = {task: float(scale) for task in names}
    return np.array([scales[task] for task in names], dtype=np.float64), scales


def _hashables(tasks: Sequence[Hashable] | np.ndarray, episodes: int) -> list:
    names = tasks.tolist() if isinstance(tasks, np.ndarray) else list(tasks)
    if len(names) != episodes:
        raise ValueError(f"{len(names)} tasks for {episodes} episodes: give the task of each episode")
    return names


def _lengths(lengths: np.ndarray) -> np.ndarray:
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or not np.issubdtype(lengths.dtype, np.integer) or np.any(lengths < 1):
        raise ValueError(f"lengths must be integers >= 1, one per episode, got {lengths.dtype} {lengths}")
    return lengths.astype(np.int64)


def _finite(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        where = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(f"{name} holds {array[tuple(where)]} at {where}: every value must be finite")
    return array
