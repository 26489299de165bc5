"""The report: coverage, intervals over episodes, and the defined results of degenerate inputs."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuecurve import metrics
from valuecurve.metrics_report import ALARM_RATES

CONFORMANCE = Path(__file__).parent / "conformance"


def random_data(seed=0, episodes=7, bins=11) -> dict[str, Any]:
    """A forecast that knows something, of episodes of 2 … 9 frames, the first of one frame."""
    generator = np.random.default_rng(seed)
    lengths = np.concatenate([[1], generator.integers(2, 10, episodes - 1)])
    success = np.arange(episodes) % 3 > 0
    episode = np.repeat(np.arange(episodes), lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    targets = np.where(success[episode], frame / lengths[episode] - 1, -1.0)
    distance = np.abs(np.linspace(-1, 0, bins) - targets[:, None] - generator.normal(0, 0.2, (len(frame), 1)))
    probabilities = np.exp(-distance * 8)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return dict(
        probabilities=probabilities,
        targets=targets,
        episode_index=episode,
        frame_index=frame,
        success=success[episode],
    )


def drawn(data, episodes) -> dict[str, Any]:
    """The dataset in which the given episodes stand one after the other, each draw an episode of its own."""
    rows = [np.flatnonzero(data["episode_index"] == episode) for episode in episodes]
    new = np.repeat(np.arange(len(episodes)), [len(of) for of in rows])
    return {name: of[np.concatenate(rows)] for name, of in data.items()} | {"episode_index": new}


# --- coverage --------------------------------------------------------------------------------------------


def test_coverage_counts_targets_between_two_quantiles():
    # 10 equal bins: the central 80% are bins 1 … 8, the central 50% are bins 3 … 6 and halves of 2 and 7
    p, targets = np.full((10, 10), 0.1), np.linspace(-1, 0, 10)
    np.testing.assert_allclose(metrics.coverage(p, targets, [0.5, 0.8]), [0.5, 0.8])
    np.testing.assert_allclose(metrics.coverage(p[:1], targets[2:3], [0.5, 0.8, 0.2]), [0.5, 1.0, 0.0])
    np.testing.assert_allclose(metrics.coverage(p[:2], targets[[4, 9]], [0.8]), [0.5])


def test_coverage_of_an_atom_is_its_level():
    p = np.tile([1.0, 0, 0, 0, 0], (4, 1))
    np.testing.assert_allclose(metrics.coverage(p, [-1.0] * 4), [0.5, 0.8, 0.9, 0.95])
    assert metrics.coverage(p, [0.0] * 4).tolist() == [0, 0, 0, 0]


def test_an_overconfident_forecast_covers_too_little():
    generator = np.random.default_rng(0)
    targets = generator.normal(-0.5, 0.1, 4000).clip(-1, 0)
    centers = np.linspace(-1, 0, 201)
    for sigma, low, high in [(0.1, 0.87, 0.93), (0.05, 0.0, 0.7), (0.2, 0.98, 1.0)]:
        p = np.exp(-((centers + 0.5) ** 2) / (2 * sigma**2))
        p = np.tile(p / p.sum(), (len(targets), 1))
        assert low < metrics.coverage(p, targets, [0.9])[0] < high


# --- the report and the plain functions ------------------------------------------------------------------


def plain_metrics(data, max_false_alarms=0.1):
    """What the report says, by the functions that measure one thing each."""
    p, targets, success = data["probabilities"], data["targets"], data["success"]
    values = metrics.expected_values(p)
    frames = (values, data["episode_index"], data["frame_index"])
    f1, threshold = metrics.best_f1(*frames, success)
    tau = metrics.order_per_episode(*frames, metrics.kendall_tau)[1]
    covered = metrics.coverage(p, targets)
    return (
        metrics.value_metrics(p, targets, **{name: data[name] for name in list(data)[2:]})
        | {f"coverage_{level}": of for level, of in zip((50, 80, 90, 95), covered, strict=True)}
        | {"voc": metrics.voc(*frames), "kendall_tau": np.nanmean(tau) if len(tau) else np.nan}
        | metrics.kendall_tau_by_outcome(*frames, success)
        | {"auroc_halfway": metrics.auroc_over_elapsed(*frames, success, [0.5])[0]}
        | {"best_f1": f1, "best_f1_threshold": threshold}
        | metrics.failure_alarm(*frames, success, max_false_alarms)
    )


def test_the_report_holds_what_the_single_functions_say():
    data = random_data()
    report = metrics.value_report(**data, resamples=0)
    plain = plain_metrics(data)
    assert report.metrics == pytest.approx(plain, nan_ok=True)
    assert set(report.metrics) == set(plain)
    assert all(type(of) is float for of in report.metrics.values())
    assert report.intervals == {}
    assert report.counts == {"frames": len(data["targets"]), "episodes": 7, "successes": 4, "failures": 3}


def test_the_curves_are_those_of_the_single_functions():
    data = random_data()
    values = metrics.expected_values(data["probabilities"])
    frames = (values, data["episode_index"], data["frame_index"], data["success"])
    curves = metrics.value_report(**data, max_false_alarms=0.35, resamples=20).curves
    reliability, elapsed, alarms = (curves[x] for x in ("reliability", "auroc_over_elapsed", "alarms"))
    np.testing.assert_allclose(
        reliability["observed"],
        metrics.calibration_curve(data["probabilities"], data["targets"], reliability["levels"]),
    )
    np.testing.assert_allclose(
        elapsed["auroc"], metrics.auroc_over_elapsed(*frames, shares=elapsed["shares"])
    )
    for curve in (reliability, elapsed):
        assert (curve["low"] <= curve["high"]).all()
    assert set(alarms["max_false_alarms"]) == {*ALARM_RATES, 0.35}
    for at, rate in enumerate(alarms["max_false_alarms"]):
        expected = metrics.failure_alarm(*frames, max_false_alarms=rate)
        assert {name: alarms[name][at] for name in list(alarms)[1:]} == pytest.approx(
            {name: expected[name] for name in list(alarms)[1:]}
        )


def test_values_alone_and_unknown_outcomes_give_fewer_metrics():
    data = random_data()
    values = metrics.expected_values(data.pop("probabilities"))
    report = metrics.value_report(None, values=values, **data, resamples=10)
    assert {"nll", "ece", "coverage_90"}.isdisjoint(report.metrics) and "best_f1" in report.metrics
    assert set(report.curves) == {"auroc_over_elapsed", "alarms"}
    del data["success"]
    report = metrics.value_report(None, values=values, **data, resamples=10)
    assert list(report.metrics) == ["mae", "rmse", "explained_variance", "voc", "kendall_tau"]
    assert list(report.intervals) == list(report.metrics)
    assert report.curves == {} and set(report.counts) == {"frames", "episodes"}


# --- intervals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_those_of_datasets_with_episodes_drawn_anew(seed):
    """Against the slow way: build every resampled dataset and measure it with the plain functions."""
    data, resamples = random_data(seed), 60
    report = metrics.value_report(**data, max_false_alarms=0.3, resamples=resamples, seed=seed)
    generator = np.random.default_rng(seed)
    measured = []
    for counts in generator.multinomial(7, np.full(7, 1 / 7), size=resamples):
        measured.append(plain_metrics(drawn(data, np.repeat(np.arange(7), counts)), 0.3))
    for name, (low, high) in report.intervals.items():
        expected = np.nanquantile([of[name] for of in measured], [0.025, 0.975])
        np.testing.assert_allclose((low, high), expected, rtol=1e-9, atol=1e-12, err_msg=name)
    assert set(report.intervals) == set(report.metrics)


def test_blocks_of_resamples_do_not_change_an_interval(monkeypatch):
    data = random_data()
    whole = metrics.value_report(**data, resamples=50)
    monkeypatch.setattr("valuecurve.metrics_bootstrap.BLOCK", 7 * 4)
    for name, interval in metrics.value_report(**data, resamples=50).intervals.items():
        assert interval == pytest.approx(whole.intervals[name]), name


def test_the_same_seed_gives_the_same_intervals():
    data = random_data()
    first, again, other = (metrics.value_report(**data, resamples=50, seed=s).intervals for s in (1, 1, 2))
    assert first == again and first != other


def test_an_interval_of_a_mean_is_as_wide_as_the_theory_says():
    # 200 episodes of one error each: the standard error of their mean is σ / sqrt(200)
    generator = np.random.default_rng(0)
    errors = np.abs(generator.normal(0, 0.1, 200))
    index = np.repeat(np.arange(200), 5)  # five frames alike do not make an interval narrower
    report = metrics.value_report(
        None, np.zeros(1000), values=np.repeat(errors, 5), episode_index=index, frame_index=np.arange(1000)
    )
    low, high = report.intervals["mae"]
    assert high - low == pytest.approx(2 * 1.96 * errors.std() / math.sqrt(200), rel=0.1)
    assert low < report.metrics["mae"] < high


def test_any_statistic_of_episode_weights_can_be_bootstrapped():
    scores = np.array([0.0, 1.0, 1.0, 0.0])
    found = metrics.bootstrap(lambda w: {"mean": w @ scores / w.sum(axis=1)}, episodes=4, resamples=2000)
    np.testing.assert_allclose(found["mean"], [0.0, 1.0])  # 4 draws of a fair coin: 0 and 4 hits, 6.25% each
    with pytest.raises(ValueError, match=r"confidence in \(0, 1\)"):
        metrics.bootstrap(lambda w: {}, episodes=4, confidence=95)


# --- degenerate inputs -----------------------------------------------------------------------------------

UNDEFINED_WITHOUT_FAILURES = {
    "voc_failure",
    "kendall_tau_failure",
    "auroc_last_frame",
    "auroc_halfway",
    "best_f1",
    "best_f1_threshold",
    "detection_rate",
    "lead_time",
}


def undefined(numbers):
    return {name for name, of in numbers.items() if np.isnan(of).any()}


def test_one_outcome():
    data = random_data()
    won = data["success"]
    report = metrics.value_report(**{name: of[won] for name, of in data.items()}, resamples=20)
    assert undefined(report.metrics) == undefined(report.intervals) == UNDEFINED_WITHOUT_FAILURES
    assert np.isnan(report.curves["auroc_over_elapsed"]["auroc"]).all()


def test_failures_alone_have_a_constant_target():
    data = random_data()
    lost = ~data["success"]
    report = metrics.value_report(**{name: of[lost] for name, of in data.items()}, resamples=20)
    without_successes = {name.replace("failure", "success") for name in UNDEFINED_WITHOUT_FAILURES}
    assert undefined(report.metrics) == without_successes | {
        "explained_variance",
        "alarm_threshold",
        "false_alarm_rate",
    }


def test_one_frame():
    report = metrics.value_report(np.eye(5)[[2]], [-0.5], episode_index=[8], frame_index=[0], success=[True])
    defined = set(report.metrics) - undefined(report.metrics)
    assert defined >= {"nll", "mae", "crps", "ece", "coverage_50", "alarm_threshold"}
    assert {"explained_variance", "voc", "voc_success", "kendall_tau"} <= undefined(report.metrics)
    assert undefined(report.intervals) == set(report.metrics)


def test_one_episode_has_metrics_and_no_intervals():
    data = drawn(random_data(), [4])
    report = metrics.value_report(**data, resamples=20)
    assert undefined(report.metrics) == UNDEFINED_WITHOUT_FAILURES
    assert undefined(report.intervals) == set(report.metrics)
    assert np.isnan(report.curves["reliability"]["low"]).all()


def test_one_failure_is_too_few_for_an_interval_of_failures():
    report = metrics.value_report(**drawn(random_data(), [1, 2, 3]), resamples=50)
    assert undefined(report.metrics) == set()
    assert undefined(report.intervals) == UNDEFINED_WITHOUT_FAILURES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(probabilities=None), "probabilities or values"),
        (dict(episode_index=[0]), r"episode_index must be \[\d+\]"),
        (dict(success=[True]), r"success must be \[\d+\]"),
        (dict(resamples=-1), "resamples >= 1"),
        (dict(frame_index=np.zeros(32, int)), "Frame 0 of episode 1 occurs more than once"),
    ],
)
def test_wrong_inputs_of_the_report_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        metrics.value_report(**(random_data() | change))


def test_the_report_can_be_written_as_json():
    report = dataclasses.asdict(metrics.value_report(**random_data(), resamples=10))
    json.dumps(report, default=lambda array: array.tolist())


# --- conformance -----------------------------------------------------------------------------------------


def seed_1(kind):
    cases = json.loads((CONFORMANCE / "seed1_open_value.json").read_text())["cases"]
    return [pytest.param(case, id=case["id"]) for case in cases if case["kind"] == kind]


@pytest.mark.parametrize("case", seed_1("metrics"))
def test_mae_rmse_and_explained_variance_are_those_of_seed_1(case):
    predictions, targets = case["input"]["predictions"], np.array(case["input"]["targets"])
    index = np.arange(len(targets))
    report = metrics.value_report(
        None, targets, values=predictions, episode_index=index, frame_index=index, resamples=0
    )
    found = report.metrics
    for name, expected in case["expected"].items():
        assert found[name] == pytest.approx(expected, abs=case["atol"]), name


@pytest.mark.parametrize("case", seed_1("expected_value"))
def test_the_value_and_the_loss_are_those_of_seed_1(case):
    logits, support = np.array([case["input"]["logits"]]), (case["input"]["v_min"], case["input"]["v_max"])
    p = np.exp(logits) / np.exp(logits).sum()
    value = metrics.expected_values(p, *support)[0]
    assert value == pytest.approx(case["expected"]["value"], abs=case["atol"])
    if "target_value" in case["input"]:
        loss = metrics.nll(p, [case["input"]["target_value"]], *support)
        assert loss == pytest.approx(case["expected"]["cross_entropy"], abs=case["atol"])


def test_a_uniform_forecast_scores_as_seed_0_says_of_guessing():
    """Seed 0: cross-entropy over 201 bins; guessing has top-1 = 1/201, so top-5 = 5/201 and loss = ln 201."""
    p, targets = np.full((201, 201), 1 / 201), np.linspace(-1, 0, 201)
    guessing = metrics.value_metrics(p, targets)
    assert guessing["top1"] == pytest.approx(1 / 201) and guessing["top5"] == pytest.approx(5 / 201)
    assert guessing["nll"] == pytest.approx(math.log(201))
