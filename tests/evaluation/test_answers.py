"""Answers of the sample's base checkpoint: generated, measured, and from the command line."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from valuecurve import ValueModel, ValueProcessor
from valuecurve.cli import app
from valuecurve.evaluation.answers import (
    answer_losses,
    answer_metrics,
    generate_answers,
    load_answering,
    normalise,
)
from valuecurve.training import ConfigError
from valuecurve.training.build import answering
from valuecurve.training.questions import load_questions

ROOT = Path(__file__).parents[2]
BASE, VQA = ROOT / "examples" / "value_tiny_base", ROOT / "examples" / "metaworld_vqa"


@pytest.fixture(scope="module")
def loaded():
    model = ValueModel.from_pretrained(BASE, dtype=torch.float32).eval()
    return model, ValueProcessor.from_pretrained(BASE)


@pytest.fixture(scope="module")
def questions(loaded, tmp_path_factory):
    return load_questions(VQA, loaded[1], "held_out", cache_dir=tmp_path_factory.mktemp("cache"))


def test_the_base_answers_most_held_out_questions(loaded, questions):
    model, processor = loaded
    rows = np.arange(0, len(questions), 11)
    metrics = answer_metrics(model, processor, questions, rows)
    assert metrics["questions"] == len(rows)
    assert metrics["exact_match"] > 0.6
    assert metrics["answer_loss"] < 0.5
    by_kind = metrics["by_kind"]
    assert sorted(by_kind) == sorted(set(questions.kind[rows]))
    assert sum(part["tokens"] for part in by_kind.values()) == metrics["tokens"]
    right = sum(part["exact_match"] * part["questions"] for part in by_kind.values())
    assert right == pytest.approx(metrics["exact_match"] * len(rows))


def test_answers_do_not_depend_on_their_batch(loaded, questions):
    rows = np.arange(0, 130, 10)  # questions of different lengths: most of them are padded
    model, processor = loaded
    generator = answering(model)
    together = generate_answers(generator, processor, questions.batch(rows))
    alone = [generate_answers(generator, processor, questions.batch([row]))[0] for row in rows]
    assert together == alone
    one, other = (answer_metrics(model, processor, questions, rows, batch_size=size) for size in (4, 13))
    assert one["exact_match"] == other["exact_match"]
    assert one["answer_loss"] == pytest.approx(other["answer_loss"], abs=1e-5)


def test_the_answer_loss_is_the_loss_that_training_takes(loaded, questions):
    model, processor = loaded
    batch = questions.batch([3, 40, 81])
    inputs = processor.assemble(batch.prompts, batch.images_per_row, False, answers=batch.answers)
    with torch.no_grad():
        loss = model(**inputs, pixel_values=batch.pixel_values).language_loss
    per_row = answer_losses(model, processor, batch)
    assert float(per_row.sum()) / batch.answers.lengths.sum() == pytest.approx(float(loss), abs=1e-5)


def test_kinds_of_ones_own(loaded, questions):
    model, processor = loaded
    metrics = answer_metrics(model, processor, questions, np.arange(4), kinds=["even", "odd", "even", "odd"])
    assert {name: part["questions"] for name, part in metrics["by_kind"].items()} == {"even": 2, "odd": 2}


def test_the_answering_view_shares_every_weight(loaded):
    view = answering(loaded[0])
    assert not [name for name, weight in view.named_parameters() if weight.is_meta]
    own = dict(loaded[0].named_parameters())
    assert all(weight is own[name] for name, weight in view.named_parameters())


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The handle.", "handle"),
        (" Yes! ", "yes"),
        ("2.5 cm", "2.5 cm"),
        ("left of the  goal", "left of goal"),
        ("A", "a"),  # an answer that is nothing but an article stays
        ("partly-open", "partly-open"),
    ],
)
def test_what_does_not_count_in_an_answer(text, plain):
    assert normalise(text) == plain


def test_a_checkpoint_without_its_language_head_does_not_answer_at_random(tmp_path):
    config = ValueModel.from_pretrained(BASE).config
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False  # a head of its own
    with torch.device("meta"):
        names = ValueModel(config).state_dict().keys()
    assert "lm_head.weight" in names
    shutil.copytree(BASE, tmp_path / "headless")
    config.save_pretrained(tmp_path / "headless")
    weights = load_file(BASE / "model.safetensors")
    weights.pop("lm_head.weight", None)
    save_file(weights, tmp_path / "headless" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="it lacks weights of this model: lm_head.weight"):
        load_answering(tmp_path / "headless")


def test_what_is_no_value_checkpoint_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is no checkpoint: it has no config.json"):
        load_answering(tmp_path)
    with pytest.raises(ConfigError, match="there is no checkpoint at"):
        load_answering(tmp_path / "nothing")
    (tmp_path / "config.json").write_text('{"model_type": "gemma3_text"}')
    with pytest.raises(ConfigError, match="its model_type is 'gemma3_text', a value checkpoint"):
        load_answering(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "it has no processor_config.json"), ("[]", "no attribute 'get'"), ("{", "cannot be loaded: ")],
)
def test_a_checkpoint_needs_its_processor(tmp_path, content, message):
    shutil.copytree(BASE, tmp_path / "base")
    (tmp_path / "base" / "processor_config.json").unlink()
    if content is not None:
        (tmp_path / "base" / "processor_config.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_answering(tmp_path / "base")


# --- valuecurve ask ----------------------------------------------------------------------------------------


@pytest.fixture
def picture(tmp_path) -> Path:
    row = pq.read_table(VQA / "data/validation-00000-of-00001.parquet").slice(0, 1).to_pylist()[0]
    Image.open(io.BytesIO(row["images"][0]["bytes"])).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.slow
def test_the_command_answers_in_a_process_of_its_own(picture):
    command = [sys.executable, "-m", "valuecurve.cli", "ask", str(BASE), str(picture)]
    question = "Where is the gripper? Give column and row of an 8 by 8 grid."
    result = subprocess.run(
        [*command, question, "--json"], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["answer"] == "column 7, row 5"  # as the picture's own annotation says
    assert answer["images"] == [str(picture)]


def ask(*arguments):
    return CliRunner().invoke(app, ["ask", *map(str, arguments)])


def test_several_pictures_and_a_length(picture):
    result = ask(BASE, picture, picture, "Is the puck at the goal?", "--max-new-tokens", 1)
    assert result.exit_code == 0 and len(result.stdout.split()) == 1


def test_the_command_refuses_with_one_clear_line(picture):
    for arguments, message in (
        ((BASE, BASE / "README.md", "what?"), "README.md: the image cannot be read"),
        ((BASE, picture.with_name("no.png"), "what?"), "no.png cannot be read: No such file or directory"),
        ((VQA, picture, "what?"), "is no checkpoint: it has no config.json"),
        ((BASE, "what?", picture), "is a file: the question comes last"),
        ((BASE, picture.with_name("no.png"), "what? " * 1000), "no.png cannot be read"),
    ):
        result = ask(*arguments)
        assert result.exit_code == 1
        assert message in result.stderr and result.stderr.count("\n") == 1, result.stderr
        assert result.stdout == ""
