"""The shipped recipes: all are valid, both sizes make the same choices, and the small ones train."""

from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModel

from valuecurve.training import load_config, prepare, train

ROOT = Path(__file__).parents[2]
RECIPES = sorted(ROOT.glob("trainer/recipes/*.yaml"))
NAMES = [path.stem for path in RECIPES if "data" in yaml.safe_load(path.read_text())]  # base_tiny is no run
SYSTEMS = ["stitched", "open_value", "cross_attention", "progress_pair", "progress", "recap"]
TINY = [*(f"{name}_tiny" for name in SYSTEMS), "value_270m_tiny", "value_tiny", "value_tiny_scratch"]


def recipe(name: str, *overrides: str):
    return load_config(ROOT / f"trainer/recipes/{name}.yaml", ["--training.bf16", "false", *overrides])


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_valid(name):
    assert recipe(name, "--data.dataset", "somewhere").training.max_steps > 0


def test_every_system_has_a_recipe_in_both_sizes():
    assert {*SYSTEMS, *TINY, "value_270m"} == set(NAMES)


@pytest.mark.parametrize("name", SYSTEMS)
def test_both_sizes_make_the_same_choices(name):
    """What differs is size; the joints, targets and data are those of the system."""
    real, tiny = recipe(name, "--data.dataset", "x"), recipe(f"{name}_tiny")
    sizes = {"vision_tokens_per_image", "vision_pooling", "head_hidden", "text_config", "freeze_vision"}
    sizes |= {"freeze_embeddings"}
    for key in {*real.model.config, *tiny.model.config} - sizes:
        assert real.model.config.get(key) == tiny.model.config.get(key), key
    for key in ("use_state", "fail", "assume_outcome"):
        assert getattr(real.data, key) == getattr(tiny.data, key), key


def test_the_small_recipes_train_alike():
    """Same data, steps, batches and optimiser, and the same halves: only the system differs."""
    first = recipe(TINY[0])
    for name in TINY[1 : len(SYSTEMS) + 1]:
        other = recipe(name)
        assert (other.data.dataset, other.model.vision, other.model.text, other.model.base) == (
            first.data.dataset, first.model.vision, first.model.text, None
        )  # fmt: skip
        differing = {
            key
            for key, value in other.training.to_dict().items()
            if value != first.training.to_dict()[key] and key not in ("output_dir", "logging_dir", "run_name")
        }
        assert not differing


def test_pairs_are_trained_on_pairs(tiny_v30, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    places = ["--data.dataset", str(tiny_v30), "--data.cache_dir", str(tmp_path / "frames")]
    prepared = prepare(recipe("progress_pair_tiny", *places))
    rows = prepared.data.rows("train")
    batch = prepared.collator.training(0.0, 0)(rows)
    assert len(batch["pixel_values"]) == 2 * len(prepared.processor.cameras) * len(rows)
    assert (
        batch["value_targets"].min() < 0 < batch["value_targets"].max()
    )  # the reference is later or earlier


@pytest.mark.parametrize("name", TINY)
def test_a_small_recipe_takes_a_step_and_its_checkpoint_loads(name, tiny_v30, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # recipes name files of this repository
    steps = ["--training.max_steps", "1", "--training.eval_steps", "1", "--training.save_steps", "1"]
    size = ["--training.per_device_train_batch_size", "4", "--training.max_validation_frames", "8"]
    places = ["--data.dataset", str(tiny_v30), "--data.cache_dir", str(tmp_path / "frames")]
    quiet = ["--training.disable_tqdm", "true", "--training.dataloader_num_workers", "0"]
    output = ["--training.output_dir", str(tmp_path / "run"), "--training.warmup_steps", "0"]
    run = train(recipe(name, *steps, *size, *places, *quiet, *output))
    assert run.trainer.state.global_step == 1
    model = AutoModel.from_pretrained(tmp_path / "run" / "model").eval()
    with torch.no_grad():
        value = model(**model.dummy_inputs).value
    assert torch.isfinite(value).all()
    assert (value >= model.config.v_min).all() and (value <= model.config.v_max).all()
