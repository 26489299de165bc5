"""All metrics of a forecast in one call: `value_metrics` for training, `value_report` for judging.

The report adds coverage, Kendall's τ, F1, alarms, curves, and a confidence interval for every number. What a
metric means, and what it is when its inputs leave it undefined, stands with the function of its name.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .metrics_bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    SEED,
    Estimates,
    alarms,
    auroc,
    best_f1_of,
    bootstrap,
    ece_of,
    frame_means,
    mean_scores,
    value_errors,
    value_sums,
)
from .metrics_episodes import (
    ELAPSED_SHARES,
    FALSE_ALARMS,
    Episodes,
    auroc_last_frame,
    kendall_tau,
    order_correlation,
    order_of,
    values_at_shares,
    voc_by_outcome,
)
from .metrics_frames import (
    CALIBRATION_LEVELS,
    COVERAGE_LEVELS,
    binned,
    check_distributions,
    crps,
    ece,
    episode_sums,
    expected_values,
    explained_variance,
    interval_ends,
    mae,
    nll,
    paired,
    rmse,
    top_k_accuracy,
)

# Shares of false alarms that the report's alarm curve allows, besides the one asked for; assumption.
ALARM_RATES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
# The curves with an interval: their axis, its points, and what stands over it.
CURVES = {
    "reliability": ("levels", CALIBRATION_LEVELS, "observed"),
    "auroc_over_elapsed": ("shares", ELAPSED_SHARES, "auroc"),
}
Estimator = Callable[[np.ndarray], Estimates]  # weights [B, E] -> metrics of each resample


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
    probabilities, targets, _ = binned(probabilities, targets, *support)
    check_distributions(probabilities)
    values, targets = paired(expected_values(probabilities, *support) if values is None else values, targets)
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
    episode_index, frame_index, success = episode_arrays(episode_index, frame_index, success, len(targets))
    metrics |= voc_by_outcome(values, episode_index, frame_index, success)
    metrics["auroc_last_frame"] = auroc_last_frame(values, episode_index, frame_index, success)
    return metrics


def episode_arrays(episode_index, frame_index, success, count: int):
    """The three as arrays [count] (success bool, or None); a ValueError says what does not fit."""
    arrays = {"episode_index": np.asarray(episode_index), "frame_index": np.asarray(frame_index)}
    if success is not None:
        arrays["success"] = np.asarray(success, dtype=bool)
    for name, array in arrays.items():
        if array.shape != (count,):
            raise ValueError(f"{name} must be [{count}], one entry a frame, not {list(array.shape)}.")
    if success is not None:
        index, position = np.unique(arrays["episode_index"], return_inverse=True)
        frames, wins = np.bincount(position), np.bincount(position, weights=arrays["success"])
        mixed = index[(wins > 0) & (wins < frames)]
        if len(mixed):
            raise ValueError(f"Episode {mixed[0]} has frames of both outcomes; `success` is an episode's.")
    return arrays["episode_index"], arrays["frame_index"], arrays.get("success")


# --- the report ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ValueReport:
    """Everything that `value_report` measures; `dataclasses.asdict` makes plain dictionaries of it.

    metrics: numbers by name; intervals: (lower, upper) of each; curves: arrays [points] by curve and axis;
    counts: frames, episodes, and successes and failures where known. What is undefined is `nan`.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    curves: dict[str, dict[str, np.ndarray]]
    counts: dict[str, int]


@dataclass(frozen=True)
class _Forecast:
    """Checked inputs: probabilities [N, K] or None, values and targets [N], episode_N 0 … E - 1."""

    probabilities: np.ndarray | None
    values: np.ndarray
    targets: np.ndarray
    episode_N: np.ndarray
    episodes: Episodes
    support: tuple[float, float]


def value_report(
    probabilities,
    targets,
    *,
    values=None,
    episode_index,
    frame_index,
    success=None,
    v_min: float = -1.0,
    v_max: float = 0.0,
    max_false_alarms: float = FALSE_ALARMS,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = SEED,
) -> ValueReport:
    """Every metric that the inputs allow, with percentile intervals over resampled episodes, and curves.

    Args:
        probabilities: [N, K] as in `value_metrics`, or None: then only what values tell.
        targets: [N], normalised returns in value units.
        values: [N]; by default the means of `probabilities`.
        episode_index, frame_index: int [N].
        success: bool [N], the outcome of each frame's episode, or None: then nothing that needs outcomes.
        max_false_alarms: share of successful episodes that may raise an alarm, for `failure_alarm`.
        resamples, confidence, seed: of `bootstrap`; resamples=0 leaves the intervals out.

    Returns:
        A `ValueReport`.

        - metrics: mae, rmse, explained_variance, voc, kendall_tau; with distributions nll, top1, top5, crps,
          ece, coverage_50, …_80, …_90, …_95; with outcomes voc_success, voc_failure, kendall_tau_success,
          kendall_tau_failure, auroc_last_frame, auroc_halfway, best_f1, best_f1_threshold, alarm_threshold,
          false_alarm_rate, detection_rate, lead_time (frames).
        - intervals: of the same names, (`nan`, `nan`) when fewer than two episodes stand behind a metric.
        - curves: reliability (levels, observed), auroc_over_elapsed (shares, auroc), both with low and high
          if there are intervals; alarms (max_false_alarms, false_alarm_rate, detection_rate, lead_time).

    Raises:
        ValueError: as in `value_metrics`; a frame that occurs twice.
    """
    forecast = _checked(probabilities, targets, values, episode_index, frame_index, success, (v_min, v_max))
    episodes = forecast.episodes
    estimate = _estimator(forecast, max_false_alarms)
    count = len(episodes.index)
    measured = {name: of[0] for name, of in estimate(np.ones((1, count))).items()}
    spread = bootstrap(estimate, count, resamples, confidence, seed) if resamples else {}
    curves = {}
    for name, (axis, points, height) in CURVES.items():
        if name in measured:
            curves[name] = {axis: points, height: measured.pop(name)}
            if spread:
                curves[name] |= dict(zip(("low", "high"), spread.pop(name), strict=True))
    if success is not None:
        curves["alarms"] = _alarm_curve(episodes, max_false_alarms)
    metrics = {name: float(of) for name, of in measured.items()}
    behind = _episodes_behind(episodes)
    intervals = {
        name: (float(low), float(high)) if behind.get(name, count) > 1 else (float("nan"), float("nan"))
        for name, (low, high) in spread.items()
    }
    return ValueReport(metrics, intervals, curves, _counts(forecast))


def _checked(probabilities, targets, values, episode_index, frame_index, success, support) -> _Forecast:
    if probabilities is not None:
        probabilities, targets, _ = binned(probabilities, targets, *support)
        check_distributions(probabilities)
        values = expected_values(probabilities, *support) if values is None else values
    elif values is None:
        raise ValueError("value_report needs probabilities or values; it was given neither.")
    values, targets = paired(values, targets)
    episode_index, frame_index, success = episode_arrays(episode_index, frame_index, success, len(targets))
    _check_once(episode_index, frame_index)
    episodes = Episodes.of(values, episode_index, frame_index, success)
    episode_N = np.searchsorted(episodes.index, episode_index)
    return _Forecast(probabilities, values, targets, episode_N, episodes, support)


def _check_once(episode_index: np.ndarray, frame_index: np.ndarray) -> None:
    """A frame that occurs twice would weigh double: samplers of distributed runs pad with such frames."""
    order = np.lexsort((frame_index, episode_index))
    episode, frame = episode_index[order], frame_index[order]
    again = np.flatnonzero((episode[1:] == episode[:-1]) & (frame[1:] == frame[:-1]))
    if len(again):
        raise ValueError(f"Frame {frame[again[0]]} of episode {episode[again[0]]} occurs more than once.")


def _estimator(forecast: _Forecast, max_false_alarms: float) -> Estimator:
    """All numbers and curves of weighted episodes; weights of 1 give the metrics themselves."""
    parts = [_of_values(forecast)]
    if forecast.probabilities is not None:
        parts.append(_of_distributions(forecast))
    parts.append(_of_order(forecast.episodes))
    if forecast.episodes.success is not None:
        parts.append(_of_outcomes(forecast.episodes, max_false_alarms))
    return lambda w_BE: {name: of for part in parts for name, of in part(w_BE).items()}


def _of_values(forecast: _Forecast) -> Estimator:
    position, targets, count = forecast.episode_N, forecast.targets, len(forecast.episodes.index)
    frames_E = np.bincount(position).astype(np.float64)
    sums = value_sums(forecast.values, targets, position, count)
    low_E, high_E = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low_E, position, targets)
    np.maximum.at(high_E, position, targets)

    def estimate(w_BE: np.ndarray) -> Estimates:
        lowest = np.where(w_BE > 0, low_E, np.inf).min(axis=1)
        highest = np.where(w_BE > 0, high_E, -np.inf).max(axis=1)
        return value_errors(frame_means(sums, frames_E, w_BE), lowest == highest)

    return estimate


def _of_distributions(forecast: _Forecast) -> Estimator:
    levels = np.concatenate([CALIBRATION_LEVELS, interval_ends(COVERAGE_LEVELS)])
    frames_E = np.bincount(forecast.episode_N).astype(np.float64)
    sums = episode_sums(
        forecast.probabilities, forecast.targets, forecast.episode_N, levels, *forecast.support
    )
    calibration, lower = len(CALIBRATION_LEVELS), len(CALIBRATION_LEVELS) + len(COVERAGE_LEVELS)

    def estimate(w_BE: np.ndarray) -> Estimates:
        means = frame_means(sums, frames_E, w_BE)
        below = means.pop("below")
        means["ece"] = ece_of(below[:, :calibration])
        inside = below[:, lower:] - below[:, calibration:lower]
        covered = {
            f"coverage_{c:.0%}".rstrip("%"): of for c, of in zip(COVERAGE_LEVELS, inside.T, strict=True)
        }
        return means | covered | {"reliability": below[:, :calibration]}

    return estimate


def _of_order(episodes: Episodes) -> Estimator:
    scores = _order_scores(episodes)
    return lambda w_BE: {name: mean_scores(of, w_BE) for name, of in scores.items()}


def _order_scores(episodes: Episodes) -> dict[str, np.ndarray]:
    """VOC and τ of each episode, [E]; by outcome too where known, with `nan` for the other outcome."""
    result = {"voc": order_of(episodes, order_correlation), "kendall_tau": order_of(episodes, kendall_tau)}
    if episodes.success is not None:
        for name, of in tuple(result.items()):
            result[f"{name}_success"] = np.where(episodes.success, of, np.nan)
            result[f"{name}_failure"] = np.where(episodes.success, np.nan, of)
    return result


def _of_outcomes(episodes: Episodes, max_false_alarms: float) -> Estimator:
    values_ES, success = values_at_shares(episodes, ELAPSED_SHARES), episodes.won
    last, halfway = len(ELAPSED_SHARES) - 1, len(ELAPSED_SHARES) // 2

    def estimate(w_BE: np.ndarray) -> Estimates:
        over_elapsed = np.stack([auroc(of_share, success, w_BE) for of_share in values_ES.T], axis=1)
        f1, threshold = best_f1_of(values_ES[:, last], success, w_BE)
        return {
            "auroc_last_frame": over_elapsed[:, last],
            "auroc_halfway": over_elapsed[:, halfway],
            "best_f1": f1,
            "best_f1_threshold": threshold,
            **alarms(episodes, max_false_alarms, w_BE),
            "auroc_over_elapsed": over_elapsed,
        }

    return estimate


def _alarm_curve(episodes: Episodes, max_false_alarms: float) -> dict[str, np.ndarray]:
    rates = np.union1d(ALARM_RATES, [max_false_alarms])
    by_rate = [alarms(episodes, rate, np.ones((1, len(episodes.index)))) for rate in rates]
    names = ("false_alarm_rate", "detection_rate", "lead_time")
    return {"max_false_alarms": rates} | {
        name: np.concatenate([of[name] for of in by_rate]) for name in names
    }


def _episodes_behind(episodes: Episodes) -> dict[str, int]:
    """How many episodes a metric rests on (of the rarer outcome, where it compares the two), if not all."""
    behind = {name: int(np.sum(~np.isnan(of))) for name, of in _order_scores(episodes).items()}
    if episodes.success is None:
        return behind
    won = int(episodes.success.sum())
    rarer = min(won, len(episodes.index) - won)
    comparing = ("auroc_last_frame", "auroc_halfway", "best_f1", "best_f1_threshold")
    behind |= dict.fromkeys((*comparing, "detection_rate", "lead_time"), rarer)
    return behind | dict.fromkeys(("alarm_threshold", "false_alarm_rate"), won)


def _counts(forecast: _Forecast) -> dict[str, int]:
    counts = {"frames": len(forecast.targets), "episodes": len(forecast.episodes.index)}
    if forecast.episodes.success is not None:
        counts["successes"] = int(forecast.episodes.success.sum())
        counts["failures"] = counts["episodes"] - counts["successes"]
    return counts
