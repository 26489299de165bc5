"""How good are predicted value distributions? Pure arrays in, plain floats out.

What is judged: `probabilities [N, K]`, one distribution over K bin centres for each of N frames, or
`values [N]`, its mean, against `targets [N]` (normalised returns in value units). Every function averages
over frames, so a long episode weighs more than a short one, except the two that look at whole episodes:
order correlation and AUROC. A metric that its inputs leave undefined (one outcome only, targets that never
change) is `nan`, and its docstring says when; every other result is finite. Nothing here reads a file,
knows a model, or needs torch.
"""

from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from valuecurve.returns import bin_centers, value_to_bin

SMALLEST_PROBABILITY = 1e-12  # NLL of one frame is at most 27.6 nats
CALIBRATION_LEVELS = np.linspace(0.05, 0.95, 19)
SAME_VALUE = 6  # decimals: a smaller difference is the arithmetic's, and orders nothing
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
    values, targets = _paired(values, targets)
    return float(np.mean(np.abs(values - targets)))


def rmse(values, targets) -> float:
    """Root of the mean squared error, in value units."""
    values, targets = _paired(values, targets)
    return float(np.sqrt(np.mean((values - targets) ** 2)))


def explained_variance(values, targets) -> float:
    """1 - Var(target - value) / Var(target): 1 is perfect, 0 a constant, below 0 worse than a constant.

    A constant offset costs nothing here; `mae` sees it. `nan` when all targets are equal.
    """
    values, targets = _paired(values, targets)
    if np.ptp(targets) == 0:
        return float("nan")
    return float(1.0 - np.var(targets - values) / np.var(targets))


# --- the distribution ------------------------------------------------------------------------------------


def nll(probabilities, targets, v_min: float = -1.0, v_max: float = 0.0) -> float:
    """Mean of -ln p[bin of the target], in nats; the bin is the nearest centre, p is at least 1e-12."""
    probabilities, targets, bins = _binned(probabilities, targets, v_min, v_max)
    p_target = probabilities[np.arange(len(bins)), bins].astype(np.float64)
    return float(np.mean(-np.log(np.maximum(p_target, SMALLEST_PROBABILITY))))


def top_k_accuracy(probabilities, targets, k: int, v_min: float = -1.0, v_max: float = 0.0) -> float:
    """Share of frames whose target bin is among the k most probable; of equal ones the lower bin is first."""
    probabilities, targets, bins = _binned(probabilities, targets, v_min, v_max)
    hits = 0
    for rows in _chunks(len(bins)):
        p_NK, bin_N1 = probabilities[rows], bins[rows, None]
        p_target = np.take_along_axis(p_NK, bin_N1, axis=1)
        earlier = np.arange(p_NK.shape[1]) < bin_N1
        rank = np.sum((p_NK > p_target) | ((p_NK == p_target) & earlier), axis=1)
        hits += int(np.sum(rank < k))
    return hits / len(bins)


def crps(probabilities, targets, v_min: float = -1.0, v_max: float = 0.0) -> float:
    """Continuous ranked probability score, mean over frames, in value units; 0 is perfect.

    For a distribution with mass p_i at each centre c_i and distribution function F, the exact integral

        ∫ (F(x) - 1[x >= y])² dx  =  Σ_i p_i |c_i - y|  -  ∫ F(x) (1 - F(x)) dx

    (Gneiting & Raftery 2007, eqs. 20-21). A single spike at c scores |c - y|: CRPS is MAE for distributions.
    """
    probabilities, targets, _ = _binned(probabilities, targets, v_min, v_max)
    centers = bin_centers(probabilities.shape[1], v_min, v_max)
    total = 0.0
    for rows in _chunks(len(targets)):
        p_NK = probabilities[rows].astype(np.float64)
        distance = np.sum(p_NK * np.abs(centers - targets[rows, None]), axis=1)
        F_NK = np.cumsum(p_NK, axis=1)[:, :-1]  # F on [c_i, c_i+1)
        spread = np.sum(F_NK * (1.0 - F_NK) * np.diff(centers), axis=1)
        total += float(np.sum(distance - spread))
    return total / len(targets)


def calibration_curve(
    probabilities, targets, levels: Any = CALIBRATION_LEVELS, v_min: float = -1.0, v_max: float = 0.0
) -> np.ndarray:
    """How often the target lies below the predicted quantile of each level; calibrated: equal to `levels`.

    A bin is an atom, not a point: a target in bin k counts for level u with the part of p_k that lies under
    u, clip((u - F_{k-1}) / p_k, 0, 1) (the non-randomised PIT of Czado, Gneiting & Held 2009). Without this
    a perfect forecaster of failures, half of whose mass is in the lowest bin, would look miscalibrated.
    """
    probabilities, targets, bins = _binned(probabilities, targets, v_min, v_max)
    levels = np.asarray(levels, dtype=np.float64)
    below = np.zeros(len(levels))
    for rows in _chunks(len(bins)):
        p_NK, bin_N1 = probabilities[rows].astype(np.float64), bins[rows, None]
        p_target = np.maximum(np.take_along_axis(p_NK, bin_N1, axis=1), SMALLEST_PROBABILITY)
        F_before = np.take_along_axis(np.cumsum(p_NK, axis=1), bin_N1, axis=1) - p_target
        below += np.clip((levels - F_before) / p_target, 0.0, 1.0).sum(axis=0)
    return below / len(bins)


def ece(probabilities, targets, v_min: float = -1.0, v_max: float = 0.0) -> float:
    """Expected calibration error of the quantiles: mean over levels u of |share of targets below q_u - u|.

    Levels 0.05 … 0.95 in steps of 0.05 (Kuleshov et al. 2018, with absolute instead of squared differences
    and `calibration_curve`'s treatment of bins). 0 is perfect, 0.5 the limit of a forecast that always lies
    on one side of the target.
    """
    return float(
        np.mean(
            np.abs(calibration_curve(probabilities, targets, v_min=v_min, v_max=v_max) - CALIBRATION_LEVELS)
        )
    )


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


# --- whole episodes --------------------------------------------------------------------------------------


def order_correlation(values, times=None) -> float:
    """VOC of one episode: Spearman's correlation of value and time (GVL, Ma et al. 2024, section 4).

    1 when the value always rises, -1 when it always falls, 0 when it never changes (such a value orders
    nothing; leaving it out would reward a collapsed model). `nan` for fewer than two frames.
    """
    values = np.round(np.asarray(values, dtype=np.float64), SAME_VALUE)
    times = np.arange(len(values)) if times is None else np.asarray(times)
    if len(values) < 2:
        return float("nan")
    value_rank, time_rank = rankdata(values), rankdata(times)
    if np.ptp(value_rank) == 0 or np.ptp(time_rank) == 0:
        return 0.0
    return float(np.corrcoef(value_rank, time_rank)[0, 1])


def voc(values, episode_index, frame_index) -> float:
    """Mean `order_correlation` over episodes; `nan` when no episode has two frames."""
    values, episode_index, frame_index = (np.asarray(x) for x in (values, episode_index, frame_index))
    scores = [order_correlation(values[rows], frame_index[rows]) for rows in _episode_rows(episode_index)]
    scores = [score for score in scores if not np.isnan(score)]
    return float(np.mean(scores)) if scores else float("nan")


def voc_by_outcome(values, episode_index, frame_index, success) -> dict[str, float]:
    """`voc` of the successful and of the failed episodes; `nan` for an outcome that does not occur."""
    values, episode_index, frame_index = (np.asarray(x) for x in (values, episode_index, frame_index))
    success = np.asarray(success, dtype=bool)
    names = {"voc_success": success, "voc_failure": ~success}
    return {name: voc(values[of], episode_index[of], frame_index[of]) for name, of in names.items()}


def auroc_last_frame(values, episode_index, frame_index, success) -> float:
    """Chance that the last frame of a successful episode has a higher value than that of a failed one.

    Area under the ROC curve, one point an episode; ties count half. `nan` when all have the same outcome.
    """
    values, frame_index = np.round(np.asarray(values, dtype=np.float64), SAME_VALUE), np.asarray(frame_index)
    success = np.asarray(success, dtype=bool)
    last = np.array([rows[np.argmax(frame_index[rows])] for rows in _episode_rows(np.asarray(episode_index))])
    if len(np.unique(success[last])) < 2:
        return float("nan")
    return float(roc_auc_score(success[last], values[last]))


# --- all together ----------------------------------------------------------------------------------------


def value_metrics(
    probabilities,
    targets,
    *,
    values=None,
    episode_index=None,
    frame_index=None,
    success=None,
    v_min: float = -1.0,
    v_max: float = 0.0,
) -> dict[str, float]:
    """Every metric that the inputs allow, by name.

    Args:
        probabilities: [N, K], one distribution a frame over K centres from v_min to v_max; rows sum to 1.
        targets: [N], normalised returns in value units.
        values: [N], the predicted values; by default the means of `probabilities`.
        episode_index, frame_index: int [N]. With both and `success`, the episode metrics are added.
        success: bool [N], the outcome of each frame's episode.

    Returns:
        nll, mae, rmse, explained_variance, top1, top5, crps, ece, and with episodes and outcomes also
        voc_success, voc_failure, auroc_last_frame. Degenerate ones are `nan`, as their functions say.

    Raises:
        ValueError: shapes that do not fit, no frames, a value that is not finite, a row that is not a
            distribution, an episode with two outcomes.
    """
    support = (v_min, v_max)
    probabilities, targets, _ = _binned(probabilities, targets, *support)
    _check_distributions(probabilities)
    values, targets = _paired(expected_values(probabilities, *support) if values is None else values, targets)
    metrics = {
        "nll": nll(probabilities, targets, *support),
        "mae": mae(values, targets),
        "rmse": rmse(values, targets),
        "explained_variance": explained_variance(values, targets),
        "top1": top_k_accuracy(probabilities, targets, 1, *support),
        "top5": top_k_accuracy(probabilities, targets, 5, *support),
        "crps": crps(probabilities, targets, *support),
        "ece": ece(probabilities, targets, *support),
    }
    if episode_index is None or frame_index is None or success is None:
        return metrics
    episode_index, frame_index, success = _episode_arrays(episode_index, frame_index, success, len(targets))
    metrics |= voc_by_outcome(values, episode_index, frame_index, success)
    metrics["auroc_last_frame"] = auroc_last_frame(values, episode_index, frame_index, success)
    return metrics


# --- inputs ----------------------------------------------------------------------------------------------


def _paired(values, targets) -> tuple[np.ndarray, np.ndarray]:
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


def _binned(probabilities, targets, v_min, v_max) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities must be [N, K] with K >= 2 bins, not {list(probabilities.shape)}.")
    _, targets = _paired(np.zeros(np.shape(targets)), targets)
    if len(targets) != len(probabilities):
        raise ValueError(
            f"{len(probabilities)} distributions for {len(targets)} targets; they must be as many."
        )
    return probabilities, targets, value_to_bin(targets, probabilities.shape[1], v_min, v_max)


def _check_distributions(probabilities: np.ndarray) -> None:
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = ~(np.abs(sums - 1.0) < 1e-3) | (probabilities.min(axis=1) < 0)  # a NaN is wrong too
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"probabilities[{row}] is not a distribution (sum {sums[row]:.4g}, smallest "
            f"{probabilities[row].min():.4g}). Pass softmax(logits), not logits."
        )


def _episode_arrays(episode_index, frame_index, success, count: int):
    arrays = [np.asarray(episode_index), np.asarray(frame_index), np.asarray(success, dtype=bool)]
    for name, array in zip(("episode_index", "frame_index", "success"), arrays, strict=True):
        if array.shape != (count,):
            raise ValueError(f"{name} must be [{count}], one entry a frame, not {list(array.shape)}.")
    for rows in _episode_rows(arrays[0]):
        if np.ptp(arrays[2][rows].astype(int)):
            raise ValueError(
                f"Episode {arrays[0][rows[0]]} has frames of both outcomes; `success` is an episode's."
            )
    return arrays


def _episode_rows(episode_index: np.ndarray) -> list[np.ndarray]:
    """The rows of each episode, in the order of episode_index; episodes need not be contiguous."""
    if not len(episode_index):
        return []
    order = np.argsort(episode_index, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(episode_index[order])) + 1)


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
