"""Advantages, thresholds, slices and stages against figures of the systems that are replaced.

Where valuecurve differs on purpose, it says so beside the assertion.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from valuecurve.advantages import (
    awr_weights,
    dataset_n_step,
    full_episode,
    indicator_text,
    indicators,
    n_slices,
    n_step,
    progress_difference,
    stages,
    thresholds,
)
from valuecurve.cli import app
from valuecurve.returns import step_rewards

FOLDER = Path(__file__).parent / "conformance"
SEED1, SEED3, SEED4 = (
    json.loads((FOLDER / f"{name}.json").read_text())
    for name in ("seed1_open_value", "seed3_kai0", "seed4_opentau")
)


def cases(kind: str) -> list:
    return [pytest.param(case, id=case["id"]) for case in SEED1["cases"] if case["kind"] == kind]


# -- seed 1, open-value ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("n_step_advantage"))
def test_n_step_advantages_are_those_of_open_value(case):
    given = case["input"]
    lengths, rewards, values = (np.array(given[k]) for k in ("episode_lengths", "step_rewards", "values"))
    found = dataset_n_step(rewards, values, lengths, given["n"])
    np.testing.assert_allclose(found, case["expected"]["advantages"], atol=case["atol"])


@pytest.mark.parametrize("case", cases("full_episode_advantage"))
def test_full_episode_advantages_are_those_of_open_value(case):
    # differs on purpose: they give clamped targets where we give G_t / scale as it is; the difference of a
    # return and a value, which is all this function does, is the same
    targets, values = (np.array(case["input"][name]) for name in ("value_targets", "values"))
    np.testing.assert_allclose(
        full_episode(targets, values), case["expected"]["advantages"], atol=case["atol"]
    )


@pytest.mark.parametrize("case", cases("threshold_labels"))
def test_thresholds_are_those_of_open_value(case):
    given, expected = case["input"], case["expected"]
    # differs on purpose: their percentile p is our positive fraction 1 - p / 100
    fraction = 1 - given["percentile"] / 100
    advantages = np.array(given["advantages"])
    found = thresholds(advantages, given["tasks"], fraction)
    assert found == pytest.approx(expected["thresholds"], abs=case["atol"])
    positive = indicators(advantages, given["tasks"], found)
    assert positive.tolist() == expected["positive"]
    for task, share in expected["positive_fraction"].items():
        mine = positive[np.array(given["tasks"]) == task]
        assert mine.mean() == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("case", cases("threshold_labels_error"))
def test_a_task_without_a_threshold_is_an_error_as_in_open_value(case):
    given = case["input"]
    with pytest.raises(ValueError, match="no threshold for the group 'b'"):
        indicators(np.array(given["advantages"]), given["tasks"], given["thresholds"])


# -- seed 3, kai0 ------------------------------------------------------------------------------------------


def pooled(episodes: list) -> np.ndarray:
    """All frames, float32 as they store them."""
    return np.concatenate([np.array(episode, np.float32) for episode in episodes])


def by_name(case: dict) -> str:
    return "-".join(str(case[key]) for key in ("name", "top_percent", "slices", "chunk_size") if key in case)


def test_stages_are_those_of_kai0():
    rows = SEED3["stages"]["rows"]
    assert len(rows) == 48
    for progress, count, theirs in rows:
        ours = int(stages(np.array(progress), count))
        if (progress, count) == (0.6, 5):
            # differs on purpose: int(0.6 / (1 / 5)) is 2 there, by rounding; 0.6 begins stage 3
            assert (ours, theirs) == (3, 2)
        else:
            assert ours == theirs, (progress, count)


@pytest.mark.parametrize("case", SEED3["progress_difference"]["cases"], ids=by_name)
def test_progress_differences_are_those_of_kai0(case):
    progress, chunk = np.array(case["progress"], np.float64), case["chunk_size"]
    theirs, ours = np.array(case["advantage"]), progress_difference(progress, chunk)
    left = np.arange(len(progress))[::-1]
    whole = left >= chunk
    np.testing.assert_allclose(ours[whole], theirs[whole], atol=1e-7)
    # differs on purpose: i frames before the end they divide by i + 1, we by the i frames that elapse
    tail = ~whole & (left > 0)
    np.testing.assert_allclose(ours[tail], theirs[tail] * (left[tail] + 1) / left[tail], atol=1e-7)
    assert ours[-1] == theirs[-1] == 0


@pytest.mark.parametrize("case", SEED3["binary"]["cases"], ids=by_name)
def test_binary_labels_are_those_of_kai0(case):
    # differs on purpose: all frames are one group there; that is our scope "global". Their --threshold is the
    # percentage of positives, 100 times our positive fraction
    advantages = pooled(case["episodes"])
    everything = np.zeros(len(advantages), int)
    found = thresholds(advantages, everything, case["top_percent"] / 100)
    assert found[0] == pytest.approx(case["threshold"], abs=1e-12)
    assert found[0] == pytest.approx(case["printed"], abs=1e-7)  # they print it as a float32
    theirs = np.concatenate(case["task_index"])
    assert indicators(advantages, everything, found).astype(int).tolist() == theirs.tolist()


@pytest.mark.parametrize("case", SEED3["slices"]["cases"], ids=by_name)
def test_slices_are_those_of_kai0(case):
    advantages, theirs = pooled(case["episodes"]), np.concatenate(case["task_index"])
    ours, n = n_slices(advantages, case["slices"]), case["slices"]
    # slice i begins where a share of 1 - i / n is positive
    everything = np.zeros(len(advantages), int)
    begins = [thresholds(advantages, everything, 1 - i / n)[0] for i in range(n)]
    np.testing.assert_allclose(begins, case["borders"], rtol=0, atol=1e-12)
    # differs on purpose: with 3 slices of 10 frames the borders are the fourth and the seventh sample, which
    # begin a slice; there rounding puts a border above its sample (0.5000000000000002 for 0.5)
    borders = np.sort(advantages)[[3, 6]] if (n, len(advantages)) == (3, 10) else []
    exempt = np.isin(advantages, borders) & (ours == theirs + 1)
    assert (ours == theirs)[~exempt].all()
    assert exempt.sum() == {"ten_distinct-3": 2, "clipped_mass_at_1-3": 1}.get(f"{case['name']}-{n}", 0)


@pytest.mark.parametrize("case", SEED3["staged"]["cases"], ids=lambda case: str(case["stage_nums"]))
def test_labels_per_stage_are_those_of_kai0(case):
    staged = SEED3["staged"]
    advantages, progress = pooled(staged["episodes"]), pooled(staged["progress"])
    groups = stages(progress, case["stage_nums"])
    theirs = np.concatenate(case["task_index"]).tolist()
    if "n_slices" in case:
        assert n_slices(advantages, case["n_slices"], groups).tolist() == theirs
        return
    found = thresholds(advantages, groups, case["threshold_top_percent"] / 100)
    assert list(found.values()) == pytest.approx(case["printed_threshold_per_stage"], abs=1e-7)
    assert indicators(advantages, groups, found).astype(int).tolist() == theirs


def test_texts_are_those_of_kai0():
    binary = [indicator_text("fold the cloth", positive, "kai0") for positive in (False, True)]
    assert binary == SEED3["texts"]["binary"]
    assert [indicator_text("fold the cloth", i, "kai0") for i in range(3)] == SEED3["texts"]["slices"]


def test_nan_is_an_error_where_kai0_calls_every_frame_negative():
    with pytest.raises(ValueError, match="nan"):
        thresholds(np.array([0.1, np.nan]), np.zeros(2, int), 0.3)


# -- seed 4, OpenTau ---------------------------------------------------------------------------------------


def test_n_step_returns_are_those_of_opentau():
    """With values of zero an n-step advantage is the sum of the rewards ahead."""
    for success, horizon, length, scale, t, penalty, expected in SEED4["n_step_returns"]["rows"]:
        rewards = step_rewards(length, success, penalty) / scale
        found = n_step(rewards, np.zeros(length), horizon)[t]
        assert found == pytest.approx(expected, abs=1e-12), (success, horizon, length, t)


@pytest.mark.parametrize("case", SEED4["advantages"]["cases"], ids=["success", "both", "frame missing"])
def test_advantages_are_those_of_opentau(case):
    horizon, found = case["horizon"], []
    for episode in case["episodes"]:
        values = np.array(episode["values"])
        rewards = step_rewards(len(values), episode["success"], case["fail_penalty"]) / case["scale"]
        found.append(n_step(rewards, values, horizon))
    ours, theirs = np.concatenate(found), np.array(case["advantages"])
    if case["kept_rows"] is None:
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        percentiles = np.quantile(ours, np.arange(0, 1.01, 0.05))
        np.testing.assert_allclose(percentiles, case["percentiles_0_5_..._100"], atol=1e-6)
    else:
        # differs on purpose: the value of a frame that was not scored (3 of 0 ... 7) counts as 0 there, which
        # makes frame 0 the best of all; here labels of an episode with unscored frames are an error
        assert theirs[0] == 0.25
        np.testing.assert_allclose(ours[case["kept_rows"]][1:], theirs[1:], atol=1e-6)
        assert ours[0] == pytest.approx(0, abs=1e-12)


def test_weights_of_advantage_weighted_regression_are_those_of_opentau():
    found = awr_weights(np.array(SEED4["weights"]["advantage"]))
    assert len(found) == 8
    np.testing.assert_allclose(found, SEED4["weights"]["weight"], rtol=1e-6)  # float32 there


def test_no_folder_to_write_to_is_an_error_before_any_work():
    # differs on purpose: their script computes all values, and then has no place for advantages.json
    assert SEED4["no_folder"]["error"].startswith("TypeError") and SEED4["no_folder"]["values_before"] == 8
    result = CliRunner().invoke(app, ["export", "no_such_dataset", "--tag", "v1", "--format", "opentau"])
    assert result.exit_code == 2 and "Missing option '--output'" in result.output
    assert "no_such_dataset" not in result.output  # it was not even looked for


@pytest.mark.parametrize("case", SEED4["texts"]["cases"], ids=lambda case: case["mode"])
def test_texts_are_those_of_opentau(case):
    if case["mode"] == "ignore":  # no indicator: the task alone, which needs no function of ours
        assert all("Advantage" not in text for text in case["texts"])
        return
    advantages = case["advantage"] if case["mode"] == "use" and case["advantage"] else [np.inf] * 3
    ours = [
        indicator_text(task, bool(advantage >= case["threshold"]))
        for task, advantage in zip(case["prompts"], advantages, strict=True)
    ]
    # differs on purpose: nothing follows the indicator; they end in a line break
    assert [f"{text}\n" for text in ours] == case["texts"]
