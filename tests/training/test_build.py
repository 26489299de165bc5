"""Starting from a checkpoint: weights in float32, fields of the recipe, statistics of the new data."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import write_recipe

from valuecurve.training import ConfigError, RobotData, load_config
from valuecurve.training.build import build_model


@pytest.fixture
def data_and_config(tiny_v30, tmp_path):
    config = load_config(write_recipe(tmp_path / "recipe.yaml", tiny_v30, tmp_path / "run"))
    return RobotData.prepare(config.data), config


def test_a_bfloat16_base_is_trained_in_float32_with_the_fields_of_the_recipe(data_and_config, tmp_path):
    data, config = data_and_config
    model, processor = build_model(config.model, data)
    statistics = processor.state_statistics
    processor.state_statistics, processor.scales, processor.cameras = {}, {}, []
    model.bfloat16().save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")

    config.model.base = str(tmp_path / "base")
    config.model.config = {"freeze_vision": True, "text_config": {"attention_dropout": 0.25}}
    started, fitted = build_model(config.model, data)
    assert {parameter.dtype for parameter in started.parameters()} == {torch.float32}
    for name, parameter in started.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name).float()), name
        assert parameter.requires_grad == (not name.startswith("vision_tower"))
    assert started.text_model.layers[0].self_attn.attention_dropout == 0.25
    assert started.config.text_config.hidden_size == model.config.text_config.hidden_size
    assert started.config.freeze_vision and started.config.num_bins == 201
    assert fitted.state_statistics == statistics and fitted.cameras == data.camera_names
    assert fitted.scales == pytest.approx(data.scales)


def test_other_image_tokens_than_the_base_reach_the_processor(data_and_config, tmp_path):
    data, config = data_and_config
    for part in build_model(config.model, data):
        part.save_pretrained(tmp_path / "base")
    config.model.base, config.model.config = str(tmp_path / "base"), {"vision_tokens_per_image": 4}
    model, processor = build_model(config.model, data)
    assert model.config.vision_tokens_per_image == processor.vision_tokens_per_image == 4


def test_both_halves_of_a_value_checkpoint_under_other_joints(data_and_config, tmp_path):
    data, config = data_and_config
    base, processor = build_model(config.model, data)
    base.bfloat16().save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    config.model.vision = config.model.text = str(tmp_path / "base")
    pair = {"frames_per_sample": 2, "v_max": 1.0, "readout": "mean", "vision_tokens_per_image": 4}
    config.model.config = pair | {"text_config": {"attention_dropout": 0.25}}
    started, fitted = build_model(config.model, data)
    assert fitted.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert fitted.frames_per_sample == 2 and not fitted.add_value_token
    assert fitted.vision_tokens_per_image == 4
    assert started.text_model.layers[0].self_attn.attention_dropout == 0.25
    for half in ("vision_tower", "text_model"):
        theirs = base.get_submodule(half).state_dict()
        for name, weight in started.get_submodule(half).state_dict().items():
            assert weight.dtype == torch.float32 and torch.equal(weight, theirs[name].float()), name


def test_one_backbone_alone_is_refused(data_and_config):
    data, config = data_and_config
    config.model.vision = "somewhere"
    with pytest.raises(ConfigError, match="model.text is not set"):
        build_model(config.model, data)


@pytest.mark.parametrize("broken", ["folder", "config.json", "model.safetensors", "processor_config.json"])
def test_a_base_that_is_no_checkpoint_is_named(data_and_config, tmp_path, broken):
    data, config = data_and_config
    for part in build_model(config.model, data):
        part.save_pretrained(tmp_path / "base")
    if broken != "folder":
        (tmp_path / "base" / broken).unlink()
    config.model.base = str(tmp_path / ("nothing" if broken == "folder" else "base"))
    with pytest.raises(ConfigError, match=f"model.base.*{broken}"):
        build_model(config.model, data)


def test_a_base_that_lacks_weights_is_refused(data_and_config, tmp_path):
    data, config = data_and_config
    for part in build_model(config.model, data):
        part.save_pretrained(tmp_path / "base")
    file = tmp_path / "base" / "model.safetensors"
    weights = load_file(file)
    save_file({n: w for n, w in weights.items() if n != "projector.0.weight"}, file, {"format": "pt"})
    config.model.base = str(tmp_path / "base")
    with pytest.raises(ConfigError, match="lacks weights of this model: projector.0.weight"):
        build_model(config.model, data)


def test_bins_that_do_not_hold_the_targets_are_refused(data_and_config):
    data, config = data_and_config
    config.model.config = config.model.config | {"v_min": -0.5}
    with pytest.raises(
        ConfigError, match="from v_min -0.5 to v_max 0 do not hold the targets, which are from -1"
    ):
        build_model(config.model, data)


def test_one_token_for_both_placeholders_is_refused(data_and_config):
    data, config = data_and_config
    config.model.image_token = "<unused0>"
    with pytest.raises(ConfigError, match="model.image_token and model.value_token are both '<unused0>'"):
        build_model(config.model, data)


def test_fields_that_make_no_model_are_an_error(data_and_config):
    data, config = data_and_config
    config.model.config = config.model.config | {"readout": "vale_token"}
    with pytest.raises(ConfigError, match="model.config makes no model: .*Did you mean 'value_token'"):
        build_model(config.model, data)
