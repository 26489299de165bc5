"""Advantages in Python for one episode, and the same numbers from the browser, to the last bit."""

import numpy as np
import pytest
from player import episode_advantages, script

RANDOM = np.random.default_rng(0)
OUTCOMES, SCALES = (True, False, None), (100.0, 37.0, None)


def test_a_success_by_hand():
    # scale 4, N = 2: A_0 = -2/4 + V_2 - V_0; A_2 = -1/4 + 0 - V_2 (one step, then the end); A_3 = 0 - V_3
    a_t, level, positive = episode_advantages(np.array([-0.75, -0.5, -0.5, -0.125]), 2, success=True, scale=4)
    np.testing.assert_array_equal(a_t, [-0.25, -0.125, 0.25, 0.125])
    assert level == pytest.approx(0.125 + 0.1 * 0.125)  # quantile 0.7 of four: position 2.1
    assert positive.tolist() == [False, False, True, False]


def test_the_time_of_a_failure_goes_on_after_its_end():
    a_t, _, _ = episode_advantages(np.full(4, -1.0), 2, success=False, scale=4)
    np.testing.assert_array_equal(a_t, np.full(4, -0.5))


def test_without_an_outcome_a_horizon_stops_at_the_last_frame():
    a_t, _, _ = episode_advantages(np.array([-0.5, -0.25, -0.125]), 50, success=None, scale=4)
    np.testing.assert_array_equal(a_t, [-0.5 - 0.125 + 0.5, -0.25 - 0.125 + 0.25, 0.0])


def test_without_a_scale_the_advantage_is_the_change_of_the_value():
    a_t, _, _ = episode_advantages(np.array([-0.5, -0.25, -0.125]), 1, success=None, scale=None)
    np.testing.assert_array_equal(a_t, [0.25, 0.125, 0.0])


@pytest.mark.parametrize(("rise", "positive"), [(0.019, 0), (0.022, 2)])
def test_where_advantages_hardly_differ_no_moment_is_positive(rise, positive):
    values = np.array([-1.0] * 6 + [-1.0 + rise] * 6)  # A_t is the rise at one frame of the horizon, else 0
    a_t, _, flags = episode_advantages(values, 2, success=None, scale=None, positive_fraction=0.1)
    assert np.count_nonzero(a_t) == 2 and flags.sum() == positive
    flat, _, none = episode_advantages(np.full(50, -1.0), 10, success=False, scale=100)
    assert (flat < 0).all() and not none.any()


def cases() -> list[dict]:
    """Episodes of many lengths, horizons, fractions, outcomes and scales; rounded values make ties."""
    made = []
    for length in (1, 2, 3, 10, 101, 2000):
        for digits in (16, 2):
            for outcome in OUTCOMES:
                for scale in SCALES:
                    for horizon, fraction in ((1, 0.3), (7, 0.0), (50, 0.5), (length, 1.0), (3000, 0.1)):
                        size = 0.03 if horizon == 7 else 1.0  # some spread hardly, some a little more
                        values = np.round(-size * RANDOM.random(length), digits).tolist()
                        made.append(
                            {"values": values, "horizon": horizon, "fraction": fraction, "success": outcome}
                            | {"scale": scale, "vMin": -1.0}
                        )
    return made


def test_the_browser_computes_the_same_advantages_and_thresholds(browser):
    made = cases()
    page = browser.new_page()
    try:
        page.evaluate(script())
        found = page.evaluate(
            """cases => cases.map(({values, horizon, fraction, ...episode}) => {
                const {advantages, threshold, positiveFrom, spans} = window.valueCurvePlayer.maths;
                const a = advantages(values, horizon, episode);
                const level = threshold(a, fraction);
                const from = positiveFrom(a, fraction) ?? Infinity;
                return {a: Array.from(a), level, runs: spans(a.length, t => a[t] >= from)};
            })""",
            made,
        )
    finally:
        page.close()
    without = 0
    for case, result in zip(made, found, strict=True):
        a_t, level, positive = episode_advantages(
            np.array(case["values"]),
            case["horizon"],
            success=case["success"],
            scale=case["scale"],
            positive_fraction=case["fraction"],
        )
        np.testing.assert_array_equal(result["a"], a_t)
        assert result["level"] == level
        covered = np.zeros(len(a_t), bool)
        for first, last in result["runs"]:
            covered[first : last + 1] = True
        np.testing.assert_array_equal(covered, positive)
        without += not positive.any()
    assert 0 < without < len(made)


def test_a_long_curve_keeps_its_spikes_when_it_is_thinned_out(browser):
    values = np.zeros(20_000)
    values[[3, 7777, 19_999]] = [-1, 1, -0.5]
    page = browser.new_page()
    try:
        page.evaluate(script())
        kept = page.evaluate("values => window.valueCurvePlayer.maths.decimate(values, 500)", values.tolist())
    finally:
        page.close()
    assert {0, 3, 7777, 19_999} <= set(kept) and len(kept) <= 1002
    assert kept == sorted(set(kept))
