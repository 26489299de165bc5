"""`valuecurve push model` against the Hub of the tests: what arrives, and who can load it by name."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard
from huggingface_hub._eval_results import parse_eval_result_entries
from safetensors.torch import load_file
from tiny_models import write_recipe
from transformers import pipeline
from typer.testing import CliRunner, Result

from valuecurve import ValueModel, ValuePipeline
from valuecurve.cli import app
from valuecurve.scoring.checkpoint import weights_digest
from valuecurve.training import load_config, train

REPO = "robots/value-tiny"
FILES = {
    *(".gitattributes", "README.md", "config.json", "model.safetensors", "split.json", "recipe.yaml"),
    *("configuration_value.py", "modeling_value.py", "processing_value.py", "pipeline_value.py"),
    *("processor_config.json", "tokenizer.json", "tokenizer_config.json"),
}
# Run in a process that cannot import this package.
BY_NAME = """
import json, sys
sys.modules["valuecurve"] = None
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline

repo, dataset, first, answer = sys.argv[1:]
trust = dict(trust_remote_code=True)
found = {}
for name, revision in (("now", None), ("first", first)):
    config = AutoConfig.from_pretrained(repo, revision=revision, **trust)
    model = AutoModel.from_pretrained(repo, revision=revision, use_safetensors=True, **trust).eval()
    processor = AutoProcessor.from_pretrained(repo, revision=revision, **trust)
    with torch.no_grad():
        value = model(**model.dummy_inputs).value.tolist()
    curve = pipeline("value-estimation", model=repo, revision=revision, **trust)(dataset, episode=1)
    found[name] = {
        "type": config.model_type, "cameras": processor.cameras, "value": value,
        "curve": curve["value"].tolist(), "seconds": curve["seconds"].tolist(),
    }
found["modules"] = [type(x).__module__.split(".")[0] for x in (config, model, processor)]
json.dump(found, open(answer, "w"))
"""


@pytest.fixture
def run(life) -> Path:
    """A whole run of four steps, with averaged and raw weights. Read only."""
    return life.run


def push(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["push", "model", *map(str, arguments)])


def pushed(*arguments: object) -> Result:
    result = push(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: object) -> str:
    result = push(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    return result.stderr


def state_of(hub, tmp_path: Path, repo: str = REPO) -> dict[str, torch.Tensor]:
    """The weights that a repository holds."""
    folder = tmp_path / "received"
    folder.mkdir(exist_ok=True)
    state = {}
    for name, content in hub.files("model", repo).items():
        if name.endswith(".safetensors"):
            (folder / name).write_bytes(content)
            state |= load_file(folder / name)
    return state


def test_one_commit_holds_the_whole_model_and_the_list_came_first(hub, run):
    output = pushed(run, REPO).output
    assert set(hub.files("model", REPO)) == FILES
    assert hub.history("model", REPO) == ["Value model", "initial commit"]
    for name in FILES - {".gitattributes"}:
        assert f" {name}\n" in output
    assert f"{hub.url}/{REPO} is now at" in output


def test_others_load_it_by_name_without_this_package(hub, hub_env, run, life, tmp_path):
    pushed(run, REPO)
    first = HfApi().model_info(REPO).sha
    pushed(run, REPO, "--weights", "raw")
    answer = tmp_path / "answer.json"
    command = [sys.executable, "-c", BY_NAME, REPO, str(life.dataset), str(first), str(answer)]
    done = subprocess.run(command, env=hub_env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(answer.read_text())
    assert found["modules"] == ["transformers_modules"] * 3
    averaged = ValueModel.from_pretrained(run / "model").eval()
    weights = load_file(best(run) / "model.safetensors")
    raw = ValueModel.from_pretrained(None, config=averaged.config, state_dict=weights)
    for name, model in (("first", averaged), ("now", raw.eval())):
        with torch.no_grad():
            assert found[name]["value"] == model(**model.dummy_inputs).value.tolist()
        assert found[name]["cameras"] == ["top", "wrist"]
        assert len(found[name]["curve"]) == len(found[name]["seconds"]) == 7
    assert found["first"]["curve"] != found["now"]["curve"]
    task: Any = "value-estimation"  # with the package no remote code is needed
    here: Any = pipeline(task, model=REPO, revision=first)
    assert type(here) is ValuePipeline
    np.testing.assert_allclose(here(life.dataset, episode=1)["value"], found["first"]["curve"], atol=1e-6)


def best(run: Path) -> Path:
    """The checkpoint that was exported."""
    return run / f"checkpoint-{json.loads((run / 'metrics.json').read_text())['best_step']}"


def test_nothing_changed_makes_no_commit(hub, run):
    pushed(run, REPO)
    again = pushed(run, REPO).output
    assert "nothing has changed" in again
    assert len(hub.history("model", REPO)) == 2


def test_a_dry_run_lists_and_asks_nobody(hub, run):
    hub.log.clear()
    output = pushed(run, REPO, "--dry-run").output
    assert "model.safetensors" in output and "dry run: nothing was pushed" in output
    assert list(hub.log) == []


def test_what_people_wrote_into_the_card_stays(hub, run, api):
    pushed(run, REPO)
    card = ModelCard.load(REPO)
    card.text = card.text.replace("# value-tiny", "# Our best one").rstrip() + "\n\nAsk Ann.\n"
    card.data["tags"].append("ours")
    card.data["contact"] = "ann"
    card.push_to_hub(REPO)
    pushed(run, REPO, "--weights", "raw")
    after = ModelCard.load(REPO)
    assert "# Our best one" in after.text and after.text.rstrip().endswith("Ask Ann.")
    assert "| weights | raw" in after.text and "averaged" not in after.text
    assert after.data["contact"] == "ann" and {"ours", "valuecurve"} <= set(after.data["tags"])


def test_branches_pull_requests_and_private_repositories(hub, run, api):
    pushed(run, REPO, "--private", "--revision", "try")
    assert api.model_info(REPO).private
    assert set(hub.files("model", REPO, "try")) == FILES
    assert "model.safetensors" not in hub.files("model", REPO)
    output = pushed(run, REPO, "--pr").output
    assert "pull request: " in output
    assert set(hub.files("model", REPO, "refs/pr/1")) == FILES
    assert "model.safetensors" not in hub.files("model", REPO)


def test_raw_and_averaged_weights_are_chosen(hub, run, tmp_path):
    raw, averaged = load_file(best(run) / "model.safetensors"), load_file(best(run) / "ema.safetensors")
    pushed(run, REPO)
    state = state_of(hub, tmp_path)
    assert all(torch.equal(state[name], tensor) for name, tensor in averaged.items())
    pushed(run, REPO, "--weights", "raw")
    state = state_of(hub, tmp_path)
    assert state.keys() == raw.keys() and all(torch.equal(state[name], raw[name]) for name in raw)
    assert any(not torch.equal(raw[name], averaged[name]) for name in averaged)
    assert "choose with --weights" in refused(best(run), REPO)
    pushed(best(run), REPO, "--weights", "ema")
    state = state_of(hub, tmp_path)
    assert all(torch.equal(state[name], tensor) for name, tensor in averaged.items())


def test_weights_that_are_not_there_are_no_guess(hub, run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "moved")
    shutil.rmtree(best(moved))
    assert f"has no {best(run).name} any more" in refused(moved, REPO, "--weights", "raw")
    alone = shutil.copytree(run / "model", tmp_path / "alone")
    assert "no averaged weights to choose" in refused(alone, REPO, "--weights", "ema")


def test_large_weights_are_pushed_in_shards(hub, run, tmp_path):
    pushed(run, REPO, "--max-shard-size", "0.2MB")
    names = {name for name in hub.files("model", REPO) if "safetensors" in name}
    assert "model.safetensors.index.json" in names and "model-00001-of-00002.safetensors" in names
    whole = load_file(run / "model" / "model.safetensors")
    state = state_of(hub, tmp_path)
    assert state.keys() == whole.keys() and all(torch.equal(state[name], whole[name]) for name in whole)


def test_the_recipe_of_a_pushed_model_trains_and_names_no_machine(hub, run, life, tmp_path):
    pushed(run, REPO, "--dataset-id", "robots/tiny")
    recipe = hub.files("model", REPO)["recipe.yaml"].decode()
    assert str(life.dataset) not in recipe and yaml.safe_load(recipe)["data"]["dataset"] == "robots/tiny"
    (tmp_path / "recipe.yaml").write_text(recipe)
    again = load_config(tmp_path / "recipe.yaml", ["--data.dataset", str(life.dataset)])
    first = load_config(run / "config.yaml")
    for name in ("learning_rate", "ema_decay", "max_steps", "per_device_train_batch_size", "seed"):
        assert getattr(again.training, name) == getattr(first.training, name)
    assert again.model.config == first.model.config


@pytest.fixture
def evaluated(run, tmp_path) -> Callable[..., Path]:
    """evaluated(): a copy of the run with a report as `valuecurve evaluate` writes it, in short."""

    def make(**changes) -> Path:
        folder = shutil.copytree(run, tmp_path / "evaluated")
        fingerprint = json.loads((folder / "split.json").read_text())["datasets"][0]["fingerprint"]
        metrics = {"nll": 2.5, "mae": 0.125, "auroc_last_frame": None}
        report = {
            "model": {"weights": weights_digest(folder / "model")},
            "dataset": {"key": "tiny", "fingerprint": fingerprint},
            "evaluated": {
                "split": "test",
                "episodes": 3,
                "frames": 1234,
                "successes": 2,
                "trained_episodes": 0,
            },
            "metrics": {"model": metrics, "constant": {"nll": 3.0, "mae": 0.5}},
            "intervals": {"model": {"nll": [2.0, 3.0], "mae": [0.1, 0.15], "auroc_last_frame": None}},
        }
        (folder / "report" / "figures").mkdir(parents=True)
        (folder / "report" / "report.json").write_text(json.dumps(report | changes))
        (folder / "report" / "report.md").write_text("# Report\n")
        shutil.copyfile(folder / "training_curve.png", folder / "report" / "figures" / "curves.png")
        return folder

    return make


def test_the_card_has_the_evaluation_and_the_hub_its_results(hub, evaluated):
    pushed(evaluated(), REPO, "--dataset-id", "robots/tiny")
    files = hub.files("model", REPO)
    assert {"report/report.md", "report/report.json", "report/figures/curves.png"} <= set(files)
    card = ModelCard(files["README.md"].decode())
    assert "| NLL (nats), the loss ↓ | **2.50** | 2.00 … 3.00 | 3.00 |" in card.text
    assert "| MAE (value units) ↓ | **0.125** | 0.100 … 0.150 | 0.500 |" in card.text
    assert "On 3 episodes of the test split of tiny, 1,234 frames, 2 successes." in card.text
    assert "report/figures/curves.png" in card.text
    results = {result.metric_type: result for result in card.data["eval_results"]}
    assert set(results) == {"nll", "mae"}
    assert (results["mae"].metric_value, results["mae"].dataset_type) == (0.125, "robots/tiny")
    entries = parse_eval_result_entries(yaml.safe_load(files[".eval_results/robots--tiny.yaml"]))
    assert [(entry.dataset_id, entry.task_id, entry.value) for entry in entries] == [
        ("robots/tiny", "nll", 2.5),
        ("robots/tiny", "mae", 0.125),
    ]


def test_results_on_other_data_are_not_given_out_as_those_on_the_training_data(hub, evaluated):
    run = evaluated(dataset={"key": "elsewhere", "fingerprint": "0123456789abcdef"})
    pushed(run, REPO, "--dataset-id", "robots/tiny")
    files = hub.files("model", REPO)
    assert not [name for name in files if name.startswith(".eval_results/")]
    (result, *_) = ModelCard(files["README.md"].decode()).data["eval_results"]
    assert result.dataset_type == "elsewhere"


def test_a_report_of_other_weights_is_refused(hub, evaluated):
    run = evaluated(model={"weights": "0" * 64})
    assert "is of other weights" in refused(run, REPO)
    assert "holds no report.json" in refused(run, REPO, "--report", run / "model")


def test_an_adapter_is_pushed_with_its_base_named(hub, tiny_v30, tmp_path):
    lora = {"r": 4, "alpha": 12.0, "dropout": 0.0, "target_modules": ["q_proj"]}
    train(load_config(write_recipe(tmp_path / "r.yaml", tiny_v30, tmp_path / "run", lora=lora, max_steps=2)))
    adapter = tmp_path / "run" / "adapter"
    assert "--base owner/name" in refused(adapter, "robots/adapter")
    pushed(adapter, "robots/adapter", "--base", "google/gemma-3-270m")
    files = hub.files("model", "robots/adapter")
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "google/gemma-3-270m"
    assert {"adapter_model.safetensors", "split.json", "recipe.yaml"} <= set(files)
    card = ModelCard(files["README.md"].decode())
    assert card.data["base_model"] == ["google/gemma-3-270m"] and card.data["library_name"] == "peft"
    assert card.data["license"] == "gemma" and "Gemma Terms of Use" in card.text
    pushed(tmp_path / "run", REPO)  # the whole model has them merged
    assert not any(".lora_" in name for name in state_of(hub, tmp_path))
    merged = state_of(hub, tmp_path)
    pushed(tmp_path / "run", REPO, "--weights", "raw")
    assert state_of(hub, tmp_path).keys() == merged.keys()


def test_pickles_stay_where_they_are(hub, run, tmp_path):
    model = shutil.copytree(run / "model", tmp_path / "model")
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    pushed(model, REPO)
    assert "pytorch_model.bin" not in hub.files("model", REPO)
    (model / "model.safetensors").unlink()
    assert "pytorch_model.bin is a pickle" in refused(model, REPO)


def test_what_belongs_to_this_machine_is_not_pushed(hub, run, tmp_path):
    model = shutil.copytree(run / "model", tmp_path / "model")
    split = json.loads((model / "split.json").read_text())
    split["datasets"][0]["dataset"] = "/home/ann/datasets/secret"
    (model / "split.json").write_text(json.dumps(split))
    message = refused(model, REPO)
    assert "split.json:" in message and "'/home/ann/datasets/secret'" in message
    config = json.loads((model / "config.json").read_text()) | {"_name_or_path": str(tmp_path)}
    (model / "config.json").write_text(json.dumps(config))
    shutil.copyfile(run / "split.json", model / "split.json")
    pushed(model, REPO)  # where a checkpoint was loaded from is taken out by itself
    assert str(tmp_path).encode() not in b"".join(hub.files("model", REPO).values())


@pytest.mark.parametrize(
    ("token", "repo", "message"),
    [
        ("hf_nobody_knows_this_token_at_all", REPO, "does not accept the token"),
        ("hf_ann_reads_0123456789abcdef", "ann/x", "token with write access to ann"),
        ("hf_ann_writes_0123456789abcdef", "bob/x", "token with write access to bob"),
        ("hf_ann_writes_0123456789abcdef", "not a name", "owner/name"),
        (None, REPO, "hf auth login"),
    ],
)
def test_who_may_not_push_is_told_in_one_line(hub, run, monkeypatch, token, repo, message):
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    line = refused(run, repo)
    assert message in line and line.count("\n") == 1
    assert token is None or token not in line


def test_what_is_no_checkpoint_is_named(hub, run, tmp_path):
    assert "there is no folder" in refused(tmp_path / "nowhere", REPO)
    assert "holds no checkpoint" in refused(tmp_path, REPO)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "model_type is 'bert'" in refused(tmp_path, REPO)
    assert "is written as 5GB" in refused(run, REPO, "--max-shard-size", "huge")
    assert "is written as 5GB" in refused(run, REPO, "--max-shard-size", "0MB")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "[]", "config.json holds no JSON object, but list"),
        ("split.json", '{"datasets": [{"dataset": "x"}]}', "an entry of datasets has no 'fingerprint'"),
        ("report/report.json", "{}", "report.json has no 'model': it is no report"),
        ("model.safetensors", "a pickle, perhaps", "model.safetensors is no safetensors file"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_not_pushed(hub, run, tmp_path, name, content, message):
    copy = tmp_path / "model"
    shutil.copytree(run / "model", copy)
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text(content)
    assert message in refused(copy, REPO)


@pytest.mark.parametrize("branch", ["..", "", "a b", "-x", "a/../b", "x.lock", "/x", "x/", "v" * 300])
def test_what_is_no_branch_is_refused_before_the_hub_is_asked(hub, run, branch):
    assert "names no branch" in refused(run, REPO, f"--revision={branch}", "--dry-run") and not hub.log


def test_the_classes_own_push_to_hub_carries_the_code(hub, run, api):
    model: Any = ValueModel.from_pretrained(run / "model")
    model.push_to_hub("robots/by-hand")
    names = set(hub.files("model", "robots/by-hand"))
    assert {"model.safetensors", "config.json", "modeling_value.py", "pipeline_value.py"} <= names
