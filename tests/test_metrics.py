"""Metrics against tables made by hand: three or five bins over [-1, 0], so each number can be checked."""

import math

import numpy as np
import pytest

from valuecurve import metrics, metrics_frames


def spike(bins, num_bins=5):
    return np.eye(num_bins)[bins]


def test_nll_is_the_mean_log_loss_of_the_nearest_bin():
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])  # centres -1, -0.5, 0
    assert metrics.nll(p, [-1.0, -0.45]) == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)


def test_nll_of_an_impossible_target_is_large_but_finite():
    assert metrics.nll(spike([0]), [0.0]) == pytest.approx(-math.log(1e-12))


@pytest.mark.parametrize(
    ("target", "top1", "top2", "top3"), [(-1.0, 0, 0, 1), (-0.5, 1, 1, 1), (0.0, 0, 1, 1)], ids=str
)
def test_top_k_counts_the_bins_before_the_target(target, top1, top2, top3):
    p = np.array([[0.1, 0.6, 0.3]])
    assert [metrics.top_k_accuracy(p, [target], k) for k in (1, 2, 3)] == [top1, top2, top3]


def test_top_k_of_a_uniform_distribution_takes_the_lower_bins_first():
    p = np.full((5, 5), 0.2)
    targets = np.linspace(-1, 0, 5)
    assert metrics.top_k_accuracy(p, targets, 1) == pytest.approx(1 / 5)
    assert metrics.top_k_accuracy(p, targets, 3) == pytest.approx(3 / 5)


def test_mae_rmse_and_expected_values():
    values = metrics.expected_values(np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(values, [-0.75, 0.0])
    assert metrics.mae(values, [-0.5, -0.1]) == pytest.approx((0.25 + 0.1) / 2)
    assert metrics.rmse(values, [-0.5, -0.1]) == pytest.approx(math.sqrt((0.0625 + 0.01) / 2))


def test_explained_variance_ignores_an_offset_and_is_zero_for_a_constant():
    targets = np.array([-1.0, -0.5, 0.0])
    assert metrics.explained_variance(targets - 0.2, targets) == pytest.approx(1.0)
    assert metrics.explained_variance([-0.3] * 3, targets) == pytest.approx(0.0)
    assert metrics.explained_variance(-targets, targets) == pytest.approx(-3.0)  # Var(2t) = 4 Var(t)
    assert math.isnan(metrics.explained_variance(targets, [-0.5] * 3))


def test_crps_of_a_spike_is_its_distance():
    assert metrics.crps(spike([0, 4, 2]), [-1.0, -0.75, -0.4]) == pytest.approx((0 + 0.75 + 0.1) / 3)


def test_crps_by_hand():
    # F = 1/2 on [-1, 0); y = -1/4: (1/2)² on [-1, -1/4) plus (1/2 - 1)² on [-1/4, 0) = 1/4
    assert metrics.crps(np.array([[0.5, 0.0, 0.5]]), [-0.25]) == pytest.approx(0.25)
    # F = 1/4 on [-1, -1/2), 3/4 on [-1/2, 0); y = -1/2: 1/16 · 1/2 + 1/16 · 1/2
    assert metrics.crps(np.array([[0.25, 0.5, 0.25]]), [-0.5]) == pytest.approx(1 / 16)


def test_crps_equals_the_integral():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(7), size=4)
    targets = rng.uniform(-1, 0, 4)
    x = np.linspace(-1, 0, 600_001)[:-1] + 0.5 / 600_000  # midpoints
    F = np.cumsum(p, axis=1)[:, np.minimum((x + 1) * 6, 6).astype(int)]
    expected = np.mean((F - (x >= targets[:, None])) ** 2)
    assert metrics.crps(p, targets) == pytest.approx(expected, abs=1e-5)


def test_chunks_do_not_change_a_metric(monkeypatch):
    rng = np.random.default_rng(1)
    p, targets = rng.dirichlet(np.ones(9), size=50), rng.uniform(-1, 0, 50)
    whole = metrics.value_metrics(p, targets)
    monkeypatch.setattr(metrics_frames, "CHUNK", 7)
    assert metrics.value_metrics(p, targets) == pytest.approx(whole, rel=1e-12)


def test_a_perfect_forecast_is_calibrated_in_spite_of_its_atom():
    # half of the targets lie in the lowest bin, the rest anywhere: the forecast says exactly that
    p = np.tile([0.5, 0.125, 0.125, 0.125, 0.125], (8, 1))
    targets = np.array([-1.0] * 4 + [-0.75, -0.5, -0.25, 0.0])
    np.testing.assert_allclose(metrics.calibration_curve(p, targets, [0.1, 0.5, 0.8]), [0.1, 0.5, 0.8])
    assert metrics.ece(p, targets) == pytest.approx(0.0, abs=1e-12)


def test_a_forecast_on_the_wrong_side_has_the_worst_calibration():
    assert metrics.ece(spike([4, 4]), [-1.0, -0.75]) == pytest.approx(0.5)
    assert metrics.ece(spike([0, 0]), [0.0, -0.75]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 3, 9], 1.0), ([4, 3, 2, 1], -1.0), ([1, 3, 2, 4], 0.8), ([2, 2, 2, 2], 0.0)],
    ids=["rising", "falling", "one swap", "constant"],
)
def test_order_correlation(values, expected):
    assert metrics.order_correlation(values) == pytest.approx(expected)


def test_rounding_errors_are_not_an_order():
    noise = -0.4 + 1e-8 * np.array([1.0, 2.0, 4.0])
    assert metrics.order_correlation(noise) == 0
    assert metrics.auroc_last_frame(noise, [0, 1, 2], [0, 0, 0], [False, True, True]) == 0.5
    p = np.tile(np.random.default_rng(0).dirichlet(np.ones(201)), (1001, 1))
    assert np.ptp(metrics.expected_values(p)) == 0


def test_order_correlation_of_one_frame_is_nan():
    assert math.isnan(metrics.order_correlation([0.5]))


def test_voc_averages_episodes_and_uses_frame_order_not_row_order():
    episode = np.array([7, 7, 7, 2, 2, 2, 5])
    frame = np.array([2, 0, 1, 0, 1, 2, 0])
    values = np.array([0.9, 0.1, 0.5, 3.0, 2.0, 1.0, 0.0])  # 7 rises, 2 falls, 5 has one frame
    assert metrics.voc(values, episode, frame) == pytest.approx(0.0)
    success = episode == 7
    assert metrics.voc_by_outcome(values, episode, frame, success) == {
        "voc_success": 1.0,
        "voc_failure": -1.0,
    }
    assert math.isnan(metrics.voc(values[-1:], episode[-1:], frame[-1:]))


def test_auroc_uses_the_last_frame_of_each_episode():
    episode = np.array([0, 0, 1, 1, 2, 2, 3])
    frame = np.array([1, 0, 0, 1, 0, 1, 0])
    values = np.array([0.9, -9, 9, 0.5, 0, 0.1, 0.5])  # last frames 0.9, 0.5, 0.1, 0.5
    success = np.array([True, True, True, True, False, False, False])
    assert metrics.auroc_last_frame(values, episode, frame, success) == pytest.approx((2 + 1.5) / 4)
    assert math.isnan(metrics.auroc_last_frame(values, episode, frame, np.ones(7, bool)))


def test_value_metrics_has_the_metrics_that_its_inputs_allow():
    p = spike([0, 2, 4, 0], 5)
    targets = np.array([-1.0, -0.5, 0.0, -1.0])
    plain = metrics.value_metrics(p, targets)
    assert list(plain) == ["nll", "mae", "rmse", "explained_variance", "top1", "top5", "crps", "ece"]
    assert plain["mae"] == 0 and plain["top1"] == 1 and plain["explained_variance"] == 1
    full = metrics.value_metrics(
        p, targets, episode_index=[0, 0, 0, 1], frame_index=[0, 1, 2, 0], success=[True, True, True, False]
    )
    assert full["voc_success"] == pytest.approx(1) and full["auroc_last_frame"] == 1
    assert math.isnan(full["voc_failure"])  # one frame
    assert all(isinstance(value, float) for value in full.values())


def test_value_metrics_measures_the_values_it_is_given():
    assert metrics.value_metrics(spike([0]), [-1.0], values=[-0.6])["mae"] == pytest.approx(0.4)


def test_value_metrics_takes_float32_and_another_support():
    p = spike([0, 4]).astype(np.float32)
    result = metrics.value_metrics(p, np.array([-1, 1], np.float32), v_min=-1, v_max=1)
    assert result["mae"] == 0 and result["crps"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(probabilities=spike([0, 1]), targets=[-1.0]), "2 distributions for 1 targets"),
        (dict(probabilities=spike([0]), targets=[float("nan")]), r"targets\[0\] is nan"),
        (dict(probabilities=3 * spike([0]), targets=[-1.0]), "softmax"),
        (dict(probabilities=np.full((1, 5), np.nan), targets=[-1.0]), "not a distribution"),
        (dict(probabilities=np.zeros((0, 5)), targets=[]), "N >= 1"),
        (
            dict(
                probabilities=spike([0, 1]),
                targets=[-1.0, -0.5],
                episode_index=[3, 3],
                frame_index=[0, 1],
                success=[True, False],
            ),
            "Episode 3 has frames of both outcomes",
        ),
    ],
)
def test_wrong_inputs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.value_metrics(**arguments)
