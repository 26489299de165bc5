"""Recipes: overrides, and errors that name the key that was meant."""

import pytest
import torch
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
        (["--max_steps", "3"], "unknown key 'max_steps'. Did you mean training.max_steps?"),
        (["--model.config.readot", "x"], "Did you mean model.config.readout?"),
        (
            ["--model.config.text_config.hidden_sise", "8"],
            "Did you mean model.config.text_config.hidden_size?",
        ),
        (["--data.dataset"], "--data.dataset has no value"),
        (["training.max_steps", "3"], "cannot read the argument 'training.max_steps'"),
        (["--data.dataset.x", "3"], "'dataset' is a value, not a section"),
        (["--data.dataset", ""], "data.dataset is not set"),
        (["--data.dataset", "@x"], "--data.dataset: '@x' cannot be read as YAML"),
        (["--training.eval_strategy", "sometimes"], "'training': sometimes is not a valid"),
    ],
)
def test_what_is_not_known_is_an_error_with_a_suggestion(recipe, override, message):
    with pytest.raises(ConfigError) as error:
        load_config(recipe, override)
    assert message in str(error.value)


def test_numbers_without_a_point_are_numbers_in_recipes_too(recipe):
    recipe.write_text(recipe.read_text().replace("learning_rate: 0.003", "learning_rate: 3e-3"))
    assert load_config(recipe).training.learning_rate == 0.003


def test_a_recipe_that_is_no_yaml(tmp_path):
    (tmp_path / "broken.yaml").write_text("data: [1\nmodel: :")
    with pytest.raises(ConfigError, match="broken.yaml cannot be read as YAML"):
        load_config(tmp_path / "broken.yaml")


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


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.max_steps", "ten", "training.max_steps must be a whole number, got 'ten'"),
        ("data.cameras", "top", "data.cameras must be a list of texts, such as [a, b] or null, got 'top'"),
        ("data.use_state", "maybe", "data.use_state must be true or false"),
        ("data.dataset", "7", "data.dataset must be a text, got 7"),
        ("data.scale", "0", "data.scale must be 'task_max', 'episode' or a positive number of steps, got 0"),
        ("data.fail", "flor", "data.fail must be 'floor' or 'penalty', got 'flor'"),
        ("training.per_device_train_batch_size", "0", "must be 1 or more, got 0"),
        ("training.state_dropout", "2", "must be between 0 and 1, got 2"),
        ("data.fps", "0", "data.fps must be a positive number of frames per second, got 0"),
        ("model.vocab_size", "-3", "model.vocab_size must be 1 or more, got -3"),
        ("training.seed", "-1", "training.seed must be 0 or more, got -1"),
        ("training.max_steps", "0", "training.max_steps must be 1 or more, or -1 to go by num_train_epochs"),
        ("training.num_train_epochs", "0", "training.num_train_epochs must be more than 0"),
        ("training.weight_decay", "nan", "training.weight_decay must be 0 or more, got nan"),
        ("training.gradient_accumulation_steps", "0", "must be 1 or more, got 0"),
        ("training.dataloader_num_workers", "-1", "must be 0 or more, got -1"),
        ("training.label_smoothing_factor", "0.1", "must be 0: it has no effect here, got 0.1"),
        ("training.train_sampling_strategy", "group_by_length", "must be 'random'"),
        ("model.config.vision_config.model_type", "siglp", "Did you mean 'siglip'?"),
        ("model.config.text_config", "x", "section 'model.config.text_config' must be a mapping, got 'x'"),
    ],
)
def test_values_of_the_wrong_type_or_out_of_range_are_errors(recipe, key, value, message):
    with pytest.raises(ConfigError) as error:
        load_config(recipe, [f"--{key}", value])
    assert message in str(error.value) and "recipe.yaml" in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_recipe_for_a_gpu_says_so_where_there_is_none(recipe):
    with pytest.raises(ConfigError, match="training.bf16 needs a GPU .*value_tiny_scratch.yaml"):
        load_config(recipe, ["--training.bf16", "true", "--training.use_cpu", "false"])


@pytest.mark.parametrize(
    ("metric", "greater"),
    [("loss", False), ("eval_mae", False), ("crps", False), ("explained_variance", True)],
)
def test_the_best_by_an_error_is_the_one_with_the_least(recipe, metric, greater):
    training = load_config(recipe, ["--training.metric_for_best_model", metric]).training
    assert training.greater_is_better is greater


def test_a_range_of_episodes_is_no_number_to_the_base_60(recipe, tmp_path):
    assert load_config(recipe, ["--data.episodes", "10:50"]).data.episodes == "10:50"
    raw = yaml.safe_load(recipe.read_text())
    del raw["data"]["dataset"]
    rest = "".join(f"{name}: {value!r}\n" for name, value in raw.items() if name != "data")
    own = tmp_path / "own.yaml"
    own.write_text(
        rest + "data: {mixture: [{dataset: a, episodes: 10:50}, {dataset: b, episodes: 1:30:20}]}\n"
    )
    assert [part["episodes"] for part in load_config(own).data.mixture or []] == ["10:50", "1:30:20"]


def test_a_strategy_may_be_no_which_yaml_reads_as_false(recipe):
    overrides = ["--training.eval_strategy", "no", "--training.load_best_model_at_end", "false"]
    assert load_config(recipe, overrides).training.eval_strategy == "no"
