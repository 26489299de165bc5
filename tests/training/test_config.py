"""Recipes: overrides, and errors that name the key that was meant."""

import pytest
import yaml
from tiny_models import write_recipe

from valuecurve.training import ConfigError, load_config


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path / "recipe.yaml", tmp_path / "dataset", tmp_path / "run")


def test_overrides_win_and_are_typed(recipe):
    overrides = ["--training.learning_rate", "1e-4", "--data.cameras=[top]", "--training.max_steps", "7"]
    config = load_config(recipe, [*overrides, "--model.config.head_depth", "3"])
    assert config.training.learning_rate == 1e-4
    assert config.data.cameras == ["top"]
    assert config.training.max_steps == 7
    assert config.model.config["head_depth"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            ["--training.learning_rat", "1"],
            "unknown key 'training.learning_rat'. Did you mean training.learning_rate?",
        ),
        (["--datta.dataset", "x"], "Did you mean data?"),
        (["--model.config.readot", "x"], "Did you mean model.config.readout?"),
        (
            ["--model.config.text_config.hidden_sise", "8"],
            "Did you mean model.config.text_config.hidden_size?",
        ),
        (["--data.dataset"], "--data.dataset has no value"),
        (["training.max_steps", "3"], "cannot read the argument 'training.max_steps'"),
        (["--data.dataset.x", "3"], "'dataset' is a value, not a section"),
        (["--data.dataset", ""], "data.dataset is not set"),
    ],
)
def test_what_is_not_known_is_an_error_with_a_suggestion(recipe, override, message):
    with pytest.raises(ConfigError) as error:
        load_config(recipe, override)
    assert message in str(error.value)


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no recipe at"):
        load_config(tmp_path / "nothing.yaml")


def test_the_resolved_configuration_is_a_recipe_again(recipe, tmp_path):
    config = load_config(recipe)
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(config.resolved()))
    assert load_config(again).resolved() == config.resolved()


@pytest.mark.parametrize("name", ["value_tiny", "value_270m"])
def test_shipped_recipes_are_valid(name):
    from pathlib import Path

    path = Path(__file__).parents[2] / "trainer" / "recipes" / f"{name}.yaml"
    assert load_config(path, ["--data.dataset", "x", "--training.bf16", "false"]).training.max_steps > 0
