"""Choices of the configuration: kept through a save, checked with a suggestion."""

import pytest
from tiny_models import make_config

from valuecurve import ValueConfig


def test_a_configuration_survives_saving(tokenizer, tmp_path):
    config = make_config(tokenizer, num_bins=51, head_depth=3, target="two_hot")
    config.save_pretrained(tmp_path)
    loaded = ValueConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.vision_config.patch_size == 8 and loaded.text_config.sliding_window == 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"readout": "value_tokn"}, "Did you mean 'value_token'"),
        ({"projector": "perceiver"}, "Choices: mlp, linear"),
        ({"readout": "weighted_meen"}, "Did you mean 'weighted_mean'"),
        ({"projector": "cross_attention", "projector_heads": 5}, "5 does not divide the text width, 32"),
        ({"frames_per_sample": 3}, "frames_per_sample=3 is not a choice"),
        ({"frames_per_sample": 2}, "set v_min=-1.0 and v_max=1.0"),
        ({"language_weight": -1.0}, "language_weight=-1.0 must be 0 or more"),
        ({"target_sigma": 0.0}, "target_sigma=0.0 must be more than 0"),
        ({"head_depth": -1}, "head_depth=-1 must be a whole number, 0 or more"),
        ({"head_hidden": 0}, "head_hidden=0 must be a whole number, 1 or more"),
        ({"num_bins": 20.5}, "num_bins=20.5 must be a whole number"),
        ({"projector": "cross_attention", "projector_heads": 0}, "projector_heads=0 must be a whole number"),
        ({"freeze_vision": "maybe"}, "freeze_vision='maybe' must be true or false"),
        ({"image_mean": [0.5, 0.5]}, "must hold a number for each of 3 channels"),
        ({"image_std": [0, 0, 0]}, "must be above 0"),
        ({"image_token_id": 5}, "image_token_id and value_token_id are both 5"),
        ({"vision_tokens_per_image": 25}, "the vision backbone gives 16 tokens per image"),
        ({"num_bins": 1}, "at least 2 bins"),
        ({"v_min": 0.0, "v_max": -1.0}, "v_min < v_max"),
        ({"vision_tokens_per_image": 5}, "not a square number"),
        ({"vision_tokens_per_image": 9, "vision_pooling": "concat"}, "its side, 3, must divide 4"),
    ],
)
def test_what_cannot_be_is_refused_with_a_suggestion(tokenizer, fields, message):
    with pytest.raises(ValueError, match=message):
        make_config(tokenizer, **fields)


def test_a_head_is_as_wide_as_the_text_unless_it_says_otherwise(tokenizer):
    assert make_config(tokenizer).head_hidden == 32
    assert make_config(tokenizer, head_hidden=16).head_hidden == 16


def test_sigma_defaults_to_three_quarters_of_a_bin(tokenizer):
    assert make_config(tokenizer).target_sigma == pytest.approx(0.00375)
    assert make_config(tokenizer, num_bins=11).target_sigma == pytest.approx(0.075)
