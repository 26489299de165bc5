"""The demo program on a tiny dataset, with a tiny model and two steps: all that it promises is there."""

import json
from pathlib import Path

import numpy as np
import pytest
from programs import load_program
from tiny_models import write_recipe
from transformers import AutoModel

from valuecurve.episodes import open_dataset
from valuecurve.evaluation.scored import read_scored
from valuecurve.labels.label_set import read_labels

PROGRAM = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.fixture(scope="module")
def demo():
    return load_program(PROGRAM)


def test_the_demo_writes_model_metrics_curves_and_videos(demo, make, tmp_path, capsys):
    dataset = make(lengths=(24, 14, 18, 20, 16, 22) * 5)
    output = tmp_path / "demo"
    recipe = write_recipe(tmp_path / "recipe.yaml", dataset, tmp_path / "unused", max_steps=2)
    for _ in range(2):  # again over an earlier demo
        demo.main(["--config", str(recipe), "--output", str(output)])
    metrics = json.loads((output / "test_metrics.json").read_text())
    for name in ("model", "constant", "elapsed_time", "shuffled_images"):
        assert {"nll", "explained_variance", "mae", "auroc_last_frame"} <= set(metrics[name])
    assert set(metrics["seconds"]) == {"frame_store", "train", "evaluate", "score", "label", "pictures"}
    assert set(metrics["model"]) == set(metrics["constant"]) and len(metrics["model"]) == 11
    report = json.loads((output / "report" / "report.json").read_text())
    assert report["metrics"]["model"]["mae"] == metrics["model"]["mae"]
    assert report["evaluated"]["trained_episodes"] == 0 and report["evaluated"]["split"] == "test"
    assert "which the model was not trained" in (output / "report" / "report.md").read_text()
    shown = sorted(output.glob("episode_*.mp4"))
    split = json.loads((output / "split.json").read_text())
    assert shown and {int(path.stem.split("_")[1]) for path in shown} <= set(split["datasets"][0]["test"])
    assert (output / "curves.png").stat().st_size > 10_000
    data = open_dataset(dataset)
    labels = read_labels(data, "demo", output / "values")
    assert report["labels"]["settings"]["horizon"] == labels.settings["horizon"] == 10  # one second, in both
    assert read_scored(data, "demo", output / "values").distributions is not None  # heat maps
    assert len(labels.rows) == data.frames.num_rows and labels.positive.any() and not labels.positive.all()
    assert (output / "values" / "demo" / "labels.png").stat().st_size > 10_000
    labelled = open_dataset(output / "labelled")
    texts = np.array(labelled.tasks)[labelled.task_index]
    assert [text.endswith("positive") for text in texts] == labels.positive.tolist()
    assert not (dataset / "values").exists()
    assert type(AutoModel.from_pretrained(output / "model")).__name__ == "ValueModel"
    printed = capsys.readouterr().out
    assert "of the test episodes" in printed
    assert "make space" in printed and "Frames reversed" in printed
    assert "time" in printed and "curves.png" in printed.replace("\n", "")
