"""What probes show: numbers by hand, and the words that follow from them."""

import numpy as np
import pytest

from valuecurve.evaluation.probes import changes, changes_of_reversal, finding, skill_of

BEFORE = {"crps": 0.1, "skill": 0.5, "voc_success": 0.8}


def said(name, after, moved, **options):
    return finding(name, {"model": BEFORE, name: BEFORE | after}, moved, **options)


def test_changes_by_hand():
    assert changes(np.array([-0.5, -0.2]), np.array([-0.4, -0.5])) == {"mean_change": pytest.approx(0.2)}


def test_a_reversal_that_follows_the_picture_leaves_the_same_picture_its_value():
    values = np.array([-0.9, -0.5, -0.1, -1.0, -0.8])  # episodes of 3 and 2 frames
    turned = np.array([-0.1, -0.5, -0.9, -0.8, -1.0])
    found = changes_of_reversal(values, turned, np.array([3, 2]))
    assert found == {"mean_change": pytest.approx(0.4), "same_picture_change": 0.0}
    found = changes_of_reversal(values, values, np.array([3, 2]))
    assert found == {"mean_change": 0.0, "same_picture_change": pytest.approx(0.4)}


def test_pairs_that_are_reversed_count_from_the_last_picture():
    values = np.array([0.0, 0.3, 1.0])
    found = changes_of_reversal(values, np.array([0.0, -0.7, -1.0]), np.array([3]), pairs=True)
    assert found["same_picture_change"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("skill", "words"),
    [
        (-0.1, "worse than the constant forecast. The skill depends on the pictures of this very episode"),
        (0.05, "10% of the skill is left, so the skill depends on the pictures"),
        (0.25, "50% of the skill is left, so some of the skill does not depend on"),
        (0.45, "90% of the skill is left, so most of the skill does not depend on"),
    ],
)
def test_the_skill_that_is_left_decides_about_the_words(skill, words):
    assert words in said("shuffled_images", {"crps": 0.2, "skill": skill}, {"mean_change": 0.3})


def test_values_that_do_not_move_are_not_read_from_what_was_replaced():
    text = said("swapped_instruction", {}, {"mean_change": 0.001})
    assert text.endswith("the model ignores the instruction.")


def test_a_model_without_skill_has_none_to_lose():
    metrics = {"model": BEFORE | {"skill": -0.2}, "shuffled_images": BEFORE | {"skill": -0.4}}
    assert "no skill" in finding("shuffled_images", metrics, {"mean_change": 0.3})
    metrics = {"model": BEFORE | {"skill": float("nan")}, "shuffled_images": BEFORE}
    assert "no skill" in finding("shuffled_images", metrics, {"mean_change": 0.3})


@pytest.mark.parametrize(
    ("change", "same_picture", "words"),
    [
        (0.4, 0.02, "follows what the picture shows, backwards as well"),
        (0.02, 0.4, "follows the state in the prompt, and hardly the picture"),
        (0.2, 0.2, "follows both the picture and the state"),
        (0.001, 0.002, "hardly move at all"),
    ],
)
def test_a_reversal_tells_picture_from_state(change, same_picture, words):
    moved = {"mean_change": change, "same_picture_change": same_picture}
    text = said("reversed_frames", {"voc_success": -0.8}, moved)
    assert words in text and "+0.80 forwards and −0.80" in text


def test_without_state_the_pictures_are_all_there_is():
    moved = {"mean_change": 0.2, "same_picture_change": 0.0}
    assert "The prompt holds no state" in said("reversed_frames", {}, moved, has_state=False)


def test_skill_by_hand():
    assert skill_of({"crps": 0.1}, {"crps": 0.4}) == pytest.approx(0.75)
    assert skill_of({"crps": 0.5}, {"crps": 0.4}) == pytest.approx(-0.25)
    assert np.isnan(skill_of({"crps": 0.1}, None)) and np.isnan(skill_of({"crps": 0.0}, {"crps": 0.0}))
