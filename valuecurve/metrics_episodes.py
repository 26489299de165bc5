"""Metrics of whole episodes: does a value rise towards success, and does it tell success from failure?

Inputs are frames: `values [N]`, `episode_index [N]`, `frame_index [N]`, `success [N]` (the outcome of each
frame's episode); rows may come in any order, episodes are told apart by their index and put in order by
frame. Every episode counts once, however long it is. A difference of values below 1e-6 orders nothing: it
comes from the arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau, rankdata
from sklearn.metrics import precision_recall_curve, roc_auc_score

SAME_VALUE = 6  # decimals
ELAPSED_SHARES = np.linspace(0.0, 1.0, 21)
ALARM_NAMES = ("alarm_threshold", "false_alarm_rate", "detection_rate", "lead_time")
FALSE_ALARMS = 0.1  # share of successful episodes that may raise an alarm; assumption


@dataclass(frozen=True)
class Episodes:
    """The frames of every episode, put in order: what all metrics of episodes start from.

    index: [E], the episode indices, ascending. values, frames: for each episode its values, rounded to
    `SAME_VALUE` decimals, and its frame indices, in time order. success: bool [E], or None if not known.
    """

    index: np.ndarray
    values: list[np.ndarray]
    frames: list[np.ndarray]
    success: np.ndarray | None

    @classmethod
    def of(cls, values, episode_index, frame_index, success=None) -> "Episodes":
        values, episode_index, frame_index = (np.asarray(x) for x in (values, episode_index, frame_index))
        values = np.round(values.astype(np.float64), SAME_VALUE)
        order = np.lexsort((frame_index, episode_index))
        index, starts = np.unique(episode_index[order], return_index=True)
        rows = np.split(order, starts[1:])
        if success is not None:
            success = np.array([np.asarray(success, dtype=bool)[of[0]] for of in rows if len(of)], dtype=bool)
        rows = rows[: len(index)]
        return cls(index, [values[of] for of in rows], [frame_index[of] for of in rows], success)

    def last_values(self) -> np.ndarray:
        """Value of the last frame of each episode, [E]."""
        return np.array([values[-1] for values in self.values])

    @property
    def won(self) -> np.ndarray:
        """`success`, where it must be known: bool [E]."""
        assert self.success is not None
        return self.success

    def both_outcomes(self) -> bool:
        return bool(self.won.any()) and not self.won.all()


# --- order: does the value rise with time? ---------------------------------------------------------------


def order_correlation(values, times=None) -> float:
    """VOC of one episode: Spearman's correlation of value and time (GVL, Ma et al. 2024, section 4).

    1 when the value always rises, -1 when it always falls, 0 when it never changes (such a value orders
    nothing; leaving it out would reward a collapsed model). `nan` for fewer than two frames.
    """
    values, times = _rounded(values, times)
    if len(values) < 2:
        return float("nan")
    value_rank, time_rank = rankdata(values), rankdata(times)
    if np.ptp(value_rank) == 0 or np.ptp(time_rank) == 0:
        return 0.0
    return float(np.corrcoef(value_rank, time_rank)[0, 1])


def kendall_tau(values, times=None) -> float:
    """Kendall's τ-b of value and time in one episode (Kendall 1945; scipy's `kendalltau`).

    The share of pairs of frames that the value orders as time does, minus the share of those in reverse, with
    the correction for ties: 1 always rises, -1 always falls, 0 when it never changes. `nan` for fewer than
    two frames.
    """
    values, times = _rounded(values, times)
    if len(values) < 2:
        return float("nan")
    if np.ptp(values) == 0 or np.ptp(times) == 0:
        return 0.0
    return float(np.asarray(kendalltau(values, times))[0])


def order_per_episode(
    values, episode_index, frame_index, measure: Callable[..., float] = order_correlation
) -> tuple[np.ndarray, np.ndarray]:
    """(episode indices int [E], `measure` of each episode float64 [E]); `nan` where it has one frame.

    `measure` is `order_correlation` (VOC) or `kendall_tau`.
    """
    episodes = Episodes.of(values, episode_index, frame_index)
    return episodes.index, order_of(episodes, measure)


def order_of(episodes: Episodes, measure: Callable[..., float]) -> np.ndarray:
    """`measure` of each episode, float64 [E]."""
    pairs = zip(episodes.values, episodes.frames, strict=True)
    return np.array([measure(values, frames) for values, frames in pairs])


def voc(values, episode_index, frame_index) -> float:
    """Mean `order_correlation` over episodes; `nan` when no episode has two frames."""
    return mean_defined(order_per_episode(values, episode_index, frame_index)[1])


def voc_by_outcome(values, episode_index, frame_index, success) -> dict[str, float]:
    """`voc` of the successful and of the failed episodes; `nan` for an outcome that does not occur."""
    return _by_outcome("voc", order_correlation, values, episode_index, frame_index, success)


def kendall_tau_by_outcome(values, episode_index, frame_index, success) -> dict[str, float]:
    """Mean `kendall_tau` of the successful and of the failed episodes; `nan` as in `voc_by_outcome`."""
    return _by_outcome("kendall_tau", kendall_tau, values, episode_index, frame_index, success)


def _by_outcome(name: str, measure, values, episode_index, frame_index, success) -> dict[str, float]:
    episodes = Episodes.of(values, episode_index, frame_index, success)
    scores, of = order_of(episodes, measure), episodes.won
    return {f"{name}_success": mean_defined(scores[of]), f"{name}_failure": mean_defined(scores[~of])}


def mean_defined(scores: np.ndarray) -> float:
    """Mean of the numbers that are not nan; `nan` when there is none."""
    scores = scores[~np.isnan(scores)]
    return float(np.mean(scores)) if len(scores) else float("nan")


def _rounded(values, times) -> tuple[np.ndarray, np.ndarray]:
    values = np.round(np.asarray(values, dtype=np.float64), SAME_VALUE)
    return values, np.arange(len(values)) if times is None else np.asarray(times)


# --- outcome: does the value tell success from failure? ---------------------------------------------------


def auroc_last_frame(values, episode_index, frame_index, success) -> float:
    """Chance that the last frame of a successful episode has a higher value than that of a failed one.

    Area under the ROC curve, one point an episode; ties count half. `nan` when all have the same outcome.
    """
    return float(auroc_over_elapsed(values, episode_index, frame_index, success, [1.0])[0])


def auroc_over_elapsed(
    values, episode_index, frame_index, success, shares: Any = ELAPSED_SHARES
) -> np.ndarray:
    """AUROC of success against failure by the value at each elapsed share of the episodes, float64 [shares].

    Share s is the last frame at or before first + s (last - first): 0 is the first frame, 1 the last, where
    the result is `auroc_last_frame`. The length of an episode is known only afterwards, so this says how
    early the value knows, and is no detector. All `nan` when the episodes have the same outcome.
    """
    episodes = Episodes.of(values, episode_index, frame_index, success)
    values_ES = values_at_shares(episodes, shares)
    if not episodes.both_outcomes():
        return np.full(values_ES.shape[1], np.nan)
    return np.array([roc_auc_score(episodes.won, of_share) for of_share in values_ES.T])


def values_at_shares(episodes: Episodes, shares) -> np.ndarray:
    """The value of each episode at each elapsed share, [E, shares]; see `auroc_over_elapsed`."""
    shares = np.asarray(shares, dtype=np.float64)
    result = np.empty((len(episodes.index), len(shares)))
    for row, values, frames in zip(result, episodes.values, episodes.frames, strict=True):
        until = frames[0] + shares * (frames[-1] - frames[0]) + 1e-9  # 1e-9: 0.29 * 100 is 28.999999…
        row[:] = values[np.searchsorted(frames, until, side="right") - 1]
    return result


def best_f1(values, episode_index, frame_index, success) -> tuple[float, float]:
    """(F1, threshold): success told from failure by the value of the last frame, at the best threshold.

    An episode is called a success if its last frame's value is at least the threshold; F1 = 2 TP / (2 TP +
    FP + FN) of the class success (van Rijsbergen 1979; scikit-learn's `precision_recall_curve`). The
    threshold is one of the values; of equally good ones the highest. It is chosen on the very episodes it is
    measured on. Calling all episodes successes gives 2 q / (1 + q) at a share q of successes: that is the
    number to beat. (`nan`, `nan`) when the episodes have the same outcome.
    """
    episodes = Episodes.of(values, episode_index, frame_index, success)
    if not episodes.both_outcomes():
        return float("nan"), float("nan")
    precision, recall, thresholds = precision_recall_curve(episodes.won, episodes.last_values())
    precision, recall = precision[:-1], recall[:-1]  # the last point has no threshold
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = len(f1) - 1 - int(np.argmax(np.round(f1, 12)[::-1]))
    return float(f1[best]), float(thresholds[best])


def failure_alarm(
    values, episode_index, frame_index, success, max_false_alarms: float = FALSE_ALARMS
) -> dict[str, float]:
    """How long before the end of a failed episode does an alarm "value below threshold" fire?

    The threshold is as high as it can be while at most the share `max_false_alarms` of the successful
    episodes ever fall below it: with m_(0) <= m_(1) <= … their smallest values and n their number,
    θ = m_(k), k = floor(n max_false_alarms), and an alarm fires at the first frame with V < θ. It is chosen
    on the very episodes that it is measured on.

    Args:
        max_false_alarms: in [0, 1).

    Returns:
        alarm_threshold: θ, in value units.
        false_alarm_rate: share of successful episodes in which the alarm fires, <= max_false_alarms.
        detection_rate: share of failed episodes in which it fires.
        lead_time: frames from the alarm to the last frame, mean over the failed episodes; 0 where the alarm
            never fires, so that missing an episode is no advantage.
        All `nan` without a successful episode; the last two `nan` without a failed one.
    """
    episodes = Episodes.of(values, episode_index, frame_index, success)
    smallest = np.sort([of.min() for of, won in zip(episodes.values, episodes.won, strict=True) if won])
    if not len(smallest):
        return dict.fromkeys(ALARM_NAMES, float("nan"))
    threshold = smallest[allowed(max_false_alarms, len(smallest))]
    leads = lead_times(episodes, np.array([threshold]))[0]
    detected, lead = (
        (np.mean(~np.isnan(leads)), np.mean(np.nan_to_num(leads))) if len(leads) else 2 * [np.nan]
    )
    found = (threshold, np.mean(smallest < threshold), detected, lead)
    return dict(zip(ALARM_NAMES, map(float, found), strict=True))


def allowed(max_false_alarms: float, count):
    """How many of `count` successful episodes may raise an alarm: floor(count max_false_alarms)."""
    if not 0 <= max_false_alarms < 1:
        raise ValueError(f"max_false_alarms must be in [0, 1), got {max_false_alarms}.")
    return np.floor(np.asarray(count) * max_false_alarms + 1e-9).astype(int)  # 1e-9: 10 * 0.3 is 2.999…


def lead_times(episodes: Episodes, thresholds: np.ndarray) -> np.ndarray:
    """Frames from the first value below each threshold to the last frame of each failed episode.

    float64 [thresholds, failed episodes], failed ones in order of `episodes`; `nan` where no value is below.
    """
    failed = np.flatnonzero(~episodes.won)
    result = np.full((len(thresholds), len(failed)), np.nan)
    for column, episode in enumerate(failed):
        lowest, frames = np.minimum.accumulate(episodes.values[episode]), episodes.frames[episode]
        # -lowest ascends: the first frame with lowest < θ is the first with -lowest > -θ
        first = np.searchsorted(-lowest, -thresholds, side="right")
        fires = first < len(frames)
        result[fires, column] = frames[-1] - frames[first[fires]]
    return result
