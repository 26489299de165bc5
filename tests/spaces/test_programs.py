"""What tests start, and how it ends."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is tied to its parent is Linux's")


def test_a_program_that_a_test_has_started_does_not_outlive_it():
    """Neither when the tests are ended the hard way, as their time limit does."""
    mother = f"""
import os, subprocess, sys
sys.path.insert(0, {str(TESTS)!r})
from programs import tied
sleeper = "import time; print('here', flush=True); time.sleep(300)"
child = subprocess.Popen(tied("-c", sleeper), stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
os._exit(1)
"""
    done = subprocess.run([sys.executable, "-c", mother], capture_output=True, text=True, timeout=120)
    pid, end = int(done.stdout), time.monotonic() + 60
    while Path(f"/proc/{pid}/cmdline").is_file() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < end, "the program is still there"
        time.sleep(0.1)
