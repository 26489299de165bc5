"""For a visitor who has left nobody works on: the decoding process ends, and nothing is kept."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import decoding
import pytest
from checkpoints import Checkpoints
from conftest import Space  # pyright: ignore[reportAttributeAccessIssue]
from decoding import Request, read_episode
from gradio_client import Client, handle_file
from gradio_client.utils import Status
from limits import Limits, VisitorError
from results import Results
from service import Service
from tiny_datasets import bars, write_video

SECONDS = 120  # for anything on a busy machine; the time limit of decoding itself is 300
TASK = "push the puck"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in Linux's /proc")


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Long enough for a test to find the process that decodes it."""
    path = tmp_path_factory.mktemp("video") / "abandoned.mp4"
    write_video(path, [bars(1, frame, 48, 64) for frame in range(64)] * 6, fps=10)
    return path


def decoders(parent: int) -> list[int]:
    """Decoding processes that a process has started, and that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            own = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent
        except OSError:  # it has just ended
            continue
        if own and b"decode_episode.py" in command:
            found.append(int(folder.name))
    return found


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def stop_decoder(parent: int) -> None:
    """Let the decoding process come no further: of itself it does not end."""
    wait_until(lambda: decoders(parent))
    (process,) = decoders(parent)
    os.kill(process, signal.SIGSTOP)


def kept(space: Space) -> set[Path]:
    (root,) = space.temporary.glob("valuecurve-*")
    return {path for name in ("work", "results") for path in (root / name).iterdir()}


def test_a_program_that_cancels_ends_the_decoding(space, video):
    before, client = kept(space), Client(space.url, verbose=False)
    job = client.submit(videos=[handle_file(str(video))], task=TASK, api_name="/value_curve")
    stop_decoder(space.process.pid)
    wait_until(lambda: job.status().code in (Status.PROCESSING, Status.PROGRESS))  # it listens
    job.cancel()
    wait_until(lambda: not decoders(space.process.pid))
    wait_until(lambda: kept(space) <= before)
    assert len(client.predict(api_name="/models")) == 2  # the same client is served on


def test_a_page_that_is_closed_ends_the_decoding(space, visit, video):
    page, before = visit(space.url), kept(space)
    page.get_by_role("tab", name="Upload").click()
    page.set_input_files("#upload input[type=file]", [str(video)])
    page.fill("#task input", TASK)
    page.get_by_text("abandoned").first.wait_for()
    page.click("#analyse-upload")
    stop_decoder(space.process.pid)
    page.get_by_text(re.compile("Opening the episode|Reading the video")).first.wait_for()  # it listens
    page.close()
    wait_until(lambda: not decoders(space.process.pid))
    wait_until(lambda: kept(space) <= before)


def test_a_process_that_says_nothing_is_ended_when_its_visitor_leaves(video, tmp_path, monkeypatch):
    work, gone = tmp_path / "work", False

    def leave() -> bool:
        nonlocal gone
        if not gone and decoders(os.getpid()):
            stop_decoder(os.getpid())
            gone = True
        return gone

    work.mkdir()
    monkeypatch.setattr(decoding, "LOOK", 0.02)  # so that the process is not done at the first look
    request = Request(files=[str(video)])
    with pytest.raises(VisitorError, match="Nobody waits for this"):
        read_episode(request, work, tmp_path, [(32, "bicubic")], Limits(), lambda *_: None, leave)
    assert gone and decoders(os.getpid()) == []


def test_the_model_looks_no_further_and_nothing_is_kept(space_checkpoints, video, tmp_path):
    told: list[str] = []

    def show(share: float, text: str) -> None:
        told.append(text)

    def gone() -> bool:
        return any("looks at frame" in text for text in told)

    (tmp_path / "root").mkdir()
    results = Results(3600, tmp_path / "root")
    service = Service(Checkpoints({"tiny": str(space_checkpoints["tiny"])}), results, Limits(), "float32")
    with pytest.raises(VisitorError, match="Nobody waits for this"):
        service.upload([str(video)], TASK, [], "me", show, gone=gone)
    assert told[-1] == "The model looks at frame 32 of 384" and len(told) > 20
    assert not [*(tmp_path / "root" / "work").iterdir(), *(tmp_path / "root" / "results").iterdir()]
