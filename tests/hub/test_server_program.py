"""`make hub`: the program that people start."""

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from huggingface_hub import HfApi

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.hub_server"]


def test_the_program_says_what_to_export_serves_and_stops(tmp_path):
    command = [*COMMAND, "--port", "0", "--folder", str(tmp_path)]
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output)
    try:
        for _ in range(1200):
            if "load_dataset" in log.read_text() or process.poll() is not None:
                break
            time.sleep(0.1)
        exported = dict(re.findall(r"(HF_\w+)=(\S+)", log.read_text()))
        assert exported["HF_HUB_DISABLE_XET"] == "1" and exported["HF_HOME"].startswith(str(tmp_path))
        api = HfApi(endpoint=exported["HF_ENDPOINT"], token=exported["HF_TOKEN"])
        assert api.whoami()["name"] == "me"
        api.create_repo("robots/value")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert log.read_text().strip().endswith("stopped")
    finally:
        process.kill()
        process.wait(timeout=60)


def test_a_port_that_is_taken_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [*COMMAND, "--port", port, "--folder", str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert re.fullmatch(rf"error: port {port} cannot be used \(.+\); try --port", done.stderr.strip())
