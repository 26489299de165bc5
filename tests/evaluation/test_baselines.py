"""The two baselines on data whose best forecast is known."""

from typing import Any

import numpy as np
import pytest

from valuecurve.evaluation.baselines import ElapsedTime, constant_distribution
from valuecurve.metrics import nll, value_metrics
from valuecurve.returns import dataset_targets, value_to_bin


def episodes(count, seed, longest=60):
    """Made-up episodes of two tasks: targets, task, episode, success and frame index of every frame."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(25, longest, count)
    lengths[:2] = longest  # the same scale in every sample
    success, tasks = rng.random(count) < 0.6, np.arange(count) % 2
    success[:2] = True
    targets, _ = dataset_targets(lengths, success, tasks, scale=float(longest - 1))
    frame_index = np.concatenate([np.arange(length) for length in lengths])
    return targets, *(np.repeat(x, lengths) for x in (tasks, np.arange(count), success)), frame_index


def test_constant_is_a_distribution_close_to_the_histogram_of_plenty_of_data():
    rng = np.random.default_rng(0)
    truth = np.array([0.4, 0.1, 0.2, 0.2, 0.1])
    p = constant_distribution(rng.choice(np.linspace(-1, 0, 5), size=50_000, p=truth), num_bins=5)
    assert p.sum() == pytest.approx(1) and (p > 0).all()
    np.testing.assert_allclose(p, truth, atol=0.01)


def test_constant_smooths_scarce_data_and_keeps_failures_apart():
    rng = np.random.default_rng(0)
    draw = lambda n: np.where(rng.random(n) < 0.5, -1.0, rng.uniform(-0.9, -0.1, n))  # noqa: E731
    p, held_out = constant_distribution(draw(400)), draw(5000)
    histogram = np.bincount(value_to_bin(draw(400)), minlength=201) + 0.01
    assert nll(np.tile(p, (5000, 1)), held_out) < nll(
        np.tile(histogram / histogram.sum(), (5000, 1)), held_out
    )
    assert p[0] == pytest.approx(0.5, abs=0.05)  # the pile at v_min is not smeared over its neighbours
    assert p[1] < 0.01


def test_elapsed_time_beats_the_constant_on_new_episodes():
    targets, task, _, _, frame = episodes(160, seed=0)
    new_targets, new_task, new_episode, new_success, new_frame = episodes(60, seed=1)
    of_episodes: dict[str, Any] = dict(episode_index=new_episode, frame_index=new_frame, success=new_success)
    constant = np.tile(constant_distribution(targets), (len(new_targets), 1))
    elapsed = ElapsedTime.fit(targets, task, frame).predict(new_task, new_frame)
    np.testing.assert_allclose(elapsed.sum(axis=1), 1)
    ours, theirs = (value_metrics(p, new_targets, **of_episodes) for p in (elapsed, constant))
    assert ours["nll"] < theirs["nll"] - 0.2
    assert ours["explained_variance"] > theirs["explained_variance"] + 0.03
    assert theirs["explained_variance"] == pytest.approx(0) and theirs["auroc_last_frame"] == 0.5


def test_elapsed_time_finds_a_clock_when_time_tells_all():
    length = 50  # every episode alike: the target is a function of the frame
    targets = np.tile(np.linspace(-1, 0, length), 20)
    frame, task = np.tile(np.arange(length), 20), np.zeros(20 * length, int)
    p = ElapsedTime.fit(targets, task, frame).predict(task[:length], frame[:length])
    assert nll(p, targets[:length]) < 0.1


def test_tasks_do_not_mix_and_an_unknown_one_is_an_error():
    frame = np.tile(np.arange(10), 12)
    task = np.repeat(np.arange(12) % 2, 10)
    model = ElapsedTime.fit(np.where(task == 0, -0.25, -0.75), task, frame, num_bins=5)
    p = model.predict([0, 1], [4, 4])
    assert p[0].argmax() == 3 and p[1].argmax() == 1
    with pytest.raises(ValueError, match=r"task_index \[7\]"):
        model.predict([0, 7], [0, 0])


def test_beyond_the_longest_episode_the_forecast_stays():
    targets, task, _, _, frame = episodes(40, seed=2)
    model = ElapsedTime.fit(targets, task, frame)
    late = model.predict([1, 1, 1], [59, 60, 100_000])
    np.testing.assert_array_equal(late[0], late[1])
    np.testing.assert_array_equal(late[0], late[2])


def test_one_training_episode_is_smoothed_most():
    model = ElapsedTime.fit(np.linspace(-1, 0, 30), np.zeros(30, int), np.arange(30))
    assert model.widths[0] == (16.0, 8.0, 30.0)
    assert np.isfinite(np.log(model.predict([0], [0]))).all()


def test_nothing_to_fit_on_is_an_error():
    with pytest.raises(ValueError, match="finite training targets"):
        constant_distribution([])
    with pytest.raises(ValueError, match="finite training targets"):
        ElapsedTime.fit([np.nan], [0], [0])
