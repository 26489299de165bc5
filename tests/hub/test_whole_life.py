"""A whole life on the Hub, by the commands that people type: from a run of training to the Space."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from programs import tied
from tiny_models import TASKS

ROOT = Path(__file__).parents[2]
TOKEN = "hf_" + "LfWhOlEzYxWvUtSrQpOnMlKj" + "9876543210"
MARKED = "marked-value-of-this-environment"
MODEL, DATA, LABELS, SPACE = "robots/value", "robots/push", "robots/labels", "robots/curves"
PATIENCE = 300  # seconds, on a machine that is busy

STRANGER = """
import json, sys
sys.modules["valuecurve"] = None  # it is installed here: hide it
from huggingface_hub import snapshot_download
from transformers import AutoModel, pipeline
model = AutoModel.from_pretrained("robots/value", trust_remote_code=True)
curves = pipeline("value-estimation", model="robots/value", trust_remote_code=True)
curve = curves(snapshot_download("robots/push", repo_type="dataset"), episode=0)
print(json.dumps({"class": type(model).__name__, "value": curve["value"].tolist()}))
"""

APP = """
import runpy, sys
sys.path[:] = [place for place in sys.path if place not in ("", sys.argv[1])]  # nothing of the repository
sys.argv = ["app.py"]
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.mark.slow
def test_train_push_load_score_label_push_stream_and_show(hub, api, life, valuecurve, tmp_path, monkeypatch):
    import datasets

    hub.add_user("ann", TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("WANDB_API_KEY", MARKED)
    values = tmp_path / "values"

    # a model and a dataset go up; somebody without this package loads both by name
    printed = valuecurve("push", "model", life.run, MODEL)
    printed += valuecurve("push", "dataset", life.dataset, DATA)
    environment = hub.env(TOKEN)
    seen = run(environment, tmp_path, "-c", STRANGER)

    # scored and labelled by names, the labels go up, and are streamed
    printed += valuecurve("score", MODEL, DATA, "--tag", "v1", "--values", values)
    printed += valuecurve("label", DATA, "--tag", "v1", "--values", values, "--horizon", 4)
    printed += valuecurve("push", "dataset", DATA, LABELS, "--tag", "v1", "--values", values)
    labels = pyarrow.parquet.read_table(values / "v1" / "labels.parquet").to_pydict()
    rows = list(datasets.load_dataset(LABELS, "v1", split="train", streaming=True))
    assert [row["positive"] for row in rows] == labels["positive"]
    assert [row["advantage"] for row in rows] == pytest.approx(labels["advantage"], nan_ok=True)
    first = [row["value"] for row in rows if row["episode_index"] == 0]
    stranger = json.loads(seen.splitlines()[-1])
    assert stranger["class"] == "ValueModel"
    np.testing.assert_allclose(stranger["value"], first, atol=1e-4)

    # the Space goes up, and runs from what was pushed
    printed += valuecurve("push", "space", SPACE, "--checkpoint", MODEL)
    folder = Path(api.snapshot_download(SPACE, repo_type="space", local_dir=tmp_path / "space"))
    set_there = {name: item.value for name, item in api.get_space_variables(SPACE).items()}
    assert MODEL in set_there["VALUECURVE_CHECKPOINTS"]
    videos = sorted((life.dataset / "videos").rglob("file-000.mp4"))
    with App(folder, environment | set_there, tmp_path) as url:
        curve = ask(url, videos)
    assert len(curve["models"][0]["value"]) == curve["frames"] > 0
    assert all(-1 <= value <= 0 for value in curve["models"][0]["value"])

    # nothing private went up, or was printed
    log = (tmp_path / "app.log").read_text()
    for secret in (TOKEN, MARKED, str(life.run.parent)):
        for type_, id_ in hub.store.repositories:
            files = hub.files(type_, id_)
            assert [path for path, content in files.items() if secret.encode() in content] == []
        assert secret == str(life.run.parent) or secret not in printed + seen + log


def run(environment: dict[str, str], folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class App:
    """The Space's app in a process of its own: its address while it runs."""

    def __init__(self, folder: Path, environment: dict[str, str], scratch: Path) -> None:
        self.log = scratch / "app.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        more = {
            "PORT": self.url.split(":")[-1].strip("/"),
            "VALUECURVE_DTYPE": "float32",
            "OMP_NUM_THREADS": "1",
        }
        kept = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
        self.output = self.log.open("wb")
        self.process = subprocess.Popen(
            tied("-c", APP, str(ROOT)),
            cwd=folder,
            env=kept | more,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> str:
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self.url

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait(timeout=60)
        self.output.close()

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.url, timeout=30):
                    return
            except OSError:
                time.sleep(0.5)
        pytest.fail(f"the Space's app does not answer:\n{self.log.read_text()[-3000:]}")


def ask(url: str, videos: list[Path]) -> dict:
    """The curve of an episode that is uploaded."""
    from gradio_client import Client, handle_file

    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    client = Client(url, verbose=False)
    files = [handle_file(str(path)) for path in videos]
    options = {"fps": None, "model": "", "compare": "", "state": None, "episode": 0}
    return client.submit(videos=files, task=TASKS[0], api_name="/value_curve", **options).result(
        timeout=PATIENCE
    )
