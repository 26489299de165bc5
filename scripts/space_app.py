"""The Space as a program needs it: started in a process of its own, and ended when no longer needed."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "outputs" / "demo" / "model"
NAMES = ("value-tiny", "value-other")
WAIT = 180  # seconds that the app may take to answer


@dataclass
class RunningSpace:
    url: str  # with a slash at its end
    pid: int


@contextmanager
def running_space(checkpoints: Sequence[Path]) -> Iterator[RunningSpace]:
    """The app with these one or two checkpoints, answering.

    Raises:
        SystemExit: there is no checkpoint, or the app does not start.
    """
    for place in checkpoints:
        if not (place / "config.json").is_file():
            sys.exit(f"error: {place} holds no checkpoint; `make demo` trains one into outputs/demo/model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = zip(NAMES, checkpoints, strict=False)
    with tempfile.TemporaryDirectory() as temporary:
        environment = os.environ | {
            "VALUECURVE_CHECKPOINTS": ", ".join(f"{name}={place.resolve()}" for name, place in names),
            "PORT": str(port),
            "TMPDIR": temporary,
            "HF_HUB_OFFLINE": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT / "spaces" / "value_curves",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}/"
            _wait(url, process)
            yield RunningSpace(url, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)


def find_chromium() -> str | None:
    """Path of a Chromium that Playwright can drive, or None."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


def _wait(url: str, process: subprocess.Popen) -> None:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"error: the app ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=30).close()
            return
        except OSError:
            time.sleep(0.5)
    sys.exit(f"error: the app did not answer within {WAIT} s")
