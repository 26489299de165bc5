"""Values -> advantages -> thresholds -> indicators and their text, or weights: pure arrays, no I/O.

Time: an episode of length L has frames t = 0 ... T, T = L - 1. Rewards, returns and values are all in value
units (steps divided by the scale of the task). The functions `dataset_...` treat a whole dataset: all frames
of all episodes one after the other (`[N]`), with `lengths` `[E]`; those without treat one episode (`[L]`).

Deliberately absent: which rewards an episode earns (labels/rewards.py), and every file.
"""

import difflib
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

# -- advantages --------------------------------------------------------------------------------------------


def n_step(rewards: np.ndarray, values: np.ndarray, horizon: int) -> np.ndarray:
    """n-step advantage of every frame of one episode (RECAP, pi*0.6; seeds 1 and 4).

    A_t = sum_{k=t}^{min(t+N, L)-1} r_k + (V(t+N) if t+N <= T else 0) - V(t)

    Args:
        rewards: r_t, `[L]`, value units.
        values: V(t), `[L]`, value units.
        horizon: N >= 1, in frames. From N = L on it is the full-episode advantage.

    Returns:
        A_t, float64 `[L]`, value units.
    """
    return dataset_n_step(rewards, values, np.array([len(values)]), horizon)


def dataset_n_step(rewards: np.ndarray, values: np.ndarray, lengths: np.ndarray, horizon: int) -> np.ndarray:
    """`n_step` of all episodes: rewards and values `[N]`, lengths `[E]` -> float64 `[N]`."""
    lengths, horizon = _lengths(lengths, values), _count("horizon", horizon)
    r_t, v_t = _finite("rewards", rewards, len(values)), _finite("values", values)
    g_t = _suffix_sums(r_t, lengths)
    advantages = g_t - v_t
    rows = _rows_with_a_frame_ahead(lengths, horizon)
    advantages[rows] += v_t[rows + horizon] - g_t[rows + horizon]
    return advantages


def full_episode(returns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Full-episode advantage, A_t = G_t - V(t), unclamped: one episode's arrays, or a whole dataset's.

    Args:
        returns: G_t, value units, any shape.
        values: V(t), value units, same shape.

    Returns:
        A_t, float64, same shape, value units.
    """
    return _finite("returns", returns, len(values)) - _finite("values", values)


def progress_difference(progress: np.ndarray, chunk: int) -> np.ndarray:
    """How much progress the next frames of one episode make (kai0, seed 3).

    A_t = p_{t+c} - p_t                     where t + c <= T,
    A_t = (p_T - p_t) / (T - t) * c         nearer to the end: extrapolated per elapsed frame,
    A_T = 0                                 nothing elapses after the last frame.

    Args:
        progress: p_t, `[L]`: a value, or any measure that grows towards success.
        chunk: c >= 1, in frames.

    Returns:
        A_t, float64 `[L]`, in the unit of `progress`.
    """
    return dataset_progress_difference(progress, np.array([len(progress)]), chunk)


def dataset_progress_difference(progress: np.ndarray, lengths: np.ndarray, chunk: int) -> np.ndarray:
    """`progress_difference` of all episodes: progress `[N]`, lengths `[E]` -> float64 `[N]`."""
    lengths, chunk = _lengths(lengths, progress), _count("chunk", chunk)
    p_t = _finite("progress", progress)
    ends = np.cumsum(lengths)
    left = np.repeat(ends, lengths) - 1 - np.arange(len(p_t))  # T - t
    ahead = np.minimum(left, chunk)
    difference = p_t[np.arange(len(p_t)) + ahead] - p_t
    tail = left < chunk
    difference[tail] *= chunk / np.maximum(left[tail], 1)
    return difference


# -- thresholds and indicators -----------------------------------------------------------------------------


def thresholds(
    advantages: np.ndarray, groups: np.ndarray | Sequence[Hashable], positive_fraction: float
) -> dict:
    """The advantage from which a frame is positive, per group: quantile(A, 1 - f), linear interpolation.

    Args:
        advantages: A_t, `[N]`, finite.
        groups: what each frame belongs to (task, stage, or the same for all), `[N]`. Texts cost
            little more than integers where they come in runs, as the tasks of episodes do.
        positive_fraction: f in [0, 1]. Where advantages tie at the threshold, more than f are positive.

    Returns:
        {group: threshold}, in ascending order of the groups.
    """
    if not 0 <= positive_fraction <= 1:
        raise ValueError(f"positive_fraction must be between 0 and 1, got {positive_fraction}")
    parts = _by_group(advantages, groups)
    return {name: float(_quantiles(part, [1 - positive_fraction])[0]) for name, part, _ in parts}


def indicators(
    advantages: np.ndarray, groups: np.ndarray | Sequence[Hashable], thresholds: Mapping
) -> np.ndarray:
    """Whether each frame is positive: A_t >= the threshold of its group; ties are positive.

    Args:
        advantages: A_t, `[N]`, finite.
        groups: `[N]`.
        thresholds: {group: threshold}, as `thresholds` returns it, of these or of other frames.

    Returns:
        bool `[N]`.

    Raises:
        ValueError: a group that has no threshold.
    """
    a_t = _finite("advantages", advantages)
    names, codes = _codes(groups, len(a_t))
    unknown = [name for name in names if name not in thresholds]
    if unknown:
        known = ", ".join(map(repr, list(thresholds)[:10]))
        raise ValueError(f"no threshold for the group {unknown[0]!r}; known: {known or 'none'}")
    levels = np.array([thresholds[name] for name in names], dtype=np.float64)
    return a_t >= levels[codes]


def n_slices(
    advantages: np.ndarray, n: int, groups: np.ndarray | Sequence[Hashable] | None = None
) -> np.ndarray:
    """n classes of equal percentiles instead of two indicators (kai0, seed 3).

    Slice i begins at quantile(A, i / n); an advantage on a border belongs to the upper slice.

    Args:
        advantages: A_t, `[N]`, finite.
        n: number of slices, >= 1.
        groups: `[N]`, each sliced on its own; all frames together when None.

    Returns:
        0 (lowest) ... n - 1 (highest), int32 `[N]`.
    """
    n = _count("n", n)
    advantages = np.asarray(advantages)
    slices = np.empty(len(advantages), np.int32)
    for _, part, rows in _by_group(advantages, np.zeros(len(advantages), int) if groups is None else groups):
        borders = _quantiles(part, np.arange(n) / n)
        slices[rows] = np.maximum(np.searchsorted(borders, part, side="right") - 1, 0)
    return slices


def stages(progress: np.ndarray, n: int) -> np.ndarray:
    """The stage of each frame, min(floor(p n), n - 1), for labels with a threshold per stage.

    A progress within 1e-7 below a border (the rounding of float32) counts as on it.

    Args:
        progress: p in [0, 1], any shape, finite; what lies outside belongs to the first or the last stage.
        n: number of stages, >= 1.

    Returns:
        0 ... n - 1, int32, same shape.
    """
    n = _count("n", n)
    return np.clip(np.floor((_finite("progress", progress) + 1e-7) * n), 0, n - 1).astype(np.int32)


# -- weights -----------------------------------------------------------------------------------------------


def awr_weights(advantages: np.ndarray, beta: float = 1.0, most: float = 10.0) -> np.ndarray:
    """How much each frame counts in the loss of a policy: w_t = min(exp(A_t / beta), most).

    Advantage-weighted regression, as advantage-weighted behaviour cloning of one dataset: Peng et al. 2019
    (arXiv:1910.00177, algorithm 1), who clip the weights too; the defaults are those of seed 4.

    Args:
        advantages: A_t, any shape, value units, finite.
        beta: temperature > 0, value units; the smaller, the more the best frames count alone.
        most: the largest weight, > 0.

    Returns:
        w_t, float64, same shape, above 0 (or 0 by underflow) and at most `most`. Their mean is not 1.
    """
    for name, number in (("beta", beta), ("most", most)):
        if not 0 < number < np.inf:
            raise ValueError(f"{name} must be above 0 and finite, got {number}")
    exponent = np.minimum(_finite("advantages", advantages) / beta, np.log(most))  # exp cannot overflow
    return np.minimum(np.exp(exponent), most)


# -- indicator text ----------------------------------------------------------------------------------------

TEMPLATES = {
    "default": "{task}\nAdvantage: {indicator}",  # RECAP's wording; the task in a line of its own
    "kai0": "{task}, Advantage: {indicator}",  # seed 3
}


def indicator_text(task: str, indicator: bool | int, template: str = "default") -> str:
    """The task text with its indicator, as a policy reads it.

    Args:
        task: instruction; white space around it is dropped.
        indicator: True, False, or the number of a slice: "positive", "negative", "3".
        template: "default", "kai0", or a text with {task} and {indicator} in it.

    Raises:
        ValueError: a template without {task} or {indicator}.
    """
    text = TEMPLATES.get(template, template)
    if "{task}" not in text or "{indicator}" not in text:
        near = difflib.get_close_matches(template, TEMPLATES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"presets: {', '.join(TEMPLATES)}"
        raise ValueError(f"a template needs {{task}} and {{indicator}}, got {template!r}; {hint}")
    is_flag = isinstance(indicator, bool | np.bool_)
    word = ("positive" if indicator else "negative") if is_flag else str(int(indicator))
    return task.strip().join(piece.replace("{indicator}", word) for piece in text.split("{task}"))


# -- helpers -----------------------------------------------------------------------------------------------


def _by_group(
    advantages: np.ndarray, groups: np.ndarray | Sequence[Hashable]
) -> list[tuple[Hashable, np.ndarray, np.ndarray]]:
    """(group, its advantages as float64, its rows) of every group that has frames."""
    a_t = _finite("advantages", advantages)
    names, codes = _codes(groups, len(a_t))
    if len(names) == 1:
        return [(names[0], a_t, np.arange(len(a_t)))]
    order = np.argsort(codes, kind="stable")
    borders = np.cumsum(np.bincount(codes, minlength=len(names)))[:-1]
    return [(name, a_t[rows], rows) for name, rows in zip(names, np.split(order, borders), strict=True)]


def _codes(groups: np.ndarray | Sequence[Hashable], frames: int) -> tuple[list, np.ndarray]:
    """The groups that have frames, ascending, and the position of each frame's group among them."""
    array = np.asarray(groups)
    if array.shape != (frames,):
        raise ValueError(f"groups has shape {list(array.shape)}, there are {frames} advantages")
    if frames and np.issubdtype(array.dtype, np.integer):
        low = int(array.min())
        if int(array.max()) - low < max(frames, 1000):  # no sorting: count them
            present = np.flatnonzero(np.bincount(array - low))
            place = np.zeros(present[-1] + 1, np.intp)
            place[present] = np.arange(len(present))
            return (present + low).tolist(), place[array - low]
    changes = np.ones(frames, bool)  # frames of a group come in runs: only the first of each is looked up
    changes[1:] = array[1:] != array[:-1]
    first = np.flatnonzero(changes)
    of_run = array[first].tolist()
    names = sorted(set(of_run))
    place = {name: i for i, name in enumerate(names)}
    codes = np.array([place[name] for name in of_run], np.intp)
    return names, np.repeat(codes, np.diff(first, append=frames))


def _quantiles(values: np.ndarray, shares: Sequence[float] | np.ndarray) -> np.ndarray:
    """Quantiles `[n]` of values `[N]`, linear between neighbours.

    A position that rounding put beside a whole number is that number, so that a threshold which is a sample
    is exactly this sample.
    """
    positions = np.asarray(shares, np.float64) * (len(values) - 1)
    whole = np.round(positions)
    positions = np.where(np.abs(positions - whole) < 1e-12 * len(values) + 1e-12, whole, positions)
    below = np.floor(positions).astype(np.int64)
    above = np.minimum(below + 1, len(values) - 1)
    ordered = np.partition(values, np.unique([below, above]))
    return ordered[below] + (positions - below) * (ordered[above] - ordered[below])


def _suffix_sums(rewards: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """sum_{k >= t} r_k `[N]`; equal lengths are summed together: no rounding leaves its episode."""
    starts = np.cumsum(lengths) - lengths
    sums = np.empty_like(rewards)
    for length in np.unique(lengths):
        rows = starts[lengths == length][:, None] + np.arange(length)
        sums[rows] = np.cumsum(rewards[rows][:, ::-1], axis=1)[:, ::-1]
    return sums


def _rows_with_a_frame_ahead(lengths: np.ndarray, horizon: int) -> np.ndarray:
    """Rows whose episode has a frame `horizon` frames later, ascending, int64."""
    ends = np.repeat(np.cumsum(lengths), lengths)
    return np.flatnonzero(np.arange(len(ends)) + horizon < ends)


def _lengths(lengths: np.ndarray, values: np.ndarray) -> np.ndarray:
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or not np.issubdtype(lengths.dtype, np.integer) or np.any(lengths < 1):
        raise ValueError(f"lengths must be integers >= 1, one per episode, got {lengths.dtype} {lengths}")
    if lengths.sum() != len(values):
        raise ValueError(f"the lengths add up to {lengths.sum()} frames, there are {len(values)} values")
    return lengths.astype(np.int64)


def _count(name: str, number: int) -> int:
    if number != int(number) or number < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {number}")
    return int(number)


def _finite(name: str, array: np.ndarray | Sequence[float], length: int | None = None) -> np.ndarray:
    array = np.asarray(array, dtype=np.float64)
    if length is not None and len(array) != length:
        raise ValueError(f"{name} has {len(array)} frames, there are {length} values")
    finite = np.isfinite(array)
    if not finite.all():
        where = np.argwhere(~finite)[0].tolist()
        raise ValueError(
            f"{name} holds {array[tuple(where)]} at {where} ({(~finite).sum()} in all): all must be finite"
        )
    return array
