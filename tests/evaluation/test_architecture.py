"""Parameter counts and drawings: equal to what is really built, and the documents equal to the commands."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_models import TEXT, VISION
from transformers import AutoConfig
from typer.testing import CliRunner

from valuecurve import ValueConfig, ValueModel
from valuecurve.cli import app
from valuecurve.evaluation.architecture import (
    parameter_rows,
    parameter_table,
    read_architecture,
    shipped_recipes,
    short_number,
)
from valuecurve.evaluation.diagram import draw_architecture
from valuecurve.training import ConfigError

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "architectures.md"
CONVNEXT = {
    "model_type": "convnext",
    "image_size": 64,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return {row["recipe"]: row for row in parameter_rows(shipped_recipes())}


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "valuecurve.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


def test_the_table_of_the_document_is_what_the_command_prints(rows):
    document = DOCUMENT.read_text()
    shown = re.search(r"<!-- parameters: begin -->\n(.*)\n<!-- parameters: end -->", document, re.DOTALL)
    assert shown and shown.group(1) == parameter_table(list(rows.values()))


def test_the_document_shows_every_real_size_recipe():
    shown = set(re.findall(r"\(architectures/(\w+)\.svg\)", DOCUMENT.read_text()))
    assert shown == {path.stem for path in shipped_recipes() if "_tiny" not in path.stem}
    assert all((DOCUMENT.parent / "architectures" / f"{name}.svg").is_file() for name in shown)


def test_counts_are_those_of_the_model_that_is_built(rows):
    """value_tiny for real, from its weights: parts that add up, and what is frozen is not trained."""
    model = ValueModel.from_pretrained("examples/value_tiny_base")
    counts = rows["value_tiny"]
    assert counts["total"] == sum(p.numel() for p in model.parameters())
    assert counts["vision"] == model.vision_tower.num_parameters()
    assert counts["embeddings"] == model.get_input_embeddings().weight.numel()
    assert counts["text"] == model.text_model.num_parameters() - counts["embeddings"]
    assert counts["trainable"] == counts["total"] - counts["vision"]
    for row in rows.values():
        assert row["total"] == sum(
            row[part] for part in ("vision", "projector", "text", "embeddings", "head")
        )


def test_the_joints_of_the_systems_by_hand(rows):
    width, vision, bins = 640, 1152, 201
    head_of_320 = 2 * width + (width * 320 + 320) + (320 * bins + bins) + width  # and the mean's weights
    assert rows["cross_attention"]["head"] == head_of_320
    attention = 2 * width + 4 * width * width  # LayerNorm; queries, keys, values, outputs
    assert rows["cross_attention"]["projector"] == vision * width + width + attention
    assert rows["open_value"]["projector"] == vision * width + width
    assert rows["stitched"]["head"] == width * bins + bins
    assert rows["stitched"]["projector"] == (vision + 1) * vision + (vision + 1) * width
    lora = rows["stitched"]["text"] - rows["value_270m"]["text"]
    assert lora > 0
    assert rows["stitched"]["trainable"] == lora + rows["stitched"]["projector"] + rows["stitched"]["head"]


def test_backbones_on_disk_speak_for_themselves(tmp_path):
    """A named folder is read, a value checkpoint lends a half, and a name that is neither is an error."""
    small: dict[str, Any] = VISION | {"hidden_size": 48, "num_attention_heads": 3}
    AutoConfig.for_model(**small).save_pretrained(tmp_path / "vision")
    recipe = tmp_path / "recipe.yaml"
    halves = f"{{vision: {tmp_path / 'vision'}, text: examples/value_tiny_base}}"
    recipe.write_text(f"data: {{}}\nmodel: {halves}\ntraining: {{}}\n")
    config = read_architecture(recipe).config
    assert config.vision_config.hidden_size == 48 and config.text_config.vocab_size == 719
    recipe.write_text("data: {}\nmodel: {vision: some/where, text: google/gemma-3-270m}\ntraining: {}\n")
    with pytest.raises(ConfigError, match="some/where is not on this machine, and its size is not known"):
        read_architecture(recipe)


def test_checkpoints_and_configurations_are_read_without_weights(tmp_path):
    ValueConfig(vision_config=VISION, text_config=TEXT, readout="mean").save_pretrained(
        tmp_path / "checkpoint"
    )
    for source in (tmp_path / "checkpoint", tmp_path / "checkpoint" / "config.json"):
        architecture = read_architecture(source)
        assert architecture.name == "checkpoint" and architecture.config.readout == "mean"
        assert next(architecture.model.parameters()).device == torch.device("meta")
    with pytest.raises(ConfigError, match="is no recipe"):
        read_architecture(tmp_path)


@pytest.mark.parametrize(
    "fields",
    [
        {"projector": "cross_attention", "readout": "weighted_mean", "head": "norm_mlp", "target": "two_hot"},
        {"attention": "causal", "readout": "last_token", "head": "linear", "target": "one_hot"},
        {"frames_per_sample": 2, "v_max": 1.0, "vision_tokens_per_image": 1, "vision_pooling": "concat"},
        {"vision_config": CONVNEXT},
    ],
    ids=["cross_attention", "causal", "pair", "convnext"],
)
def test_any_configuration_can_be_drawn(tmp_path, fields):
    ValueConfig(**{"vision_config": VISION, "text_config": TEXT} | fields).save_pretrained(tmp_path)
    picture = draw_architecture(read_architecture(tmp_path), tmp_path / "picture.png")
    with Image.open(picture) as image:
        assert image.size[0] > 1500 and len(image.convert("RGB").getcolors(1 << 20) or []) > 50
    assert [path.name for path in tmp_path.iterdir() if "tmp" in path.name] == []


def test_a_drawing_says_what_is_trained_and_is_the_same_every_time(tmp_path):
    first, second = (
        draw_architecture(read_architecture("trainer/recipes/value_tiny.yaml"), tmp_path / f"{i}.svg")
        for i in range(2)
    )
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(ValueError, match=r"a picture is \.png, \.svg or \.pdf"):
        draw_architecture(read_architecture("trainer/recipes/value_tiny.yaml"), tmp_path / "drawing.gif")


@pytest.mark.slow
def test_the_commands(tmp_path):
    done = run("draw", "trainer/recipes/recap_tiny.yaml", "--output", tmp_path / "recap.svg")
    assert done.returncode == 0 and done.stdout.strip() == str(tmp_path / "recap.svg")
    assert (tmp_path / "recap.svg").stat().st_size > 10_000
    done = run("parameters", "trainer/recipes/recap_tiny.yaml", "--json")
    assert json.loads(done.stdout)[0]["recipe"] == "recap_tiny"
    done = run("parameters", "trainer/recipes/nothing.yaml")
    assert (
        done.returncode == 1
        and done.stderr.startswith("error: no recipe at")
        and "Traceback" not in done.stderr
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "model: [", "a.yaml cannot be read as YAML: "),
        ("b.yaml", "data: 5", "'data' is a value, not a section"),
        ("c.yaml", "model: {config: {projector: mpl}}", "c.yaml makes no model: projector='mpl'"),
        ("d.yaml", "model: {config: {text_config: {hidden_size: wide}}}", "d.yaml makes no model: "),
        ("e.json", "{", "e.json is no recipe (YAML), checkpoint or config.json: "),
        ("f.json", '{"model_type": "valuecurve", "num_bins": "many"}', "f.json makes no model: "),
        ("g.json", "[]", "g.json is no recipe (YAML), checkpoint or config.json"),
    ],
)
def test_what_makes_no_model_is_one_clear_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    for command in (["draw"], ["parameters"]):
        done = CliRunner().invoke(app, [*command, str(tmp_path / name)])
        assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
        assert done.output.startswith("error: ") and message in " ".join(done.output.split())
        assert done.output.count("\n") == 1, done.output


def test_numbers_are_short():
    assert [short_number(n) for n in (428_225_600, 76_929, 201)] == ["428.2 M", "76.9 k", "201"]
