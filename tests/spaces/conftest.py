"""The Space's app, really running: one process for all tests, with two tiny checkpoints of random weights."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from programs import tied
from tiny_models import make_checkpoint

ROOT = Path(__file__).parent.parent.parent
SPACE = ROOT / "spaces" / "value_curves"
SECRET = "hf_this-is-no-token-but-must-be-seen-nowhere"
START = 300  # seconds that the app may take to answer on a machine that is busy

sys.path.insert(0, str(SPACE))  # tests import the Space's modules by their names
sys.path.insert(0, str(Path(__file__).parent))

from browsing import browser, visit  # noqa: E402, F401


@dataclass
class Space:
    """The running app. `log`: what it has printed; `temporary`: where all it writes must be."""

    url: str
    checkpoints: dict[str, Path]
    log: Path
    temporary: Path
    process: subprocess.Popen


@pytest.fixture(scope="session")
def space_checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Checkpoints by name, fitted to the examples: "tiny", and "tiny-state", which reads the state too."""
    places = {}
    for name, state in (("tiny", False), ("tiny-state", True)):
        folder = tmp_path_factory.mktemp(name)
        make_checkpoint(folder, SPACE / "examples", data={"use_state": state}, seed=len(places))
        places[name] = folder / "model"
    return places


@pytest.fixture(scope="session")
def space(space_checkpoints, tmp_path_factory):
    """The app in a process of its own, ended when the tests are over."""
    folder = tmp_path_factory.mktemp("space")
    (folder / "tmp").mkdir()
    log = folder / "log.txt"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRADIO_")}
    environment |= {
        "VALUECURVE_CHECKPOINTS": ", ".join(f"{name}={place}" for name, place in space_checkpoints.items()),
        "VALUECURVE_DTYPE": "float32",
        "HF_HUB_OFFLINE": "1",
        "HF_TOKEN": SECRET,
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TMPDIR": str(folder / "tmp"),
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            tied("app.py"),
            cwd=SPACE,
            env=environment | {"PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}/"
        wait_for(url, process, log)
        yield Space(url, space_checkpoints, log, folder / "tmp", process)
    finally:
        process.kill()
        process.wait(60)


@pytest.fixture(scope="session")
def space_url(space) -> str:
    """Address of the running app, with a slash at its end."""
    return space.url


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    """Until the app answers. Fails with its log when it ends, or takes too long."""
    end = time.monotonic() + START
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"the app ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the app did not answer within {START} s:\n{log.read_text()[-3000:]}")
