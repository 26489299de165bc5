"""Metrics of frames: how far is a value, or a distribution over bins, from its target?

Shapes: N frames, K bins, E episodes, L levels. Everything averages over frames, so a long episode weighs more
than a short one. Each metric of a distribution has one function for a chunk of frames (`_…_N`), which the
means here and the sums per episode (`episode_sums`, for the bootstrap) share. Whole episodes are the matter
of `metrics_episodes`.
"""

from typing import Any

import numpy as np

from .returns import bin_centers, value_to_bin

SMALLEST_PROBABILITY = 1e-12  # NLL of one frame is at most 27.6 nats
CALIBRATION_LEVELS = np.linspace(0.05, 0.95, 19)
COVERAGE_LEVELS = (0.5, 0.8, 0.9, 0.95)  # shares that central intervals should hold
CHUNK = 8192  # frames held as float64 [CHUNK, K] at a time: 13 MB at 201 bins


# --- the value: one number a frame -----------------------------------------------------------------------


def expected_values(probabilities, v_min: float = -1.0, v_max: float = 0.0) -> np.ndarray:
    """Mean of each distribution: sum_i p_i c_i, float64 [N], in value units."""
    probabilities = np.asarray(probabilities)
    centers = bin_centers(probabilities.shape[1], v_min, v_max)
    values = np.empty(len(probabilities))
    for rows in _chunks(len(values)):  # added up in order: equal rows give equal values, as BLAS would not
        values[rows] = np.cumsum(probabilities[rows] * centers, axis=1)[:, -1]
    return values


def mae(values, targets) -> float:
    """Mean absolute error, in value units."""
    values, targets = paired(values, targets)
    return float(np.mean(np.abs(values - targets)))


def rmse(values, targets) -> float:
    """Root of the mean squared error, in value units."""
    values, targets = paired(values, targets)
    return float(np.sqrt(np.mean((values - targets) ** 2)))


def explained_variance(values, targets) -> float:
    """1 - Var(target - value) / Var(target): 1 is perfect, 0 a constant, below 0 worse than a constant.

    A constant offset costs nothing here; `mae` sees it. `nan` when all targets are equal.
    """
    values, targets = paired(values, targets)
    if np.ptp(targets) == 0:
        return float("nan")
    return float(1.0 - np.var(targets - values) / np.var(targets))


# --- the distribution ------------------------------------------------------------------------------------


def nll(probabilities, targets, v_min: float = -1.0, v_max: float = 0.0) -> float:
    """Mean of -ln p[bin of the target], in nats; the bin is the nearest centre, p is at least 1e-12."""
    probabilities, _, bins = binned(probabilities, targets, v_min, v_max)
    return float(np.mean(_nll_N(probabilities, bins)))


def top_k_accuracy(probabilities, targets, k: int, v_min: float = -1.0, v_max: float = 0.0) -> float:
    """Share of frames whose target bin is among the k most probable; of equal ones the lower bin is first."""
    probabilities, _, bins = binned(probabilities, targets, v_min, v_max)
    hits = sum(int(np.sum(_rank_N(probabilities[rows], bins[rows]) < k)) for rows in _chunks(len(bins)))
    return hits / len(bins)


def crps(probabilities, targets, v_min: float = -1.0, v_max: float = 0.0) -> float:
    """Continuous ranked probability score, mean over frames, in value units; 0 is perfect.

    For a distribution with mass p_i at each centre c_i and distribution function F, the exact integral

        ∫ (F(x) - 1[x >= y])² dx  =  Σ_i p_i |c_i - y|  -  ∫ F(x) (1 - F(x)) dx

    (Gneiting & Raftery 2007, eqs. 20-21). A single spike at c scores |c - y|: CRPS is MAE for distributions.
    """
    probabilities, targets, _ = binned(probabilities, targets, v_min, v_max)
    centers = bin_centers(probabilities.shape[1], v_min, v_max)
    chunks = _chunks(len(targets))
    total = sum(float(np.sum(_crps_N(probabilities[rows], targets[rows], centers))) for rows in chunks)
    return total / len(targets)


def calibration_curve(
    probabilities, targets, levels: Any = CALIBRATION_LEVELS, v_min: float = -1.0, v_max: float = 0.0
) -> np.ndarray:
    """How often the target lies below the predicted quantile of each level; calibrated: equal to `levels`.

    A bin is an atom, not a point: a target in bin k counts for level u with the part of p_k that lies under
    u, clip((u - F_{k-1}) / p_k, 0, 1) (the non-randomised PIT of Czado, Gneiting & Held 2009). Without this
    a perfect forecaster of failures, half of whose mass is in the lowest bin, would look miscalibrated.
    """
    probabilities, _, bins = binned(probabilities, targets, v_min, v_max)
    levels = np.asarray(levels, dtype=np.float64)
    below = np.zeros(len(levels))
    for rows in _chunks(len(bins)):
        below += _below_NL(probabilities[rows], bins[rows], levels).sum(axis=0)
    return below / len(bins)


def ece(probabilities, targets, v_min: float = -1.0, v_max: float = 0.0) -> float:
    """Expected calibration error of the quantiles: mean over levels u of |share of targets below q_u - u|.

    Levels 0.05 … 0.95 in steps of 0.05 (Kuleshov et al. 2018, with absolute instead of squared differences
    and `calibration_curve`'s treatment of bins). 0 is perfect, 0.5 the limit of a forecast that always lies
    on one side of the target.
    """
    observed = calibration_curve(probabilities, targets, v_min=v_min, v_max=v_max)
    return float(np.mean(np.abs(observed - CALIBRATION_LEVELS)))


def coverage(
    probabilities, targets, levels: Any = COVERAGE_LEVELS, v_min: float = -1.0, v_max: float = 0.0
) -> np.ndarray:
    """Share of targets inside the central interval of each level, float64 [L]; calibrated: equal to `levels`.

    The central interval of level c lies between the quantiles (1 - c) / 2 and (1 + c) / 2, so its coverage is
    the difference of two points of `calibration_curve`: a target in a bin that a quantile cuts counts with
    the part of the bin's mass that is inside. A spike on the target's own bin covers c, not 1: it does not
    say where in that bin the target lies.
    """
    levels = np.asarray(levels, dtype=np.float64)
    below = calibration_curve(probabilities, targets, interval_ends(levels), v_min, v_max)
    return below[len(levels) :] - below[: len(levels)]


def interval_ends(levels) -> np.ndarray:
    """Levels of the quantiles that bound central intervals: all lower ones, then all upper ones, [2 L]."""
    levels = np.asarray(levels, dtype=np.float64)
    return np.concatenate([(1 - levels) / 2, (1 + levels) / 2])


def quantiles(probabilities, levels, v_min: float = -1.0, v_max: float = 0.0) -> np.ndarray:
    """Quantiles of distributions over bins, each bin's mass spread evenly over the bin's width.

    Args:
        probabilities: [T, K].
        levels: n numbers in (0, 1).

    Returns:
        float64 [n, T] in value units, inside [v_min, v_max]; they move smoothly with the probabilities
        instead of jumping from centre to centre.
    """
    F_TK = np.cumsum(np.asarray(probabilities, dtype=np.float64), axis=1)
    F_TK /= F_TK[:, -1:]
    centers = bin_centers(F_TK.shape[1], v_min, v_max).astype(np.float64)
    width = centers[1] - centers[0]
    result = np.empty((len(levels), len(F_TK)))
    for row, level in zip(result, levels, strict=True):
        k = np.argmax(F_TK >= level, axis=1)  # the bin in which F reaches the level
        after = np.take_along_axis(F_TK, k[:, None], axis=1)[:, 0]
        before = np.where(k > 0, np.take_along_axis(F_TK, np.maximum(k - 1, 0)[:, None], axis=1)[:, 0], 0.0)
        row[:] = centers[k] + width * ((level - before) / np.maximum(after - before, 1e-12) - 0.5)
    return np.clip(result, v_min, v_max)


# --- sums per episode: what the bootstrap needs -----------------------------------------------------------


def episode_sums(
    probabilities, targets, episode_N, levels, v_min: float = -1.0, v_max: float = 0.0
) -> dict[str, np.ndarray]:
    """Sums over each episode's frames of what the metrics of distributions average.

    Args:
        probabilities: [N, K].
        targets: [N].
        episode_N: int [N], the episode of each frame, 0 … E - 1.
        levels: [L], for `calibration_curve`.

    Returns:
        nll, top1, top5, crps: float64 [E]; below: [E, L].
    """
    probabilities, targets, bins = binned(probabilities, targets, v_min, v_max)
    centers = bin_centers(probabilities.shape[1], v_min, v_max)
    levels = np.asarray(levels, dtype=np.float64)
    sums_EM = np.zeros((int(episode_N.max()) + 1, 4 + len(levels)))
    for rows in _chunks(len(bins)):
        p_NK, bin_N = probabilities[rows], bins[rows]
        rank_N = _rank_N(p_NK, bin_N)
        means = [_nll_N(p_NK, bin_N), rank_N < 1, rank_N < 5, _crps_N(p_NK, targets[rows], centers)]
        np.add.at(sums_EM, episode_N[rows], np.column_stack([*means, _below_NL(p_NK, bin_N, levels)]))
    named = dict(zip(("nll", "top1", "top5", "crps"), sums_EM.T, strict=False))
    return named | {"below": sums_EM[:, 4:]}


def _nll_N(p_NK: np.ndarray, bin_N: np.ndarray) -> np.ndarray:
    p_target = p_NK[np.arange(len(bin_N)), bin_N].astype(np.float64)
    return -np.log(np.maximum(p_target, SMALLEST_PROBABILITY))


def _rank_N(p_NK: np.ndarray, bin_N: np.ndarray) -> np.ndarray:
    """How many bins come before the target's: those with more probability, and equal ones below it."""
    p_target = np.take_along_axis(p_NK, bin_N[:, None], axis=1)
    earlier = np.arange(p_NK.shape[1]) < bin_N[:, None]
    return np.sum((p_NK > p_target) | ((p_NK == p_target) & earlier), axis=1)


def _crps_N(p_NK: np.ndarray, target_N: np.ndarray, centers: np.ndarray) -> np.ndarray:
    p_NK = p_NK.astype(np.float64)
    distance = np.sum(p_NK * np.abs(centers - target_N[:, None]), axis=1)
    F_NK = np.cumsum(p_NK, axis=1)[:, :-1]  # F on [c_i, c_i+1)
    return distance - np.sum(F_NK * (1.0 - F_NK) * np.diff(centers), axis=1)


def _below_NL(p_NK: np.ndarray, bin_N: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The part of each target, 0 … 1, that lies below the predicted quantile of each level."""
    p_NK, bin_N1 = p_NK.astype(np.float64), bin_N[:, None]
    p_target = np.maximum(np.take_along_axis(p_NK, bin_N1, axis=1), SMALLEST_PROBABILITY)
    F_before = np.take_along_axis(np.cumsum(p_NK, axis=1), bin_N1, axis=1) - p_target
    return np.clip((levels - F_before) / p_target, 0.0, 1.0)


# --- inputs ----------------------------------------------------------------------------------------------


def paired(values, targets) -> tuple[np.ndarray, np.ndarray]:
    """Values and targets as float64 [N]; a ValueError says what is wrong with them."""
    values, targets = np.asarray(values, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if values.ndim != 1 or values.shape != targets.shape or not len(targets):
        raise ValueError(
            f"values {list(values.shape)} and targets {list(targets.shape)} must be alike: [N], N >= 1."
        )
    for name, array in (("values", values), ("targets", targets)):
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array))[0])
            raise ValueError(
                f"{name}[{row}] is {array[row]}; leave frames without a target out before measuring."
            )
    return values, targets


def binned(probabilities, targets, v_min, v_max) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distributions [N, K], targets [N] and the targets' bins [N]; a ValueError says what does not fit."""
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities must be [N, K] with K >= 2 bins, not {list(probabilities.shape)}.")
    _, targets = paired(np.zeros(np.shape(targets)), targets)
    if len(targets) != len(probabilities):
        raise ValueError(
            f"{len(probabilities)} distributions for {len(targets)} targets; they must be as many."
        )
    return probabilities, targets, value_to_bin(targets, probabilities.shape[1], v_min, v_max)


def check_distributions(probabilities: np.ndarray) -> None:
    """A ValueError names the first row [K] that does not sum to 1, holds a negative number or a NaN."""
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = ~(np.abs(sums - 1.0) < 1e-3) | (probabilities.min(axis=1) < 0)  # a NaN is wrong too
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"probabilities[{row}] is not a distribution (sum {sums[row]:.4g}, smallest "
            f"{probabilities[row].min():.4g}). Pass softmax(logits), not logits."
        )


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
