"""advantages.py: hand-computed tables, properties on random data, errors. Peers' figures: see
test_advantages_conformance.py."""

import numpy as np
import pytest

from valuecurve.advantages import (
    awr_weights,
    dataset_n_step,
    dataset_progress_difference,
    full_episode,
    indicator_text,
    indicators,
    n_slices,
    n_step,
    progress_difference,
    stages,
    thresholds,
)

# -- advantages --------------------------------------------------------------------------------------------

REWARDS = [-0.25, -0.25, -0.25, -0.25, 0.0]  # a success of five frames, scale 4
VALUES = [-0.75, -0.75, -0.25, -0.5, 0.0]


@pytest.mark.parametrize(
    ("horizon", "expected"),
    [
        (1, [-0.25, 0.25, -0.5, 0.25, 0.0]),  # r_t + V(t+1) - V(t); at the end r_T - V(T)
        (2, [0.0, -0.25, -0.25, 0.25, 0.0]),
        (4, [-0.25, 0.0, -0.25, 0.25, 0.0]),  # only frame 0 still sees a value (V(4) = 0) ahead
        (5, [-0.25, 0.0, -0.25, 0.25, 0.0]),  # none does: the full episode
        (500, [-0.25, 0.0, -0.25, 0.25, 0.0]),
    ],
)
def test_n_step_by_hand(horizon, expected):
    np.testing.assert_allclose(n_step(np.array(REWARDS), np.array(VALUES), horizon), expected, atol=1e-15)


@pytest.mark.parametrize(
    ("horizon", "expected"),
    [(1, [-0.25, -0.5, -0.5]), (2, [-0.75, -1.0, -0.5]), (3, [-1.25, -1.0, -0.5])],
)
def test_n_step_of_a_failure_by_hand(horizon, expected):
    """Scale 4, penalty 4 steps: rewards -1/4, -1/4, -1; the last frame is worth -1 - V(T)."""
    rewards, values = np.array([-0.25, -0.25, -1.0]), np.array([-0.25, -0.25, -0.5])
    np.testing.assert_allclose(n_step(rewards, values, horizon), expected, atol=1e-15)


def test_full_episode_is_unclamped_and_is_what_a_long_horizon_gives():
    rewards, values = np.array([-0.5, -0.5, -4.0]), np.array([-0.9, -1.0, -0.25])
    returns = np.array([-5.0, -4.5, -4.0])
    assert full_episode(returns, values).tolist() == [-4.1, -3.5, -3.75]
    assert n_step(rewards, values, 3).tolist() == pytest.approx([-4.1, -3.5, -3.75])


def test_a_perfect_value_has_no_advantage_at_any_horizon():
    length, scale = 12, 20.0
    rewards = np.append(np.full(length - 1, -1 / scale), 0.0)
    values = -np.arange(length)[::-1] / scale
    for horizon in (1, 3, 11, 12, 40):
        np.testing.assert_allclose(n_step(rewards, values, horizon), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (1, [0.5, -0.25, 0.75, 0.0]),
        (2, [0.25, 0.5, 1.5, 0.0]),  # frame 2 has one frame left, 0.75 in it: 1.5 in two
        (4, [4 / 3, 1.0, 3.0, 0.0]),
    ],
)
def test_progress_difference_by_hand(chunk, expected):
    assert progress_difference(np.array([0, 0.5, 0.25, 1.0]), chunk) == pytest.approx(expected)


def test_an_episode_of_one_frame():
    assert n_step(np.array([0.0]), np.array([-0.5]), 50).tolist() == [0.5]
    assert progress_difference(np.array([0.7]), 50).tolist() == [0.0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("horizon", [1, 5, 50])
def test_the_vectorised_forms_equal_those_of_one_episode_and_a_plain_loop(seed, horizon):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 90, 30)
    rewards, values = generator.normal(size=(2, lengths.sum()))
    whole = dataset_n_step(rewards, values, lengths, horizon)
    progress = dataset_progress_difference(values, lengths, horizon)
    start = 0
    for length in lengths.tolist():
        here = slice(start, start + length)
        r, v = rewards[here], values[here]
        assert np.array_equal(whole[here], n_step(r, v, horizon))  # no rounding of another episode
        assert np.array_equal(progress[here], progress_difference(v, horizon))
        for t in range(length):
            later = v[t + horizon] if t + horizon < length else 0.0
            assert whole[start + t] == pytest.approx(sum(r[t : t + horizon]) + later - v[t], abs=1e-12)
        start += length


def test_nothing_of_the_next_episode_is_seen():
    lengths, values = np.array([3, 3]), np.array([0, 0, 0, 7, 7, 7.0])
    assert dataset_n_step(np.zeros(6), values, lengths, 2).tolist() == [0, 0, 0, 0, -7, -7]
    assert dataset_progress_difference(values, lengths, 2).tolist() == [0] * 6


# -- thresholds, indicators, slices, stages ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "threshold", "positive"),
    [
        (0.3, 7.0, 4),  # position 0.7 * 10 is sample 7 itself, and a tie is positive
        (0.25, 7.5, 3),  # halfway between two samples
        (0.0, 10.0, 1),
        (1.0, 0.0, 11),
    ],
)
def test_thresholds_by_hand(fraction, threshold, positive):
    advantages = np.array([3, 1, 4, 10, 5, 9, 2, 6, 0, 8, 7])
    found = thresholds(advantages, np.zeros(11, int), fraction)
    assert found == {0: threshold}
    assert indicators(advantages, np.zeros(11, int), found).sum() == positive


@pytest.mark.parametrize("n", [11, 101, 1001, 12_346, 999_001])
@pytest.mark.parametrize("fraction", [0.3, 0.1, 0.7, 0.9, 0.01])
def test_a_threshold_that_is_a_sample_is_exactly_this_sample(n, fraction):
    advantages = np.arange(n) / 7
    found = thresholds(advantages, np.zeros(n, int), fraction)[0]
    assert found == pytest.approx(np.quantile(advantages, 1 - fraction), abs=1e-9 * n)
    if (n - 1) % 100 == 0:
        rank = (n - 1) - round((n - 1) * fraction)
        assert found == advantages[rank]


def test_ties_at_the_threshold_are_positive():
    advantages = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1])
    found = thresholds(advantages, np.zeros(10, int), 0.5)
    assert found == {0: 0.0}
    assert indicators(advantages, np.zeros(10, int), found).all()


@pytest.mark.parametrize(
    "groups",
    [
        np.array([5, -3, 5, 5, -3, -3]),
        np.array([10**12, 7, 10**12, 10**12, 7, 7]),  # far apart
        ["b", "a", "b", "b", "a", "a"],
        np.array(["b", "a", "b", "b", "a", "a"]),
    ],
)
def test_groups_have_thresholds_of_their_own(groups):
    advantages = np.array([0.0, 10, 1, 2, 20, 30])
    found = thresholds(advantages, groups, 0.5)
    names = sorted(set(np.asarray(groups).tolist()))
    high, low = (names[0], names[1]) if names[0] in ("a", -3, 7) else (names[1], names[0])
    assert found == {high: 20.0, low: 1.0}
    assert list(found) == names
    assert indicators(advantages, groups, found).tolist() == [False, False, True, True, True, True]
    assert n_slices(advantages, 3, groups).tolist() == [0, 0, 1, 2, 1, 2]


@pytest.mark.parametrize("longest_run", [1, 40])
def test_texts_and_other_groups_are_sorted_into_the_same_groups_as_integers(longest_run):
    generator = np.random.default_rng(2)
    runs = generator.integers(1, longest_run + 1, 300)
    numbers = np.repeat(generator.integers(0, 12, 300), runs)
    advantages = generator.normal(size=len(numbers))
    expected = thresholds(advantages, numbers, 0.3)
    names = [f"task {'abcdefghijkl'[i]} of élan" for i in range(12)]
    texts = np.array(names)[numbers]
    for groups in (texts, texts.tolist(), texts.astype(object), numbers / 4, numbers * 10**13):
        found = thresholds(advantages, groups, 0.3)
        assert list(found) == sorted(set(np.asarray(groups).tolist()))
        assert list(found.values()) == list(expected.values())
        positive = indicators(advantages, groups, found)
        assert np.array_equal(positive, indicators(advantages, numbers, expected))
        assert np.array_equal(n_slices(advantages, 4, groups), n_slices(advantages, 4, numbers))


def test_thresholds_of_other_frames_can_be_used():
    assert indicators(np.array([0.1, 0.3]), ["a", "b"], {"a": 0.1, "b": 0.4, "c": 0}).tolist() == [
        True,
        False,
    ]


def test_the_positive_fraction_holds_on_random_data():
    generator = np.random.default_rng(0)
    advantages, groups = generator.normal(size=30_000), generator.integers(0, 7, 30_000)
    for fraction in (0.05, 0.3, 0.8):
        positive = indicators(advantages, groups, thresholds(advantages, groups, fraction))
        for group in range(7):
            count = (groups == group).sum()
            assert abs(positive[groups == group].sum() - fraction * count) <= 1


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, [0] * 6), (2, [0, 0, 0, 1, 1, 1]), (3, [0, 0, 1, 1, 2, 2]), (6, [0, 1, 2, 3, 4, 5])],
)
def test_slices_by_hand(n, expected):
    order = [4, 0, 5, 2, 1, 3]
    found = n_slices(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])[order], n)
    assert found.dtype == np.int32
    assert found.tolist() == [expected[i] for i in order]


def test_two_slices_are_the_indicators_of_one_half():
    advantages = np.random.default_rng(1).normal(size=501)
    group = np.zeros(501, int)
    positive = indicators(advantages, group, thresholds(advantages, group, 0.5))
    assert np.array_equal(n_slices(advantages, 2) == 1, positive)


def test_stages_by_hand_and_free_of_rounding():
    assert stages(np.array([-0.1, 0, 0.49, 0.5, 0.99, 1, 1.2]), 2).tolist() == [0, 0, 0, 1, 1, 1, 1]
    for n in (3, 7, 10, 49, 100):
        borders = np.arange(n) / n
        assert stages(borders, n).tolist() == list(range(n))
        assert stages(borders.astype(np.float32), n).tolist() == list(range(n))
        assert stages(borders[1:] - 1e-4, n).tolist() == list(range(n - 1))


# -- weights -----------------------------------------------------------------------------------------------


def test_awr_weights_by_hand():
    a_t = np.array([[0.0, np.log(2), -np.log(4)], [3.0, 1e6, -1e6]])
    assert awr_weights(a_t) == pytest.approx(np.array([[1, 2, 0.25], [10, 10, 0]]))
    assert awr_weights(a_t[0], beta=0.5) == pytest.approx(np.array([1, 4, 1 / 16]))
    assert awr_weights(a_t[0], beta=0.5, most=3.5) == pytest.approx(np.array([1, 3.5, 1 / 16]))


@pytest.mark.filterwarnings("error")
def test_awr_weights_neither_overflow_nor_pass_the_largest():
    for most in (0.3, 1.0, 7.0, 10.0, 20.0):
        assert awr_weights(np.array([1e300, 100.0]), 1e-3, most).tolist() == pytest.approx([most, most])
        assert awr_weights(np.array([1e300, 100.0]), 1e-3, most).max() <= most


# -- text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("indicator", "template", "text"),
    [
        (True, "default", "fold {it}\nAdvantage: positive"),
        (False, "default", "fold {it}\nAdvantage: negative"),
        (np.True_, "kai0", "fold {it}, Advantage: positive"),
        (7, "kai0", "fold {it}, Advantage: 7"),
        (1, "default", "fold {it}\nAdvantage: 1"),  # a slice, not a truth value
        (True, "[{indicator}] {task}!", "[positive] fold {it}!"),
    ],
)
def test_indicator_text(indicator, template, text):
    assert indicator_text(" fold {it}\n", indicator, template) == text


def test_a_task_that_looks_like_a_template_stays_as_it_is():
    assert indicator_text("say {indicator} {task}", True) == "say {indicator} {task}\nAdvantage: positive"


# -- errors ------------------------------------------------------------------------------------------------

NAN = np.array([0.0, np.nan, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: n_step(np.zeros(3), NAN, 2), r"values holds nan at \[1\]"),
        (lambda: n_step(NAN, np.zeros(3), 2), r"rewards holds nan at \[1\]"),
        (lambda: full_episode(NAN, np.zeros(3)), "returns holds nan"),
        (lambda: full_episode(np.zeros(2), np.zeros(3)), "returns has 2 frames, there are 3 values"),
        (lambda: progress_difference(NAN, 2), "progress holds nan"),
        (lambda: thresholds(NAN, np.zeros(3, int), 0.3), r"advantages holds nan at \[1\] \(1 in all\)"),
        (lambda: indicators(NAN, np.zeros(3, int), {0: 0.0}), "advantages holds nan"),
        (lambda: n_slices(NAN, 2), "advantages holds nan"),
        (lambda: stages(NAN, 2), "progress holds nan"),
        (lambda: n_step(np.zeros(3), np.zeros(3), 0), "horizon must be a whole number >= 1, got 0"),
        (lambda: n_step(np.zeros(3), np.zeros(3), 1.5), "horizon must be a whole number"),  # type: ignore[arg-type]
        (lambda: awr_weights(NAN), "advantages holds nan"),
        (lambda: awr_weights(np.zeros(3), beta=0), "beta must be above 0 and finite, got 0"),
        (lambda: awr_weights(np.zeros(3), most=-1), "most must be above 0 and finite, got -1"),
        (lambda: n_slices(np.zeros(3), 0), "n must be"),
        (
            lambda: dataset_n_step(np.zeros(3), np.zeros(3), np.array([2]), 1),
            "the lengths add up to 2 frames",
        ),
        (lambda: thresholds(np.zeros(3), ["a"], 0.3), r"groups has shape \[1\], there are 3 advantages"),
        (lambda: thresholds(np.zeros(3), np.zeros(3, int), 30), "positive_fraction must be between 0 and 1"),
        (
            lambda: indicators(np.zeros(2), ["a", "b"], {"a": 0.0}),
            "no threshold for the group 'b'; known: 'a'",
        ),
        (lambda: indicator_text("t", True, "kai"), "did you mean 'kai0'"),
        (lambda: indicator_text("t", True, "Advantage"), "needs {task} and {indicator}"),
    ],
)
def test_wrong_input_is_an_error_that_says_what_was_seen(call, message):
    with pytest.raises(ValueError, match=message):
        call()
