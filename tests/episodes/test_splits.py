"""Splits: by episode, seeded, stratified, the same everywhere."""

import json
from dataclasses import replace

import numpy as np
import pytest

from valuecurve.episodes import DatasetError, Outcomes, load_split, open_dataset, save_splits, split_episodes


def dataset_of(make, episodes: int, tasks: int = 1, success=None):
    lengths = [2] * episodes
    kinds = [i % tasks for i in range(episodes)]
    names = [f"task {i}" for i in range(tasks)]
    root = make(lengths=lengths, tasks=names, episode_tasks=kinds, cameras={}, files=1)
    good = np.arange(episodes) % 5 < 3 if success is None else np.array(success)
    return open_dataset(root), Outcomes(good, "test")


def test_every_stratum_is_split_by_the_ratios(make):
    dataset, outcomes = dataset_of(make, 300, tasks=2)
    split = split_episodes(dataset, outcomes)
    assert [len(split[name]) for name in ("train", "validation", "test")] == [240, 30, 30]
    assert sorted(sum(split.values(), [])) == list(range(300))
    for task in range(2):
        for good in (True, False):
            stratum = set(
                np.flatnonzero((dataset.episode_tasks == task) & (outcomes.success == good)).tolist()
            )
            shares = [len(stratum & set(part)) / len(stratum) for part in split.values()]
            np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=1.5 / len(stratum))


def test_the_split_is_the_same_on_every_platform(make):
    dataset, outcomes = dataset_of(make, 20)
    split = split_episodes(dataset, outcomes)
    assert split["validation"] + split["test"] == [12, 14, 8, 16]
    assert split_episodes(dataset, outcomes) == split
    assert split_episodes(dataset, outcomes, seed=1) != split


@pytest.mark.parametrize("episodes", [3, 4, 5, 7, 11])
def test_no_set_is_empty_from_three_episodes_on(make, episodes):
    split = split_episodes(*dataset_of(make, episodes, tasks=episodes))
    assert all(split.values()) and sum(map(len, split.values())) == episodes
    assert len(split["train"]) == max(map(len, split.values()))


@pytest.mark.parametrize("episodes", [1, 2])
def test_one_or_two_episodes_are_for_training(make, episodes):
    split = split_episodes(*dataset_of(make, episodes))
    assert split == {"train": list(range(episodes)), "validation": [], "test": []}


def test_many_tiny_strata_still_give_the_ratios(make):
    split = split_episodes(*dataset_of(make, 100, tasks=100))
    assert [len(part) for part in split.values()] == [80, 10, 10]


def test_a_set_can_be_left_out(make):
    dataset, outcomes = dataset_of(make, 10)
    split = split_episodes(dataset, outcomes, ratios=(9, 0, 1))
    assert [len(part) for part in split.values()] == [9, 0, 1]
    with pytest.raises(DatasetError, match="ratios must be"):
        split_episodes(dataset, outcomes, ratios=(0, 1, 1))


def test_a_saved_split_comes_back(make, tmp_path):
    dataset, outcomes = dataset_of(make, 10)
    split = split_episodes(dataset, outcomes)
    path = tmp_path / "new" / "split.json"
    save_splits(path, [(dataset, split)])
    assert load_split(path, dataset) == split
    assert json.loads(path.read_text())["datasets"][0]["fingerprint"] == dataset.fingerprint
    assert [file.name for file in path.parent.iterdir()] == ["split.json"]


def test_a_split_of_other_data_is_an_error(make, tmp_path):
    dataset, outcomes = dataset_of(make, 10)
    path = tmp_path / "split.json"
    save_splits(path, [(dataset, split_episodes(dataset, outcomes))])
    with pytest.raises(DatasetError, match="make a new split"):
        load_split(path, replace(dataset, fingerprint="other"))
    with pytest.raises(DatasetError, match="is no split .* has no 'datasets'"):
        load_split(dataset.root / "meta/info.json", dataset)


def test_a_split_with_an_episode_twice_is_an_error(make, tmp_path):
    dataset, _ = dataset_of(make, 10)
    save_splits(tmp_path / "s.json", [(dataset, {"train": [1, 2], "validation": [2], "test": []})])
    with pytest.raises(DatasetError, match="more than one set"):
        load_split(tmp_path / "s.json", dataset)
