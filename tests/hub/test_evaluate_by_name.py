"""`valuecurve evaluate` with a model and a dataset that are only on the Hub."""

import json
import re

import pytest
import yaml
from tiny_datasets import make_dataset

from valuecurve.episodes import DatasetError, open_dataset, save_splits
from valuecurve.evaluation.split import find_split

MODEL, DATASET = "robots/value-tiny", "robots/tiny-pushes"


def test_a_model_of_the_hub_is_evaluated_on_a_dataset_of_the_hub(hub, api, life, valuecurve, tmp_path):
    for name, folder, kind in ((MODEL, life.run / "model", "model"), (DATASET, life.dataset, "dataset")):
        api.create_repo(name, repo_type=kind)
        api.upload_folder(repo_id=name, repo_type=kind, folder_path=folder, ignore_patterns=["values/**"])
    place = tmp_path / "report"
    options = ("--output", place, "--resamples", 20, "--no-probes", "--cache-dir", tmp_path / "frames")
    printed = valuecurve("evaluate", MODEL, DATASET, *options)
    assert f"of {DATASET}, split test" in printed.replace("\n", " ")
    report = json.loads((place / "report.json").read_text())
    commit = api.dataset_info(DATASET).sha
    assert report["dataset"]["key"] == DATASET and report["dataset"]["revision"] == commit
    assert report["model"]["name"] == MODEL and report["model"]["revision"] == api.model_info(MODEL).sha
    assert report["evaluated"]["trained_episodes"] == 0  # its split names the dataset by its content
    results = yaml.safe_load((place / ".eval_results" / "robots--tiny-pushes.yaml").read_text())
    assert {result["dataset"]["id"] for result in results} == {DATASET}
    assert {result["dataset"]["revision"] for result in results} == {commit}
    for path in place.rglob("*"):
        assert path.suffix == ".png" or path.is_dir() or str(tmp_path) not in path.read_text()
    videos = [entry.path for entry in hub.log if entry.method == "GET" and entry.path.endswith(".mp4")]
    assert videos and all(re.search(r"/file-00\d\.mp4", path) for path in videos)


def test_the_split_of_a_model_of_the_hub_is_fetched_alone(hub, api, tmp_path):
    dataset = open_dataset(make_dataset(tmp_path / "tiny", cameras={}))
    with pytest.raises(DatasetError, match=f"--checkpoint {MODEL} cannot be read from the Hub"):
        find_split(MODEL, "test", dataset)
    split = {"train": [0, 1], "validation": [2], "test": [3, 4, 5]}
    save_splits(tmp_path / "model" / "split.json", [(dataset, split)])
    (tmp_path / "model" / "model.safetensors").write_bytes(bytes(1000))
    api.create_repo(MODEL)
    api.upload_folder(repo_id=MODEL, folder_path=tmp_path / "model")
    assert find_split(MODEL, "test", dataset).sets == split
    got = [entry.path for entry in hub.log if entry.method == "GET" and "/resolve/" in entry.path]
    assert got and all(path.endswith("split.json") for path in got)
