"""Metrics of whole episodes against tables made by hand, and against scipy and scikit-learn."""

import math

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import f1_score, roc_auc_score

from valuecurve import metrics


def dataset(*episodes, success):
    """values, episode_index, frame_index, success of each frame, from one list of values an episode."""
    lengths = [len(values) for values in episodes]
    return (
        np.concatenate([np.asarray(values, dtype=float) for values in episodes]),
        np.repeat(np.arange(len(episodes)), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
        np.repeat(np.asarray(success, dtype=bool), lengths),
    )


# --- order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3, 4], 1.0),
        ([4, 3, 2, 1], -1.0),
        ([1, 3, 2, 4], 4 / 6),  # 5 pairs in order, 1 in reverse, of 6
        ([1, 1, 2, 2], 4 / math.sqrt(4 * 6)),  # 4 in order, 2 tied: 4 / sqrt((6 - 2) 6)
        ([2, 2, 2], 0.0),
        ([1 + 1e-9, 1, 1 - 1e-9], 0.0),  # rounding errors order nothing
    ],
    ids=["rising", "falling", "one swap", "ties", "constant", "noise"],
)
def test_kendall_tau_by_hand(values, expected):
    assert metrics.kendall_tau(values) == pytest.approx(expected)


def test_kendall_tau_uses_time_and_needs_two_frames():
    assert metrics.kendall_tau([1, 2, 3], times=[30, 20, 10]) == pytest.approx(-1.0)
    assert math.isnan(metrics.kendall_tau([0.5]))


def test_order_of_each_episode_comes_with_its_index():
    index, scores = metrics.order_per_episode([3, 1, 2, 7, 5], [9, 4, 4, 2, 9], [0, 0, 1, 0, 1])
    assert index.tolist() == [2, 4, 9]
    np.testing.assert_allclose(scores, [np.nan, 1.0, 1.0])  # 2 has one frame
    _, tau = metrics.order_per_episode([1, 2, 3, 2], [0] * 4, range(4), metrics.kendall_tau)
    assert tau[0] == pytest.approx(np.asarray(kendalltau([1, 2, 3, 2], range(4)))[0])


def test_kendall_tau_by_outcome_averages_episodes():
    data = dataset([1, 2, 3], [3, 2, 1], [1, 2, 3], [0, 0, 0], success=[1, 1, 0, 0])
    expected = {"kendall_tau_success": 0.0, "kendall_tau_failure": 0.5}
    assert metrics.kendall_tau_by_outcome(*data) == pytest.approx(expected)
    only = metrics.kendall_tau_by_outcome(*dataset([1, 2], success=[True]))
    assert only["kendall_tau_success"] == 1 and math.isnan(only["kendall_tau_failure"])


# --- outcome ---------------------------------------------------------------------------------------------


def test_auroc_over_elapsed_reads_the_value_at_each_share():
    # at the start failures look better, at the half they tie, at the end successes are apart
    data = dataset([-3, 0, 5], [-4, 0, 0, 1, 6], [-1, -1, 0, 0, 2], [0, 0, 3], success=[1, 1, 0, 0])
    curve = metrics.auroc_over_elapsed(*data, shares=[0.0, 0.49, 0.5, 1.0])
    np.testing.assert_allclose(curve, [0.0, (0 + 0 + 1 + 0.5) / 4, 0.5, 1.0])  # at 0.49: -3, 0 and -1, 0
    assert metrics.auroc_last_frame(*data) == curve[-1]


def test_a_share_is_of_the_time_and_not_of_the_rows():
    values, episode, frame, success = dataset([0, 0, 9], [1, 1, 1], success=[1, 0])
    frame = np.array([0, 1, 100, 0, 1, 2])  # half of 0 … 100 is 50: the last row before it is frame 1
    assert metrics.auroc_over_elapsed(values, episode, frame, success, [0.5]).tolist() == [0.0]


def test_a_share_that_falls_on_a_frame_takes_it_in_spite_of_rounding():
    assert 0.29 * 100 < 29
    data = dataset(np.arange(101), [28.5] * 101, success=[1, 0])
    assert metrics.auroc_over_elapsed(*data, shares=[0.28, 0.29]).tolist() == [0.0, 1.0]


def test_auroc_over_elapsed_does_not_depend_on_the_order_of_rows():
    generator = np.random.default_rng(0)
    data = dataset(*generator.normal(size=(9, 12)), success=np.arange(9) % 2)
    mixed = generator.permutation(len(data[0]))
    expected = metrics.auroc_over_elapsed(*data)
    np.testing.assert_array_equal(metrics.auroc_over_elapsed(*(x[mixed] for x in data)), expected)
    last = [rows[-1] for rows in np.split(data[0], 9)]
    assert expected[-1] == roc_auc_score(np.arange(9) % 2, last)


def test_one_outcome_leaves_what_compares_outcomes_undefined():
    data = dataset([1, 2], [2, 3], success=[1, 1])
    assert np.isnan(metrics.auroc_over_elapsed(*data)).all()
    assert np.isnan(metrics.best_f1(*data)).all()
    alarm = metrics.failure_alarm(*data)
    assert alarm["alarm_threshold"] == 1 and alarm["false_alarm_rate"] == 0
    assert math.isnan(alarm["lead_time"]) and math.isnan(alarm["detection_rate"])
    failures = dataset([1, 2], [2, 3], success=[0, 0])
    assert np.isnan(list(metrics.failure_alarm(*failures).values())).all()


def test_best_f1_by_hand():
    # last frames: successes 5, 3, 1, failures 4, 0; at 1 TP 3, FP 1: 6/7; at 3 2, 1: 4/6; at 5 1, 0: 2/4
    data = dataset([9, 5], [9, 3], [9, 1], [9, 4], [9, 0], success=[1, 1, 1, 0, 0])
    assert metrics.best_f1(*data) == pytest.approx((6 / 7, 1.0))


def test_best_f1_takes_the_highest_of_equally_good_thresholds():
    # at 3: TP 1 of 2, FP 0 -> 2/3; at 1: TP 2, FP 2 -> 4/6
    data = dataset([3], [1], [2], [2], success=[1, 1, 0, 0])
    assert metrics.best_f1(*data) == pytest.approx((2 / 3, 3.0))


def test_best_f1_is_the_best_of_all_thresholds():
    generator = np.random.default_rng(1)
    last, success = np.round(generator.normal(size=40), 1), generator.random(40) < 0.6
    data = dataset(*last[:, None], success=success)
    f1, threshold = metrics.best_f1(*data)
    assert f1 == pytest.approx(f1_score(success, last >= threshold))
    assert f1 == pytest.approx(max(f1_score(success, last >= at) for at in last))


def test_a_value_that_never_changes_calls_all_episodes_successes():
    data = dataset([1, 1], [1, 1], [1, 1], success=[1, 1, 0])
    assert metrics.best_f1(*data) == pytest.approx((2 * (2 / 3) / (1 + 2 / 3), 1.0))
    alarm = metrics.failure_alarm(*data)
    assert alarm == {"alarm_threshold": 1, "false_alarm_rate": 0, "detection_rate": 0, "lead_time": 0}


# --- alarms ----------------------------------------------------------------------------------------------

SUCCESSES = [[-0.5, -0.2, 0], [-0.6, -0.3, 0], [-0.9, -0.1, 0], [-0.4, 0, 0]]  # smallest -.9 -.6 -.5 -.4
FAILURES = [[-0.3, -0.7, -0.2, -0.95, -1], [-0.4, -0.5, -0.5], [-1, -1, -1]]


@pytest.mark.parametrize(
    ("allowed", "threshold", "false_alarms", "detected", "lead"),
    [
        (0.0, -0.9, 0.0, 2 / 3, (1 + 0 + 2) / 3),  # fires at frame 3 of 0 … 4, never, at frame 0 of 0 … 2
        (0.24, -0.9, 0.0, 2 / 3, (1 + 0 + 2) / 3),  # 0.96 of an episode is none
        (0.25, -0.6, 0.25, 2 / 3, (3 + 0 + 2) / 3),  # fires at frame 1 already
        (0.75, -0.4, 0.75, 1.0, (3 + 1 + 2) / 3),
    ],
)
def test_failure_alarm_by_hand(allowed, threshold, false_alarms, detected, lead):
    data = dataset(*SUCCESSES, *FAILURES, success=[1] * 4 + [0] * 3)
    alarm = metrics.failure_alarm(*data, max_false_alarms=allowed)
    expected = dict(alarm_threshold=threshold, false_alarm_rate=false_alarms, detection_rate=detected)
    assert alarm == pytest.approx(expected | {"lead_time": lead})


def test_lead_time_counts_frames_and_not_rows():
    values, episode, frame, success = dataset([0, 0], [0, -1, -1], success=[1, 0])
    frame = np.array([0, 1, 0, 10, 50])
    assert metrics.failure_alarm(values, episode, frame, success)["lead_time"] == 40


def test_equal_smallest_values_stay_within_the_allowed_false_alarms():
    data = dataset([-0.5], [-0.5], [-0.5], [-0.1], [-0.9], success=[1, 1, 1, 1, 0])
    alarm = metrics.failure_alarm(*data, max_false_alarms=0.5)  # two may fire; all three of -0.5 would
    assert alarm["alarm_threshold"] == -0.5 and alarm["false_alarm_rate"] == 0


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_of_false_alarms_outside_0_to_1_is_refused(rate):
    with pytest.raises(ValueError, match=r"max_false_alarms must be in \[0, 1\)"):
        metrics.failure_alarm(*dataset([1], [0], success=[1, 0]), max_false_alarms=rate)
