"""Trust: loading never unpickles, remote code runs only where the user says so, nothing private is pushed."""

import ast
import getpass
import logging
import pickle
import re
import shutil
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import write_recipe
from transformers import AutoModel

from valuecurve import ValueModel
from valuecurve.scoring.checkpoint import load_checkpoint
from valuecurve.training import ConfigError, load_config, train

ROOT = Path(__file__).parents[2]
PROGRAMS = [
    path
    for folder in ("valuecurve", "trainer", "spaces", "metrics", "examples")
    for path in (ROOT / folder).rglob("*.py")
]
TOKEN = "hf_" + "QxZvKpLmNbWcRtYuGhJdSfAe" + "0123456789"
SECRET = "zebra-umbrella-4711"
USER = "quentinquartz"


class Poison:
    """Whoever unpickles it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "unpickled"


@pytest.fixture
def poisoned(life, tmp_path: Path, mark: Path) -> Path:
    """A checkpoint with pickles beside its safetensors, each of which makes `mark` when it is loaded."""
    folder = tmp_path / "poisoned"
    shutil.copytree(life.run / "model", folder)
    for name in ("pytorch_model.bin", "optimizer.pt", "training_args.bin"):
        torch.save({"weights": Poison(mark)}, folder / name)
    for name in ("split.pkl", "processor.pickle", "adapter_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Poison(mark)))
    return folder


def test_the_poison_works(mark):
    pickle.loads(pickle.dumps(Poison(mark)))
    assert mark.exists()


def test_a_checkpoint_with_pickles_beside_it_is_loaded_without_them(poisoned, mark):
    loaded = load_checkpoint(str(poisoned))
    weights = load_file(poisoned / "model.safetensors")
    assert torch.equal(loaded.model.state_dict()["value_token"], weights["value_token"])
    assert type(AutoModel.from_pretrained(poisoned)) is ValueModel
    assert not mark.exists()


def test_a_checkpoint_of_pickles_alone_is_refused(poisoned, mark, tmp_path):
    (poisoned / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="safetensors"):
        load_checkpoint(str(poisoned))
    with pytest.raises(OSError, match="safetensors"):
        ValueModel.from_pretrained(poisoned)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt"])
def test_a_poisoned_checkpoint_is_not_resumed(life, mark, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(life.run, run)
    torch.save({"state": Poison(mark)}, run / "checkpoint-4" / name)
    config = load_config(write_recipe(tmp_path / "recipe.yaml", life.dataset, run))
    with pytest.raises(ConfigError, match="Remove .*checkpoint-4"):
        train(config, resume=True)
    assert not mark.exists()


def test_pickles_are_not_even_fetched_from_the_hub(hub, api, poisoned, life, valuecurve, mark, tmp_path):
    api.create_repo("robots/value")
    api.upload_folder(repo_id="robots/value", folder_path=poisoned)
    load_checkpoint("robots/value")
    ValueModel.from_pretrained("robots/value")
    AutoModel.from_pretrained("robots/value")
    valuecurve("score", "robots/value", life.dataset, "--tag", "x", "--values", tmp_path / "values")
    fetched = {
        item.path.rsplit("/", 1)[1] for item in hub.log if item.method == "GET" and "/resolve/" in item.path
    }
    assert "model.safetensors" in fetched
    assert not [name for name in fetched if name.endswith((".bin", ".pt", ".pkl", ".pickle"))]
    assert not mark.exists()


def test_pickles_are_not_pushed(hub, poisoned, valuecurve, mark):
    valuecurve("push", "model", poisoned, "robots/value")
    names = hub.files("model", "robots/value").keys()
    assert "model.safetensors" in names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pickle"))]
    assert not mark.exists()


def calls(path: Path) -> list[tuple[str, dict[str, ast.expr]]]:
    """The names of the functions that a file calls, and their arguments by keyword."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [
        (ast.unparse(node.func), {item.arg or "": item.value for item in node.keywords}) for node in nodes
    ]


UNPICKLING = re.compile(
    r"^\s*(?:import|from) (?:pickle|dill|joblib|cloudpickle|shelve|marshal)\b(?! import UnpicklingError$)",
    re.M,
)


def test_no_program_unpickles():
    for path in PROGRAMS:
        assert not UNPICKLING.search(path.read_text()), path
        for name, arguments in calls(path):
            plain = {key: ast.unparse(value) for key, value in arguments.items()}
            if name == "torch.load":
                assert plain["weights_only"] == "True", path
            if name in ("np.load", "numpy.load"):
                assert plain.get("allow_pickle", "False") == "False", path
            assert not name.endswith(("read_pickle", "unsafe_load", "full_load")), path


def test_no_program_trusts_remote_code_by_itself():
    """It may hand on what the user said; it never says True."""
    for path in PROGRAMS:
        for name, arguments in calls(path):
            trusted = arguments.get("trust_remote_code")
            if trusted is not None:
                assert not isinstance(trusted, ast.Constant) or not trusted.value, f"{path}: {name}"


@pytest.fixture
def telltale(hub, monkeypatch, caplog) -> list[str]:
    """What must be in nothing that is printed, logged or pushed; the user's token is a real looking one."""
    hub.add_user("ann", TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("CLUSTER_ACCOUNT", SECRET + "-account")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, USER)
    assert getpass.getuser() == USER
    caplog.set_level(logging.DEBUG)
    return [TOKEN, SECRET, USER]


def places(life) -> list[str]:
    """Paths and names of this machine that files must not hold."""
    host = socket.gethostname()
    return [str(life.run.parent), str(ROOT), str(Path.home()) + "/", *([host] if len(host) > 3 else [])]


@pytest.fixture
def pushed(hub, life, valuecurve, telltale) -> tuple[str, dict[str, bytes]]:
    """What all push commands print, and all files that they push, by repository and path."""
    commands = [
        ("push", "model", life.run, "robots/value"),
        ("push", "dataset", life.labelled, "robots/labelled"),
        ("push", "dataset", life.dataset, "robots/labels", "--tag", "v1"),
        ("push", "space", "robots/curves", "--checkpoint", "robots/value"),
        ("push", "metric", "robots/value_metrics"),
    ]
    printed = "".join(valuecurve(*command, *more) for command in commands for more in (["--dry-run"], []))
    files = {
        f"{type_}/{id_}/{path}": content
        for type_, id_ in hub.store.repositories
        for path, content in hub.files(type_, id_).items()
    }
    return printed, files


def test_the_token_and_secrets_are_in_no_output_log_or_file(hub, life, pushed, telltale, caplog):
    printed, files = pushed
    assert len({path.split("/")[2] for path in files}) == 5
    logged = "\n".join(record.getMessage() for record in caplog.records)
    cached = [path for path in hub.home.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    written = {
        str(path): path.read_bytes() for path in [*life.run.parent.rglob("*"), *cached] if path.is_file()
    }
    for secret in (TOKEN, SECRET):
        assert secret not in printed and secret not in logged
        assert [path for path, content in (files | written).items() if secret.encode() in content] == []
    assert TOKEN.encode() not in b"".join(
        path.read_bytes() for path in hub.folder.glob("hub/repositories/**/*.json")
    )


def test_no_place_or_name_of_this_machine_is_in_any_pushed_file(life, pushed, telltale):
    _, files = pushed
    for word in [*places(life), USER, SECRET]:
        assert [path for path, content in files.items() if word.encode() in content] == [], word


def test_what_is_pushed_is_listed_first(hub, life, valuecurve):
    listed = valuecurve("push", "model", life.run, "robots/value", "--dry-run")
    assert hub.log == []  # a dry run needs no network
    valuecurve("push", "model", life.run, "robots/value")
    for path in hub.files("model", "robots/value"):
        assert path in listed or path == ".gitattributes", path


@pytest.mark.parametrize(
    "line", ["trained by me in {home}/projects/robot", "token: {token}", "key = {secret}"]
)
def test_a_file_that_holds_what_must_stay_here_is_not_pushed(hub, life, valuecurve, telltale, tmp_path, line):
    run = tmp_path / "run"
    shutil.copytree(life.run, run)
    text = line.format(home="/home/quentinquartz", token=TOKEN, secret=SECRET)
    labels = tmp_path / "dataset"
    shutil.copytree(life.labelled, labels)
    (labels / "NOTES.md").write_text(f"# Notes\n\n{text}\n")
    printed = valuecurve("push", "dataset", labels, "robots/labelled", status=1)
    assert "NOTES.md:3" in printed and TOKEN not in printed and SECRET not in printed
    assert hub.store.repositories == {}


def test_jobs_are_printed_without_the_token(hub, valuecurve, telltale):
    recipe = ROOT / "trainer" / "recipes" / "value_270m.yaml"
    command = ("jobs", "train", recipe, "--repo", "robots/value", "--data.dataset", "robots/push")
    printed = valuecurve(*command, "--dry-run")
    assert "HF_TOKEN" in printed and TOKEN not in printed
    assert hub.jobs == {}
