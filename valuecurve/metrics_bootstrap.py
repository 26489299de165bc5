"""Confidence intervals by resampling episodes: fast, because an episode is a weight and not a copy.

Frames of one episode are alike, so it is episodes that are drawn, with replacement, as many as there are
(the cluster bootstrap: Efron & Tibshirani 1993, chapter 8; Field & Welsh 2007). A resample is a row of counts
`w_E`, how often each episode was drawn; every metric is computed from sums per episode or from sorted scores
for all resamples `w_BE` at once, which equals measuring a dataset in which episodes are repeated.

Shapes: B resamples, E episodes, P episodes with success, F failed ones, S shares or thresholds.
"""

from collections.abc import Callable

import numpy as np

from .metrics_episodes import ALARM_NAMES, Episodes, allowed, lead_times
from .metrics_frames import CALIBRATION_LEVELS

RESAMPLES = 1000
CONFIDENCE = 0.95
SEED = 0
BLOCK = 2_000_000  # weights held at a time, 16 MB

Estimates = dict[str, np.ndarray]  # by metric, [B] or [B, S]


def bootstrap(
    estimate: Callable[[np.ndarray], Estimates],
    episodes: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> dict[str, np.ndarray]:
    """Percentile intervals of the metrics that `estimate` computes from episode weights.

    Args:
        estimate: float64 [B, E] weights (how often each episode was drawn) -> {metric: [B] or [B, S]}.
        episodes: E.
        resamples: how many datasets are drawn.
        confidence: share of the resamples' metrics that the interval holds, in (0, 1).
        seed: of the draws; equal seeds give equal intervals.

    Returns:
        {metric: float64 [2] or [2, S]}, lower and upper end. Resamples in which a metric is undefined (all of
        one outcome) are left out of its interval. With fewer than two episodes nothing can be said: `nan`.
    """
    if not 0 < confidence < 1 or resamples < 1 or episodes < 1:
        raise ValueError(
            f"need resamples >= 1, episodes >= 1 and confidence in (0, 1), "
            f"got {resamples}, {episodes} and {confidence}."
        )
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK // episodes)
    parts = []
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        weights = generator.multinomial(episodes, np.full(episodes, 1 / episodes), size=count)
        parts.append(estimate(weights.astype(np.float64)))
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: _percentiles(values, ends, episodes) for name, values in joined.items()}


def _percentiles(values: np.ndarray, ends: list[float], episodes: int) -> np.ndarray:
    result = np.full((2, *values.shape[1:]), np.nan)
    defined = ~np.isnan(values).all(axis=0)
    if episodes > 1 and defined.any():
        result[..., defined] = np.nanquantile(values[..., defined], ends, axis=0)
    return result


# --- means over frames -----------------------------------------------------------------------------------


def frame_means(sums: dict[str, np.ndarray], frames_E: np.ndarray, w_BE: np.ndarray) -> Estimates:
    """Means over the frames of each resample, from sums per episode [E] or [E, L]."""
    frames_B = w_BE @ frames_E
    return {name: ((w_BE @ of).T / frames_B).T for name, of in sums.items()}


def ece_of(below_BL: np.ndarray) -> np.ndarray:
    """`ece` from calibration curves at CALIBRATION_LEVELS, [B]."""
    return np.mean(np.abs(below_BL - CALIBRATION_LEVELS), axis=1)


def value_sums(values, targets, episode_N, count: int) -> dict[str, np.ndarray]:
    """Sums over each episode's frames from which MAE, RMSE and explained variance follow, [E] each."""
    error, target = targets - values, targets - np.mean(targets)
    of = {"absolute": np.abs(error), "error": error, "error2": error**2, "target": target}
    of["target2"] = target**2
    return {name: np.bincount(episode_N, weights=x, minlength=count) for name, x in of.items()}


def value_errors(means: Estimates, constant_B: np.ndarray) -> Estimates:
    """MAE, RMSE and explained variance of resamples from the means of `value_sums`.

    constant_B: bool [B], where all targets of a resample are equal and there is nothing to explain.
    """
    variance = means["target2"] - means["target"] ** 2
    unexplained = means["error2"] - means["error"] ** 2
    explained = np.full(len(constant_B), np.nan)
    np.divide(unexplained, variance, out=explained, where=~constant_B)
    return {"mae": means["absolute"], "rmse": np.sqrt(means["error2"]), "explained_variance": 1 - explained}


# --- means over episodes ---------------------------------------------------------------------------------


def mean_scores(scores_E: np.ndarray, w_BE: np.ndarray) -> np.ndarray:
    """Mean over the drawn episodes whose score is defined, [B]; `nan` where none is."""
    of = ~np.isnan(scores_E)
    return _divide(w_BE[:, of] @ scores_E[of], w_BE[:, of].sum(axis=1))


def auroc(scores_E: np.ndarray, success_E: np.ndarray, w_BE: np.ndarray) -> np.ndarray:
    """AUROC of success by one score an episode, [B]: the share of pairs in the right order, ties half.

    With episodes sorted into groups of equal score, a success beats the failures of all lower groups and
    half of those of its own.
    """
    won_BG, lost_BG, _ = _grouped(scores_E, success_E, w_BE)
    right = np.sum(won_BG * (np.cumsum(lost_BG, axis=1) - lost_BG / 2), axis=1)
    return _divide(right, won_BG.sum(axis=1) * lost_BG.sum(axis=1))


def best_f1_of(
    scores_E: np.ndarray, success_E: np.ndarray, w_BE: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`best_f1` and its threshold of each resample, [B] and [B]."""
    won_BG, lost_BG, scores_G = _grouped(scores_E, success_E, w_BE)
    won_B, lost_B = won_BG.sum(axis=1), lost_BG.sum(axis=1)
    hits = np.cumsum(won_BG[:, ::-1], axis=1)  # from the highest threshold down
    called = hits + np.cumsum(lost_BG[:, ::-1], axis=1)
    f1 = 2 * hits / np.maximum(called + won_B[:, None], 1)
    best = np.argmax(np.round(f1, 12), axis=1)
    defined = (won_B > 0) & (lost_B > 0)
    return (
        np.where(defined, f1[np.arange(len(f1)), best], np.nan),
        np.where(defined, scores_G[::-1][best], np.nan),
    )


def _grouped(scores_E, success_E, w_BE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of successes and of failures in each group of equal score, [B, G], and the scores [G]."""
    order = np.argsort(scores_E, kind="stable")
    scores_G, starts = np.unique(scores_E[order], return_index=True)
    won = np.where(success_E[order], w_BE[:, order], 0.0)
    lost = np.where(success_E[order], 0.0, w_BE[:, order])
    return np.add.reduceat(won, starts, axis=1), np.add.reduceat(lost, starts, axis=1), scores_G


def alarms(episodes: Episodes, max_false_alarms: float, w_BE: np.ndarray) -> Estimates:
    """`failure_alarm` of each resample, each with a threshold of its own."""
    won = np.flatnonzero(episodes.won)
    if not len(won):
        return dict.fromkeys(ALARM_NAMES, np.full(len(w_BE), np.nan))
    smallest_P = np.array([episodes.values[episode].min() for episode in won])
    order = np.argsort(smallest_P, kind="stable")
    smallest_P, w_BP, w_BF = smallest_P[order], w_BE[:, won[order]], w_BE[:, ~episodes.won]
    won_B = w_BP.sum(axis=1)
    allowed_B = allowed(max_false_alarms, won_B)
    threshold_B = smallest_P[np.argmax(np.cumsum(w_BP, axis=1) > allowed_B[:, None], axis=1)]
    false_B = np.sum(w_BP * (smallest_P < threshold_B[:, None]), axis=1)
    thresholds, which_B = np.unique(threshold_B, return_inverse=True)
    leads_BF = lead_times(episodes, thresholds)[which_B]
    fired = ~np.isnan(leads_BF)
    lost_B = np.where(won_B > 0, w_BF.sum(axis=1), 0.0)  # no success: no threshold
    found = (
        np.where(won_B > 0, threshold_B, np.nan),
        _divide(false_B, won_B),
        _divide(np.sum(w_BF * fired, axis=1), lost_B),
        _divide(np.sum(w_BF * np.where(fired, leads_BF, 0.0), axis=1), lost_B),
    )
    return dict(zip(ALARM_NAMES, found, strict=True))


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, `nan` where the denominator is 0."""
    result = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)
