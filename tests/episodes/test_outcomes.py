"""Outcome resolution: the order of the sources, the words, and errors that name the episodes."""

import numpy as np
import pytest
from tiny_datasets import Tiny, edit_parquet

from valuecurve.episodes import DatasetError, open_dataset, resolve_outcomes

LENGTHS = list(Tiny().lengths)
N, E = sum(LENGTHS), len(LENGTHS)
ENDS = np.cumsum(LENGTHS) - 1
DEFAULT = [True, True, False, True, True, False]


def per_frame(last: list, other) -> list:
    """A frame column: `last` at the last frames, `other` elsewhere."""
    values = [other] * N
    for end, value in zip(ENDS, last, strict=True):
        values[end] = value
    return values


def outcomes_of(make, column=None, assume=None, **options):
    return resolve_outcomes(open_dataset(make(cameras={}, **options)), column, assume)


def test_next_success_any_true(make):
    values = [False] * N
    values[3] = True  # success flickers: true once, not at the end
    found = outcomes_of(make, outcome=None, columns={"next.success": values})
    assert found.success.tolist() == [True] + [False] * 5
    assert found.success.dtype == bool and found.source == "next.success (any frame)"


@pytest.mark.parametrize(
    ("columns", "metadata", "source"),
    [
        (["next.success", "is_success", "next.reward"], ["success"], "next.success (any frame)"),
        (["is_success", "next.reward"], ["success"], "is_success (any frame)"),
        (["next.reward", "reward"], ["success", "episode_success"], "success (episode metadata)"),
        (["next.reward", "reward"], ["episode_success"], "episode_success (episode metadata)"),
        (["next.reward", "reward"], [], "next.reward (last frame > 0)"),
        (["reward"], [], "reward (last frame > 0)"),
    ],
)
def test_first_source_that_exists(make, columns, metadata, source):
    flags, rewards = per_frame(DEFAULT, False), per_frame([1.0 if good else 0.0 for good in DEFAULT], -1.0)
    found = outcomes_of(
        make,
        outcome=None,
        columns={name: rewards if "reward" in name else flags for name in columns},
        metadata={name: DEFAULT for name in metadata},
    )
    assert found.source == source
    assert found.success.tolist() == DEFAULT


def test_last_reward_must_be_above_zero(make):
    rewards = per_frame([0.0, 0.5, -1.0, 1e-9, 2.0, -0.0], 5.0)
    found = outcomes_of(make, outcome=None, columns={"next.reward": rewards})
    assert found.success.tolist() == [False, True, False, True, True, False]


def test_words_are_parsed_never_truth_tested(make):
    words = ["Success", "failure", "FAIL", "0", " true ", "false"]
    found = outcomes_of(make, outcome=None, metadata={"success": words})
    assert found.success.tolist() == [True, False, False, False, True, False]


def test_numbers_one_and_zero_are_outcomes(make):
    found = outcomes_of(make, outcome=None, metadata={"success": [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]})
    assert found.success.tolist() == [True, False, False, True, True, False]


def test_the_column_of_the_user_comes_first(make):
    verdict = ["fail", "success", "fail", "fail", "fail", "fail"]
    found = outcomes_of(make, column="verdict", metadata={"verdict": verdict, "success": [True] * 6})
    assert found.success.tolist() == [False, True, False, False, False, False]
    assert found.source == "verdict (episode metadata)"


def test_a_column_that_is_not_there_suggests_the_near_one(make):
    with pytest.raises(DatasetError, match=r"no outcome column 'next.succes'; did you mean next.success"):
        outcomes_of(make, column="next.succes")


def test_no_outcome_is_an_error_that_names_the_episodes(make):
    with pytest.raises(DatasetError, match=r"no outcome for episodes 0, 1, 2, 3, 4, 5: .*--assume-outcome"):
        outcomes_of(make, outcome=None)


@pytest.mark.parametrize(("assume", "value"), [("success", True), ("failure", False)])
def test_an_outcome_can_be_assumed_when_asked(make, assume, value):
    found = outcomes_of(make, outcome=None, assume=assume)
    assert found.success.tolist() == [value] * E and found.source == "assumed"


def test_assume_does_not_override_what_is_there(make):
    assert outcomes_of(make, assume="success").success.tolist() == DEFAULT


def test_assume_fills_only_empty_episodes_and_says_so(make):
    found = outcomes_of(
        make, outcome=None, assume="success", metadata={"success": [False, None, True, None, True, False]}
    )
    assert found.success.tolist() == [False, True, True, True, True, False]
    assert found.source == "success (episode metadata); 2 episodes assumed success"


@pytest.mark.parametrize("empty", [None, float("nan")])
def test_empty_cells_are_errors_that_name_the_episodes(make, empty):
    with pytest.raises(DatasetError, match=r"success is empty .* in episodes 1, 4;"):
        outcomes_of(make, outcome=None, metadata={"success": [1.0, empty, 0.0, 1.0, empty, 0.0]})


def test_a_nan_last_reward_is_an_error(make):
    rewards = per_frame([1.0, 1.0, float("nan"), 1.0, 1.0, 1.0], 0.0)
    with pytest.raises(DatasetError, match="next.reward is empty .* in episode 2;"):
        outcomes_of(make, outcome=None, columns={"next.reward": rewards})


def test_unknown_words_are_errors_that_name_word_and_episodes(make):
    with pytest.raises(DatasetError, match=r"success is 'meh', '' in episodes 1, 2; expected true/false"):
        outcomes_of(make, outcome=None, metadata={"success": ["true", "meh", "", "true", "true", "fail"]})


def test_unknown_numbers_are_errors(make):
    with pytest.raises(DatasetError, match=r"success is 2 in episode 0;"):
        outcomes_of(make, outcome=None, metadata={"success": [2, 0, 0, 1, 1, 0]})


def test_a_partly_empty_frame_column_is_an_error_that_names_the_frame(make):
    root = make(cameras={}, files=1)
    edit_parquet(
        root / "data/chunk-000/file-000.parquet", "next.success", lambda old: [*old[:14], None, *old[15:]]
    )
    with pytest.raises(DatasetError, match=r"file-000.parquet, episode 1, frame 2: next.success is empty"):
        resolve_outcomes(open_dataset(root), assume="success")


def test_v21_metadata_of_mixed_types_is_read(make):
    found = outcomes_of(
        make, version="v2.1", outcome=None, metadata={"success": [True, "fail", False, "1", 1, 0]}
    )
    assert found.success.tolist() == [True, False, False, True, True, False]


def test_assume_must_be_an_outcome(make):
    with pytest.raises(DatasetError, match="--assume-outcome must be success or failure, got 'yes'"):
        outcomes_of(make, assume="yes")
