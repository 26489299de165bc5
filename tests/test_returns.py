"""returns.py: hand-computed tables, figures of a system that is replaced, properties on random data."""

import json
from pathlib import Path

import numpy as np
import pytest

from valuecurve.returns import (
    bin_centers,
    dataset_returns,
    dataset_rewards,
    dataset_targets,
    returns_to_go,
    step_rewards,
    task_scales,
    value_targets,
    value_to_bin,
)

FOLDER = Path(__file__).parent / "conformance"
CASES = json.loads((FOLDER / "seed1_open_value.json").read_text())["cases"]


def cases(kind: str) -> list:
    return [pytest.param(case, id=case["id"]) for case in CASES if case["kind"] == kind]


# -- conformance -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("sparse_returns"))
def test_sparse_returns_are_those_of_open_value(case):
    given, expected, atol = case["input"], case["expected"], case["atol"]
    lengths = np.array([episode["length"] for episode in given["episodes"]])
    tasks = [episode["task"] for episode in given["episodes"]]
    success = np.array([episode["last_reward"] > 0 for episode in given["episodes"]])
    penalty, v_min, v_max = given["fail_penalty"], given["v_min"], given["v_max"]

    scales = task_scales(lengths, tasks)
    steps = np.repeat([scales[task] for task in tasks], lengths)
    rewards = dataset_rewards(lengths, success, penalty)
    targets, same_scales = dataset_targets(
        lengths, success, tasks, fail="penalty", fail_penalty=penalty, v_min=v_min, v_max=v_max
    )

    longest = expected["task_max_lengths"]
    assert scales == same_scales == {task: max(length - 1, 1) for task, length in longest.items()}
    np.testing.assert_allclose(rewards / steps, expected["normalised_step_rewards"], atol=atol)
    returns = dataset_returns(rewards, lengths)
    np.testing.assert_allclose(returns / steps, expected["unclamped_returns"], atol=atol)
    np.testing.assert_allclose(targets, expected["value_targets"], atol=atol)
    bins = value_to_bin(targets, given["num_bins"], v_min, v_max)
    ties = set(expected["bin_tie_frames"])  # halfway between two bins: rounding decides there
    keep = [frame for frame in range(len(bins)) if frame not in ties]
    assert bins[keep].tolist() == [expected["target_bins"][frame] for frame in keep]


@pytest.mark.parametrize("case", cases("dense_returns"))
def test_dense_returns_are_those_of_open_value(case):
    given, expected = case["input"], case["expected"]
    rewards = np.array(given["rewards"])
    lengths, scale = np.array([len(rewards)]), max(given["max_length"] - 1, 1)
    targets, _ = dataset_targets(
        lengths,
        np.array([False]),
        ["task"],
        scale=scale,
        fail="penalty",
        fail_penalty=given["fail_penalty_ignored"],
        rewards=rewards,
    )
    np.testing.assert_allclose(rewards / scale, expected["normalised_step_rewards"], atol=case["atol"])
    np.testing.assert_allclose(
        dataset_returns(rewards, lengths) / scale, expected["unclamped_returns"], atol=case["atol"]
    )
    np.testing.assert_allclose(targets, expected["value_targets"], atol=case["atol"])


@pytest.mark.parametrize("case", cases("value_to_bin"))
def test_bins_are_those_of_open_value(case):
    given, expected = case["input"], case["expected"]
    support = (given["num_bins"], given["v_min"], given["v_max"])
    assert value_to_bin(np.array(given["values"]), *support).tolist() == expected["bins"]
    centers = bin_centers(*support)
    assert centers[[0, -1]].tolist() == [expected["first_center"], expected["last_center"]]
    np.testing.assert_allclose(np.diff(centers), expected["center_spacing"])


def test_returns_at_a_fixed_scale_are_those_of_opentau_and_never_leave_the_support():
    rows = json.loads((FOLDER / "seed4_opentau.json").read_text())["returns"]["rows"]
    assert len(rows) == 84
    for success, num_bins, length, scale, t, penalty, their_bin, normalised in rows:
        lengths, outcome = np.array([length]), np.array([success])
        returns = dataset_returns(dataset_rewards(lengths, outcome, penalty), lengths)
        assert returns[t] / scale == pytest.approx(normalised, abs=1e-12)
        options = {"scale": float(scale), "fail": "penalty", "fail_penalty": penalty}
        targets, scales = dataset_targets(lengths, outcome, ["task"], **options)
        assert scales == {"task": scale}
        # differs on purpose: clipped (theirs became negative bins), and the nearest bin, not the one below
        assert targets[t] == pytest.approx(np.clip(normalised, -1, 0), abs=1e-7)
        ours = int(value_to_bin(targets[t], num_bins))
        assert ours in (max(their_bin, 0), max(their_bin, 0) + 1)


def test_a_pair_of_frames_has_the_difference_of_progress_as_in_kai0():
    """With scale "episode" a target is progress - 1, so a difference of targets is one of progress."""
    rows = json.loads((FOLDER / "seed3_kai0.json").read_text())["pair_progress_target"]["rows"]
    targets, _ = dataset_targets(np.array([11]), np.array([True]), ["task"], scale="episode")
    np.testing.assert_allclose(targets + 1, np.linspace(0, 1, 11), atol=1e-7)
    for progress, reference, expected in rows:
        frame, before = round(10 * progress), round(10 * reference)
        assert targets[frame] - targets[before] == pytest.approx(expected, abs=1e-6)


# -- one episode -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "success", "penalty", "rewards", "returns"),
    [
        (1, True, 5.0, [0], [0]),
        (1, False, 5.0, [-5], [-5]),
        (4, True, 5.0, [-1, -1, -1, 0], [-3, -2, -1, 0]),
        (4, False, 0.0, [-1, -1, -1, 0], [-3, -2, -1, 0]),
        (4, False, 10.0, [-1, -1, -1, -10], [-13, -12, -11, -10]),
    ],
)
def test_one_episode_by_hand(length, success, penalty, rewards, returns):
    r_t = step_rewards(length, success, penalty)
    assert r_t.dtype == np.float64
    assert r_t.tolist() == rewards
    assert returns_to_go(r_t).tolist() == returns


def test_scale_of_a_task_is_its_longest_episode_less_one():
    assert task_scales(np.array([3, 9, 5, 1]), ["a", "a", "b", "c"]) == {"a": 8, "b": 4, "c": 1}


@pytest.mark.parametrize(
    ("returns", "scale", "target"), [(-4, 4, -1), (-3, 4, -0.75), (0, 4, 0), (-9, 4, -1), (2, 4, 0)]
)
def test_targets_are_normalised_and_clipped(returns, scale, target):
    assert value_targets(np.array([returns]), scale) == target


# -- bins --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "bin_of_five"),
    [
        (-2, 0),
        (-1, 0),
        (-0.875, 1),
        (-0.88, 0),
        (-0.5, 2),
        (-0.375, 3),
        (-0.376, 2),
        (-0.01, 4),
        (0, 4),
        (3, 4),
    ],
)
def test_bins_by_hand_below_on_between_and_above(value, bin_of_five):
    """Centres -1, -0.75, -0.5, -0.25, 0; halfway between two goes up."""
    assert value_to_bin(np.array([value]), 5) == bin_of_five


@pytest.mark.parametrize("support", [(201, -1.0, 0.0), (2, -1.0, 0.0), (201, -1.0, 1.0), (7, -3.5, 2.0)])
def test_every_center_lies_in_its_own_bin(support):
    centers = bin_centers(*support)
    assert value_to_bin(centers, *support).tolist() == list(range(support[0]))
    assert value_to_bin(centers.astype(np.float32), *support).tolist() == list(range(support[0]))


def test_the_bin_is_the_nearest_center():
    values = np.random.default_rng(0).uniform(-1.2, 0.2, 2000)
    distance = np.abs(bin_centers()[None, :] - np.clip(values, -1, 0)[:, None])
    assert np.array_equal(value_to_bin(values), distance.argmin(axis=1))


# -- a whole dataset ---------------------------------------------------------------------------------------


def random_dataset(seed: int):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 40, 50)
    return lengths, generator.random(50) < 0.6, generator.integers(0, 3, 50), generator


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fail", ["floor", "penalty"])
def test_the_vectorised_form_equals_the_form_for_one_episode(seed, fail):
    lengths, success, tasks, _ = random_dataset(seed)
    targets, scales = dataset_targets(lengths, success, tasks, fail=fail, fail_penalty=7.0)
    assert targets.dtype == np.float32
    start = 0
    for length, good, task in zip(lengths.tolist(), success.tolist(), tasks.tolist(), strict=True):
        one = value_targets(returns_to_go(step_rewards(length, good, 7.0)), scales[task])
        if fail == "floor" and not good:
            one[:] = -1.0
        assert np.array_equal(targets[start : start + length], one.astype(np.float32))
        start += length


def test_dense_returns_are_exact_and_do_not_leak_between_episodes():
    lengths, _, _, generator = random_dataset(3)
    rewards = generator.normal(size=lengths.sum()) * 10.0 ** generator.integers(-8, 8, lengths.sum())
    returns = dataset_returns(rewards, lengths)
    ends = np.cumsum(lengths)
    for end, length in zip(ends, lengths, strict=True):
        assert np.array_equal(returns[end - length : end], returns_to_go(rewards[end - length : end]))


@pytest.mark.parametrize(
    ("fail", "penalty", "expected"),
    [
        ("floor", 7.0, [-1, -1, -1]),  # whatever the penalty
        ("penalty", 0.0, [-0.5, -0.25, 0]),  # a failure that costs nothing: as a success
        ("penalty", 1.0, [-0.75, -0.5, -0.25]),
        ("penalty", 9.0, [-1, -1, -1]),
    ],
)
def test_what_a_failed_episode_is_worth_by_hand(fail, penalty, expected):
    lengths, success = np.array([3, 5]), np.array([False, True])
    targets, _ = dataset_targets(lengths, success, ["a", "a"], fail=fail, fail_penalty=penalty)
    assert targets.tolist() == [*expected, -1, -0.75, -0.5, -0.25, 0]


def test_dense_rewards_by_hand_with_floor_and_penalty():
    lengths, success, rewards = np.array([2, 3]), np.array([False, True]), np.array([-1, -1, -2, 0.5, -1])
    for fail, failed in (("penalty", [-0.5, -0.25]), ("floor", [-1, -1])):  # fail_penalty is not added
        targets, _ = dataset_targets(
            lengths, success, ["a", "a"], scale=4.0, fail=fail, fail_penalty=50.0, rewards=rewards
        )
        assert targets.tolist() == [*failed, -0.625, -0.125, -0.25]


@pytest.mark.parametrize("seed", range(3))
def test_targets_rise_by_one_step_on_success_and_end_at_zero(seed):
    lengths, success, tasks, _ = random_dataset(seed)
    targets, scales = dataset_targets(lengths, success, tasks)
    assert targets.min() >= -1 and targets.max() <= 0
    for end, length, good, task in zip(np.cumsum(lengths), lengths, success, tasks, strict=True):
        mine = targets[end - length : end]
        if good:
            assert mine[-1] == 0
            np.testing.assert_allclose(np.diff(mine), 1 / scales[int(task)], atol=1e-6)
        else:
            assert (mine == -1).all()


def test_scale_choices():
    lengths, success = np.array([3, 5]), np.array([True, True])
    first = {}
    for scale in ("task_max", "episode", 8.0, {"a": 16.0}):
        targets, scales = dataset_targets(lengths, success, ["a", "a"], scale=scale)
        first[str(scale)] = (targets[[0, 3]].tolist(), scales)
    assert first == {
        "task_max": ([-0.5, -1.0], {"a": 4.0}),
        "episode": ([-1.0, -1.0], {}),
        "8.0": ([-0.25, -0.5], {"a": 8.0}),
        "{'a': 16.0}": ([-0.125, -0.25], {"a": 16.0}),
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: step_rewards(0, True), "lengths must be integers >= 1"),
        (lambda: step_rewards(3, False, -1.0), "fail_penalty must be >= 0"),
        (lambda: returns_to_go(np.array([0, np.nan])), r"rewards holds nan at \[1\]"),
        (lambda: value_targets(np.zeros(2), 0.0), "scale must be a positive"),
        (lambda: value_to_bin(np.array([np.nan])), "values holds nan"),
        (lambda: bin_centers(1), "num_bins >= 2"),
        (lambda: dataset_returns(np.zeros(3), np.array([2])), "the lengths add up to 2"),
        (lambda: dataset_rewards(np.array([2]), np.array([1])), "success must be bool"),
        (lambda: dataset_targets(np.array([2]), np.array([True]), ["a", "b"]), "2 tasks for 1 episodes"),
        (
            lambda: dataset_targets(np.array([2]), np.array([True]), ["a"], fail="drop"),
            "'floor' or 'penalty'",
        ),
        (lambda: dataset_targets(np.array([2]), np.array([True]), ["a"], scale="max"), "'task_max'"),
        (
            lambda: dataset_targets(np.array([2]), np.array([True]), ["a"], scale={"b": 3}),
            "no scale for the task",
        ),
    ],
)
def test_wrong_input_is_an_error_that_says_what_was_seen(call, message):
    with pytest.raises(ValueError, match=message):
        call()
