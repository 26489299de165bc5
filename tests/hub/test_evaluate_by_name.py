"""`valuecurve evaluate` with a model and a dataset that are only on the Hub."""

import json
import re

import yaml

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
