"""Cards: rendered from what is known, and put into those that people have edited."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCardData, RepoCard

from valuecurve.hub.cards import BEGIN, END, merge_card, render
from valuecurve.hub.model_cards import GEMMA, SIGLIP, card_of, licence_notes
from valuecurve.hub.model_results import Found
from valuecurve.hub.models import ModelFolder
from valuecurve.hub.upload import HubError


def card(section: str, **data) -> str:
    front = ModelCardData(**data).to_yaml()
    return f"---\n{front}\n---\n\n# Name\n\n{BEGIN}\n{section}\n{END}\n"


def test_a_new_repository_gets_our_card():
    ours = card("new", license="mit")
    assert merge_card(None, ours) == ours
    assert merge_card(" \n", ours) == ours


def test_our_part_is_replaced_and_the_rest_stays():
    theirs = card("old", license="mit", tags=["a"], contact="ann") + "\nAsk Ann.\n"
    theirs = theirs.replace("# Name", "# Their own title")
    merged = merge_card(theirs, card("new", license="apache-2.0", tags=["a", "b"]))
    assert "# Their own title" in merged and "Ask Ann." in merged
    assert f"{BEGIN}\nnew\n{END}" in merged and "old" not in merged
    data = RepoCard(merged).data
    assert data["license"] == "apache-2.0" and data["tags"] == ["a", "b"] and data["contact"] == "ann"


def test_merging_again_changes_nothing():
    ours = card("new", license="mit", tags=["a"])
    once = merge_card(card("old", tags=["z"]) + "\nAsk Ann.\n", ours)
    assert merge_card(once, ours) == once
    assert merge_card(ours, ours) == ours


def test_without_the_comments_our_part_comes_last():
    merged = merge_card("# Theirs\n\nTheir words.\n", card("new", license="mit"))
    assert merged.startswith("---\nlicense: mit\n---\n")
    assert merged.index("Their words.") < merged.index(BEGIN)


@pytest.mark.parametrize("front", ["- a\n- b", "foo", "foo: [", "1: 2", "a: !!python/name:os.x"])
def test_a_front_matter_that_cannot_be_read_is_never_replaced(front):
    with pytest.raises(HubError, match="front matter of README.md on the Hub cannot be read"):
        merge_card(f"---\n{front}\n---\nTheir words.\n", card("new", license="mit"))


def test_strange_entries_of_a_front_matter_are_kept():
    theirs = "---\nconfigs:\n- mine\ntags: one\nsince: 2026-01-02\n---\nTheir words.\n"
    merged = merge_card(theirs, card("new", configs=[{"config_name": "v1"}]))
    assert RepoCard(merged).data["configs"] == ["mine", {"config_name": "v1"}] and "2026-01-02" in merged


def test_configurations_of_a_dataset_accumulate():
    theirs, ours = (
        card("x", configs=[{"config_name": name, "data_files": f"{name}/{version}"} for name in names])
        for names, version in ((("v1", "v2"), 1), (("v2", "v3"), 2))
    )
    configs = RepoCard(merge_card(theirs, ours)).data["configs"]
    assert {item["config_name"]: item["data_files"] for item in configs} == {
        "v1": "v1/1",
        "v2": "v2/2",
        "v3": "v3/2",
    }


def model(config: dict | None = None, settings: dict | None = None) -> ModelFolder:
    """A checkpoint of which only this is known."""
    return ModelFolder(Path("nowhere"), None, False, config or {}, {"model": settings or {}})


@pytest.mark.parametrize(
    ("settings", "config", "notes"),
    [
        ({"vision": "google/siglip-so400m-patch14-224", "text": "google/gemma-3-270m"}, {}, {GEMMA, SIGLIP}),
        ({}, {"text_config": {"model_type": "gemma3_text", "vocab_size": 262144}}, {GEMMA}),
        ({}, {"text_config": {"model_type": "gemma3_text", "vocab_size": 719}}, set()),
        ({"text": "HuggingFaceTB/SmolLM2-135M"}, {}, set()),
    ],
)
def test_licences_are_those_of_the_backbones(settings, config, notes):
    found = set(licence_notes(model(config, settings), settings))
    assert found & {GEMMA, SIGLIP} == notes
    text = card_of(model(config, settings), "ann/v", Found(), [], "", None)
    assert RepoCard(text).data["license"] == ("gemma" if GEMMA in notes else "apache-2.0")


def test_the_licence_can_be_named():
    text = card_of(model(), "ann/v", Found(), [], "", "cc-by-4.0")
    assert RepoCard(text).data["license"] == "cc-by-4.0"


def test_a_card_says_how_to_use_the_model_in_three_lines():
    text = render("model_card.md", ModelCardData(license="mit"), model_id="ann/v", task="push the puck")
    start = text.index("from transformers import pipeline")
    code = text[start : text.index("```", start)]
    assert 'pipeline("value-estimation", model="ann/v", trust_remote_code=True)' in code
    assert 'task="push the puck"' in code and len([line for line in code.splitlines() if line]) <= 4


def test_pairs_and_states_are_described():
    pairs = render("model_card.md", ModelCardData(), pairs=True, uses_state=True, state_size=7, v_max=1)
    assert "progress since the first frame" in pairs and "| `reference_images`" in pairs
    assert "| `state` | [rows, 7] |" in pairs


def test_backbones_and_datasets_of_the_hub_are_linked():
    settings = {"vision": "google/siglip-so400m-patch14-224", "text": "google/gemma-3-270m"}
    entry = {"dataset": "ann/data", "fingerprint": "0123456789", "revision": "abcdef0123", "train": [0, 1]}
    one = ModelFolder(
        Path("nowhere"), None, False, {}, {"model": settings}, {"datasets": [entry | {"test": [2]}]}
    )
    text = card_of(one, "ann/v", Found(), ["ann/data"], "raw", None)
    assert "[ann/data](https://huggingface.co/datasets/ann/data) (revision `abcdef01`" in text
    assert "| episodes (train / validation / test) | 2 / 0 / 1 |" in text
    data = RepoCard(text).data
    assert data["base_model"] == list(settings.values()) and data["datasets"] == ["ann/data"]
