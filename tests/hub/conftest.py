"""Fixtures of the tests against the Hub on this machine (see tests/hub_server).

The clients read HF_ENDPOINT and their folders when they are imported; `hub` changes every place that holds
them, so that most tests run without a process of their own. The library code of the clients stays as it is.
"""

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub.hf_api
import huggingface_hub.hf_file_system
import huggingface_hub.utils._cache_manager
import huggingface_hub.utils._http
import pytest
from hub_server import HubServer
from huggingface_hub import HfApi, HfFileSystem, constants
from tiny_datasets import make_dataset
from tiny_models import write_recipe
from typer.testing import CliRunner

USER, TOKEN, READ_TOKEN = "ann", "hf_ann_writes_0123456789abcdef", "hf_ann_reads_0123456789abcdef"
OTHER, OTHER_TOKEN = "bob", "hf_bob_writes_0123456789abcdef"
ORG = "robots"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub of its own for the test, and all clients of this process lead there as ann (in robots)."""
    with HubServer(tmp_path / "hub-machine") as server:
        server.add_user(USER, TOKEN, orgs=[ORG])
        server.add_user(USER, READ_TOKEN, role="read")
        server.add_user(OTHER, OTHER_TOKEN)
        lead_clients_to(server, monkeypatch, TOKEN)
        asked_for = keep_at_home(monkeypatch)
        yield server
        huggingface_hub.utils._http.close_session()
    HfFileSystem.clear_instance_cache()
    # `datasets` asks for a viewer at datasets-server.<endpoint>, and does without
    assert [name for name in asked_for if not name.startswith("datasets-server.")] == []


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """The client of ann."""
    return HfApi()


@pytest.fixture
def hub_env(hub: HubServer) -> dict[str, str]:
    """The environment of a process that talks to `hub` as ann."""
    return hub.env(TOKEN)


@dataclass
class Life:
    """What the commands made: a training run, the dataset with scores and labels `v1`, and its export."""

    run: Path
    dataset: Path
    labelled: Path


@pytest.fixture(scope="session")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A tiny model trained, a dataset scored and labelled with it, and exported. Read only."""
    from valuecurve.training import load_config, train

    folder = tmp_path_factory.mktemp("life")
    source = make_dataset(folder / "dataset")
    train(load_config(write_recipe(folder / "recipe.yaml", source, folder / "run")))
    valuecurve("score", folder / "run" / "model", source, "--tag", "v1")
    valuecurve("label", source, "--tag", "v1", "--horizon", 4)
    export = ("--format", "lerobot", "--output", folder / "labelled")
    valuecurve("export", source, "--tag", "v1", *export)
    return Life(folder / "run", source, folder / "labelled")


def valuecurve(*command: object, status: int = 0) -> str:
    """What a command prints, both streams; it must exit with `status`."""
    from valuecurve.cli import app

    done = CliRunner().invoke(app, [str(part) for part in command])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture(name="valuecurve")
def valuecurve_fixture():
    return valuecurve


def keep_at_home(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of other machines are not looked up; the list of those that were asked for."""
    look_up, asked_for = socket.getaddrinfo, []

    def local_only(host, *arguments, **options):
        name = host.decode() if isinstance(host, bytes) else host
        if name in (None, "", "localhost", "127.0.0.1", "0.0.0.0", "::1", socket.gethostname()):
            return look_up(host, *arguments, **options)
        asked_for.append(name)
        raise socket.gaierror(socket.EAI_NONAME, f"{name} is not looked up in tests")

    monkeypatch.setattr(socket, "getaddrinfo", local_only)
    return asked_for


def lead_clients_to(server: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None) -> None:
    """Point every client that is imported, or will be, to a server and to a home of its own."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        monkeypatch.delenv(name)
    for name, value in server.variables(token).items():
        monkeypatch.setenv(name, value)
    home = server.home
    _change(
        monkeypatch,
        constants,
        ENDPOINT=server.url,
        HUGGINGFACE_CO_URL_TEMPLATE=server.url + "/{repo_id}/resolve/{revision}/{filename}",
        HF_URL_HOSTS=constants.HF_URL_HOSTS | {"127.0.0.1"},
        HF_HOME=str(home),
        HF_HUB_CACHE=str(home / "hub"),
        HUGGINGFACE_HUB_CACHE=str(home / "hub"),
        HF_ASSETS_CACHE=str(home / "assets"),
        HF_TOKEN_PATH=str(home / "token"),
        HF_STORED_TOKENS_PATH=str(home / "stored_tokens"),
        AGENT_HARNESSES_PATH=str(home / ".agent_harnesses.json"),
        HF_HUB_DISABLE_XET=True,
        HF_HUB_DISABLE_TELEMETRY=True,
        HF_HUB_DISABLE_PROGRESS_BARS=True,
        HF_HUB_OFFLINE=False,
    )
    http = huggingface_hub.utils._http
    _change(monkeypatch, http, _HUB_ORIGINS=http._HUB_ORIGINS | {("http", "127.0.0.1", server.port)})
    _change(monkeypatch, huggingface_hub.utils._cache_manager, HF_HUB_CACHE=str(home / "hub"))
    for holder in (huggingface_hub.hf_api.api, huggingface_hub.hf_file_system.hffs._api):
        monkeypatch.setattr(holder, "endpoint", server.url)
    monkeypatch.setattr(huggingface_hub.hf_file_system.hffs, "endpoint", server.url)
    _change_libraries(monkeypatch, server.url, home)
    http.close_session()  # one that reads the proxy variables anew
    HfFileSystem.clear_instance_cache()


def _change_libraries(monkeypatch: pytest.MonkeyPatch, url: str, home: Path) -> None:
    """Those that are imported already; the others will read the environment."""
    datasets = sys.modules.get("datasets.config")
    if datasets:
        _change(
            monkeypatch,
            datasets,
            HF_ENDPOINT=url,
            HUB_DATASETS_URL=url + "/datasets/{repo_id}/resolve/{revision}/{path}",
            HF_CACHE_HOME=str(home),
            HF_DATASETS_CACHE=home / "datasets",
            HF_MODULES_CACHE=home / "modules",
            DOWNLOADED_DATASETS_PATH=home / "datasets" / "downloads",
            EXTRACTED_DATASETS_PATH=home / "datasets" / "downloads" / "extracted",
            HF_HUB_OFFLINE=False,
            HF_DATASETS_OFFLINE=False,
            HF_UPDATE_DOWNLOAD_COUNTS=False,
        )
    evaluate = sys.modules.get("evaluate.config")
    if evaluate:
        _change(
            monkeypatch,
            evaluate,
            HF_ENDPOINT=url,
            HF_LIST_ENDPOINT=url + "/api/spaces?filter={type}",
            HUB_EVALUATE_URL=url + "/spaces/{path}/resolve/{revision}/{name}",
            HF_CACHE_HOME=str(home),
            HF_EVALUATE_CACHE=home / "evaluate",
            HF_METRICS_CACHE=home / "metrics",
            HF_MODULES_CACHE=home / "modules",
            HF_UPDATE_DOWNLOAD_COUNTS=False,
        )
    for name in ("transformers.utils.hub", "transformers.utils", "transformers.dynamic_module_utils"):
        if name in sys.modules:
            _change(monkeypatch, sys.modules[name], HF_MODULES_CACHE=str(home / "modules"))
    transformers = sys.modules.get("transformers.utils.hub")
    if transformers:  # it keeps one client for the process
        monkeypatch.setattr(transformers, "_hf_api", None)
    if "gradio.workflow" in sys.modules:
        monkeypatch.setattr(sys.modules["gradio.workflow"]._hf_api, "endpoint", url)
    monkeypatch.setattr(sys, "path", list(sys.path))  # transformers adds the folder of its modules


def _change(monkeypatch: pytest.MonkeyPatch, holder: object, **values: object) -> None:
    """Set attributes that exist: a client that renames one shall be noticed here."""
    for name, value in values.items():
        monkeypatch.setattr(holder, name, value)
