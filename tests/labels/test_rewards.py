"""rewards.py: what a frame earns, by hand, and that advantages are sensible where an episode fails."""

import numpy as np
import pytest

from valuecurve.advantages import dataset_n_step, full_episode
from valuecurve.labels.rewards import time_after_failure, value_rewards
from valuecurve.returns import dataset_returns, dataset_targets

LENGTHS, SUCCESS = np.array([3, 4]), np.array([True, False])
SCALE = np.array([2.0, 4.0])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [-0.5, -0.5, 0, -0.25, -0.25, -0.25, -1]),
        ({"fail": "floor", "v_min": -2.0}, [-0.5, -0.5, 0, -0.25, -0.25, -0.25, -2]),
        ({"fail": "penalty"}, [-0.5, -0.5, 0, -0.25, -0.25, -0.25, 0]),
        ({"fail": "penalty", "fail_penalty": 10.0}, [-0.5, -0.5, 0, -0.25, -0.25, -0.25, -2.5]),
    ],
)
def test_sparse_rewards_by_hand(options, expected):
    assert value_rewards(LENGTHS, SUCCESS, SCALE, **options).tolist() == expected


@pytest.mark.parametrize(("fail", "last"), [("floor", -1.0), ("penalty", 1.75)])
def test_dense_rewards_are_taken_as_they_are_but_for_the_floor(fail, last):
    dense = np.arange(1.0, 8)
    found = value_rewards(LENGTHS, SUCCESS, SCALE, fail=fail, fail_penalty=99.0, rewards=dense)
    assert found.tolist() == [0.5, 1, 1.5, 1, 1.25, 1.5, last]
    assert dense.tolist() == list(range(1, 8))


@pytest.mark.parametrize(("fail", "penalty"), [("floor", 0.0), ("penalty", 0.0), ("penalty", 30.0)])
def test_clipped_returns_are_the_targets_of_training(fail, penalty):
    generator = np.random.default_rng(0)
    lengths, success = generator.integers(1, 40, 60), generator.random(60) < 0.5
    targets, scales = dataset_targets(lengths, success, ["a"] * 60, fail=fail, fail_penalty=penalty)
    scale = np.full(60, scales["a"])
    returns = dataset_returns(
        value_rewards(lengths, success, scale, fail=fail, fail_penalty=penalty), lengths
    )
    np.testing.assert_allclose(np.clip(returns, -1, 0), targets, atol=1e-6)


def failing_values(foreseen: float) -> np.ndarray:
    """A failure of 40 frames, scale 40: on course for 20 frames, then the value falls to `foreseen`."""
    on_course = -np.arange(40, 20, -1) / 40
    return np.concatenate([on_course, np.full(20, foreseen)])


@pytest.mark.parametrize("horizon", [5, 50])
def test_under_floor_no_end_of_a_failure_is_better_than_a_perfect_success(horizon):
    lengths, success, scale = np.array([40]), np.array([False]), np.array([40.0])
    rewards = value_rewards(lengths, success, scale)
    after = time_after_failure(lengths, success, scale, horizon)
    lost = dataset_n_step(rewards, failing_values(-1.0), lengths, horizon) - after
    surprised = dataset_n_step(rewards, failing_values(-0.6), lengths, horizon) - after
    np.testing.assert_allclose(lost[20:], -horizon / 40)  # time passes where all is lost, up to the end
    assert surprised[-1] == pytest.approx(-0.4 - horizon / 40)  # -1 - V(T), and the time
    assert (surprised[-min(horizon, 20) :] < lost[-min(horizon, 20) :]).all()
    if horizon == 5:
        np.testing.assert_allclose(lost[:15], 0, atol=1e-12)  # on course: as in a success
        assert lost[15:20].max() < -0.3  # here it went wrong


def test_time_goes_on_after_a_failure_and_not_after_a_success():
    after = time_after_failure(np.array([3, 4, 1]), np.array([True, False, False]), np.array([2.0, 4, 5]), 2)
    np.testing.assert_allclose(after, [0, 0, 0, 0, 0, 1 / 4, 2 / 4, 2 / 5])


def test_the_full_episode_is_the_horizon_that_sees_its_end():
    generator = np.random.default_rng(1)
    lengths, success = generator.integers(1, 30, 20), generator.random(20) < 0.5
    values, scale = generator.uniform(-1, 0, lengths.sum()), np.full(20, 29.0)
    rewards = value_rewards(lengths, success, scale)
    full = full_episode(dataset_returns(rewards, lengths), values)
    np.testing.assert_allclose(full, dataset_n_step(rewards, values, lengths, 30), atol=1e-12)


def test_an_unknown_choice_is_an_error():
    with pytest.raises(ValueError, match="'floor' or 'penalty', got 'drop'"):
        value_rewards(LENGTHS, SUCCESS, SCALE, fail="drop")
