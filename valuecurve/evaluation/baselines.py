"""What a value function must beat: two forecasts that see neither pictures nor state.

`constant_distribution` answers every frame alike; `ElapsedTime` knows the task and how many frames have
passed, nothing else. Both are fitted on the training split only, and both are made as strong as they can
be: every smoothing width is chosen by cross-validated likelihood on the training split, from a grid that
holds "no smoothing" too, and a small uniform part keeps a target that was never seen from costing
infinitely much. They leave out anything a person would call a model.

Letters: N frames, K bins, T frames of the longest training episode of a task.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from scipy.ndimage import gaussian_filter1d

from valuecurve.returns import value_to_bin

# The grids of the cross-validation, smoothest first: a tie, such as a single training episode, goes to the
# smoothest. Widths are standard deviations of Gaussian kernels. The grids are ours (assumption).
BIN_WIDTHS = (8.0, 4.0, 2.0, 1.0, 0.5, 0.0)  # bins
TIME_WIDTHS = (16.0, 8.0, 4.0, 2.0, 1.0, 0.0)  # frames
BACKOFF_COUNTS = (30.0, 10.0, 3.0, 1.0, 0.3)  # training frames that the task's overall distribution weighs
UNIFORM_PARTS = (0.1, 0.03, 1e-2, 1e-3, 1e-4)  # share of the uniform distribution
FOLDS = 5
BLOCK = 50  # rows that stay in one fold when episodes are not known: neighbours are nearly copies


def constant_distribution(
    train_targets, num_bins: int = 201, *, v_min: float = -1.0, v_max: float = 0.0
) -> np.ndarray:
    """The best single distribution for every frame: the smoothed histogram of the training targets.

    Args:
        train_targets: [N] targets of the training frames in their order, in value units.

    Returns:
        float64 [num_bins], positive, summing to 1. Width and uniform part come from `BIN_WIDTHS` and
        `UNIFORM_PARTS` by five-fold likelihood, the folds being blocks of neighbouring rows.
    """
    bins = value_to_bin(_targets(train_targets), num_bins, v_min, v_max)
    fold = np.arange(len(bins)) // BLOCK % FOLDS
    counts = np.stack([np.bincount(bins[fold == f], minlength=num_bins) for f in range(FOLDS)])
    return _smoothed(counts.sum(axis=0), *_best_constant(counts))


@dataclass
class ElapsedTime:
    """The distribution of targets per task and elapsed frames; build it with `ElapsedTime.fit`.

    For task k and frame t it is a Gaussian-weighted mean over the training frames of that task around t,
    blended with the task's overall distribution where few training episodes reach; later than the longest
    training episode it stays at that episode's last frame. `tables[k]` is float64 [T_k, K]; `widths[k]` is
    (frames, bins, backoff frames), chosen by five-fold likelihood over training episodes.
    """

    tables: dict[int, np.ndarray]
    widths: dict[int, tuple[float, float, float]]

    @classmethod
    def fit(
        cls,
        train_targets,
        task_index,
        frame_index,
        num_bins: int = 201,
        *,
        v_min: float = -1.0,
        v_max: float = 0.0,
    ) -> "ElapsedTime":
        """Fit on the training frames, rows in dataset order: `frame_index` grows within an episode.

        Args:
            train_targets: [N] in value units.
            task_index: int [N].
            frame_index: int [N], frames since the start of the episode. Where it does not grow, the next
                episode begins.
        """
        bins = value_to_bin(_targets(train_targets), num_bins, v_min, v_max)
        tasks, frames = np.asarray(task_index), np.asarray(frame_index)
        episode = np.concatenate([[0], np.cumsum(np.diff(frames) <= 0)])
        tables, widths = {}, {}
        for task in np.unique(tasks):
            of = tasks == task
            _, order = np.unique(episode[of], return_inverse=True)  # 0, 1, 2 … among this task's episodes
            counts = np.zeros((FOLDS, frames[of].max() + 1, num_bins))
            np.add.at(counts, (order % FOLDS, frames[of], bins[of]), 1.0)
            tables[int(task)], widths[int(task)] = _fit_task(counts)
        return cls(tables, widths)

    def predict(self, task_index, frame_index) -> np.ndarray:
        """Distributions float64 [n, K] for frames given by int [n] task and elapsed frames.

        Raises:
            ValueError: a task without training frames.
        """
        tasks, frames = np.asarray(task_index), np.asarray(frame_index)
        unknown = sorted(set(np.unique(tasks).tolist()) - set(self.tables))
        if unknown:
            raise ValueError(f"No training frames of task_index {unknown}; fitted on {sorted(self.tables)}.")
        predictions = np.empty((len(tasks), next(iter(self.tables.values())).shape[1]))
        for task, table in self.tables.items():
            of = tasks == task
            predictions[of] = table[np.minimum(frames[of], len(table) - 1)]
        return predictions


# --- choosing the smoothing --------------------------------------------------------------------------


def _best_constant(counts_FK: np.ndarray) -> tuple[float, float]:
    """(bin width, uniform part) of the highest held-out likelihood over the folds of counts [F, K]."""

    def score(choice: tuple[float, float]) -> float:
        return sum(float(held @ np.log(_smoothed(rest, *choice))) for held, rest in _folds(counts_FK))

    return max(product(BIN_WIDTHS, UNIFORM_PARTS), key=score)


def _fit_task(counts_FTK: np.ndarray) -> tuple[np.ndarray, tuple[float, float, float]]:
    """The table [T, K] of one task and its (frames, bins, backoff) from counts [F, T, K] by fold."""
    constant = _best_constant(counts_FTK.sum(axis=1))
    scores = dict.fromkeys(product(TIME_WIDTHS, BIN_WIDTHS, BACKOFF_COUNTS), 0.0)
    for held_TK, rest_TK in _folds(counts_FTK):
        t, k = np.nonzero(held_TK)
        backoff_K = _smoothed(rest_TK.sum(axis=0), *constant)
        for time_width, bin_width in product(TIME_WIDTHS, BIN_WIDTHS):
            smooth_TK = _over_time(rest_TK @ _bin_kernel(rest_TK.shape[1], bin_width), time_width)
            for count in BACKOFF_COUNTS:
                p_TK = _blend(smooth_TK, backoff_K, count)
                scores[time_width, bin_width, count] += float(held_TK[t, k] @ np.log(p_TK[t, k]))
    time_width, bin_width, count = best = max(scores, key=lambda choice: scores[choice])
    counts_TK = counts_FTK.sum(axis=0)
    smooth_TK = _over_time(counts_TK @ _bin_kernel(counts_TK.shape[1], bin_width), time_width)
    return _blend(smooth_TK, _smoothed(counts_TK.sum(axis=0), *constant), count), best


def _folds(counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(held-out counts, the others' counts) of each fold that leaves something on both sides."""
    total = counts.sum(axis=0)
    for held in counts:
        if held.any() and (total - held).any():
            yield held, total - held


# --- smoothing ---------------------------------------------------------------------------------------


def _smoothed(counts_K: np.ndarray, bin_width: float, uniform_part: float) -> np.ndarray:
    """Counts as a distribution [K], smoothed over bins and mixed with the uniform one."""
    p_K = counts_K @ _bin_kernel(len(counts_K), bin_width)
    return (1 - uniform_part) * p_K / p_K.sum() + uniform_part / len(counts_K)


def _blend(smooth_TK: np.ndarray, backoff_K: np.ndarray, count: float) -> np.ndarray:
    """Weighted counts as distributions [T, K], as if `count` more frames had the distribution `backoff_K`."""
    p_TK = smooth_TK + count * backoff_K
    return p_TK / p_TK.sum(axis=1, keepdims=True)


def _over_time(counts_TK: np.ndarray, width: float) -> np.ndarray:
    """Weighted counts [T, K]: a frame d frames away counts exp(-d²/2w²), so a frame itself counts 1."""
    if width == 0:
        return counts_TK
    peak = width * np.sqrt(2 * np.pi)
    return peak * gaussian_filter1d(counts_TK, width, axis=0, mode="constant", truncate=5)


@cache
def _bin_kernel(num_bins: int, width: float) -> np.ndarray:
    """[K, K]: row i says where a target in bin i is counted. Rows sum to 1.

    The two end bins stay by themselves: clipping piles targets up there (every frame of a failed episode
    is v_min), and smearing that pile over its neighbours would only weaken the baseline.
    """
    kernel = np.eye(num_bins)
    if width > 0 and num_bins > 2:
        distance = np.subtract.outer(np.arange(num_bins - 2), np.arange(num_bins - 2))
        inner = np.exp(-0.5 * (distance / width) ** 2)
        kernel[1:-1, 1:-1] = inner / inner.sum(axis=1, keepdims=True)
    return kernel


def _targets(targets) -> np.ndarray:
    targets = np.asarray(targets, dtype=np.float64)
    if targets.ndim != 1 or not len(targets) or not np.isfinite(targets).all():
        raise ValueError("A baseline is fitted on finite training targets [N] with N >= 1.")
    return targets
