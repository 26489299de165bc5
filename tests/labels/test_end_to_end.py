"""The whole way, by the commands that people type: train, score, label, export; pairs go to kai0."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from tiny_datasets import make_dataset
from tiny_models import write_recipe

from valuecurve.episodes import open_dataset

ROOT = Path(__file__).parents[2]


def run(*command: object) -> str:
    result = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [False, True])
def test_from_a_dataset_to_a_labelled_dataset_by_commands(tmp_path, pairs):
    source = make_dataset(tmp_path / "source", version="v2.1" if pairs else "v3.0")
    recipe = write_recipe(tmp_path / "recipe.yaml", source, tmp_path / "run", max_steps=2)
    if pairs:
        content = yaml.safe_load(recipe.read_text())
        content["model"]["config"] |= {"frames_per_sample": 2, "v_min": -1.0, "v_max": 1.0}
        content["data"]["scale"] = "episode"
        recipe.write_text(yaml.safe_dump(content))
    run("trainer/run.py", "--config", recipe)
    run(
        "-m",
        "valuecurve.cli",
        "score",
        tmp_path / "run/model",
        source,
        "--tag",
        "v1",
        *(("--horizon", 4) if pairs else ()),
    )
    mode = ("--mode", "progress" if pairs else "n_step", "--horizon", 4)
    run("-m", "valuecurve.cli", "label", source, "--tag", "v1", *mode, "--positive-fraction", 0.4)
    labels = pq.read_table(source / "values/v1/labels.parquet")
    positive = labels["positive"].to_numpy()
    for format in ("kai0", "opentau") if pairs else ("lerobot", "rabc"):
        place = ("--output", tmp_path / format, "--json")
        made = run("-m", "valuecurve.cli", "export", source, "--tag", "v1", "--format", format, *place)
        assert json.loads(made)["positive"] == positive.sum() > 0
    dataset = open_dataset(tmp_path / ("kai0" if pairs else "lerobot"))
    words = [dataset.tasks[task].endswith("Advantage: positive") for task in dataset.task_index]
    assert words == positive.tolist()
    if pairs:
        for column, own in (("relative_advantage", "relative"), ("absolute_value", "absolute_value")):
            np.testing.assert_array_equal(dataset.frames[column].to_numpy(), labels[own].to_numpy())
        advantages = json.loads((tmp_path / "opentau/meta/advantages.json").read_text())
        assert [number >= 0 for number in advantages.values()] == positive.tolist()
    else:
        np.testing.assert_array_equal(dataset.frames["advantage"], labels["advantage"])
        progress = pq.read_table(tmp_path / "rabc/sarm_progress.parquet")["progress_sparse"]
        np.testing.assert_allclose(progress, 1 + labels["value"].to_numpy(), atol=1e-6)
