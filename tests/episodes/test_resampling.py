"""Views of a dataset: some episodes, another frame rate."""

import numpy as np
import pytest

from valuecurve.episodes import DatasetError, open_dataset, resample, select


def test_half_the_rate_keeps_ends_and_interpolates_the_state(make):
    dataset = open_dataset(make(lengths=[9, 1, 2, 6], fps=10))
    half, rows = resample(dataset, 5)
    assert half.fps == 5 and half.lengths.tolist() == [5, 1, 2, 3]  # 6 frames: 0, 2.5, 5
    assert rows.tolist() == [0, 2, 4, 6, 8, 9, 10, 11, 12, 15, 17]
    assert half.frame_index.tolist() == [0, 1, 2, 3, 4, 0, 0, 1, 0, 1, 2]
    np.testing.assert_allclose(half.frames["timestamp"].to_numpy(), half.frame_index / 5, atol=1e-6)
    np.testing.assert_array_equal(half.task_index, dataset.task_index[rows])
    np.testing.assert_allclose(half.states[:9], dataset.states[rows[:9]], rtol=1e-6)
    between = (dataset.states[14] + dataset.states[15]) / 2  # frame 2.5 of the last episode
    np.testing.assert_allclose(half.states[9], between, rtol=1e-6)
    np.testing.assert_array_equal(half.starts + half.lengths - 1, [4, 5, 7, 10])
    assert half.fingerprint == dataset.fingerprint


def test_a_higher_rate_repeats_pictures_and_interpolates(make):
    dataset = open_dataset(make(lengths=[3, 4, 5], fps=10))
    double, rows = resample(dataset, 20)
    assert double.lengths.tolist() == [5, 7, 9] and rows[:5].tolist() == [0, 1, 1, 2, 2]
    np.testing.assert_allclose(double.states[1], (dataset.states[0] + dataset.states[1]) / 2, rtol=1e-6)


def test_the_same_rate_is_the_same_dataset(make):
    dataset = open_dataset(make())
    assert resample(dataset, dataset.fps)[0] is dataset
    with pytest.raises(ValueError, match="fps must be"):
        resample(dataset, 0)


def test_some_episodes(make):
    dataset = open_dataset(make(lengths=[3, 4, 5, 6]))
    chosen, rows = select(dataset, [3, 1])
    assert chosen.episode_ids.tolist() == [1, 3] and chosen.lengths.tolist() == [4, 6]
    assert rows.tolist() == [*range(3, 7), *range(12, 18)]
    np.testing.assert_array_equal(chosen.states, dataset.states[rows])
    assert chosen.where(4) == dataset.where(12)
    with pytest.raises(DatasetError, match="there is no episode"):
        select(dataset, [9])
