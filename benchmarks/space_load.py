"""How does the Space bear many visitors at once?

    python benchmarks/space_load.py        # 20 visitors, two episodes each, the demo checkpoint
    python benchmarks/space_load.py --visitors 5 --rounds 1 --results none

All visitors start together. Each uploads a video of its own through the API, waits for its curve, and does so
again; every fourth asks for shipped examples instead. Beside them one Chromium, where there is one, opens the
page and clicks an example, again and again, until the others are done. An answer that is not the curve of
that visitor's own video is an error.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from gradio_client import Client, handle_file
from pages import write_between

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from space_app import DEMO, find_chromium, running_space  # noqa: E402

PATIENCE = 600  # seconds that an answer may take
SIZE, FPS = (240, 320), 10
UPLOAD, EXAMPLE, PAGE = "upload → curve", "example → curve", "page and example, Chromium"


class Tally:
    """Seconds and errors by kind, from many threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.errors: list[str] = []
        self._lock = threading.Lock()

    def time(self, kind: str, action: Callable[[], None]) -> None:
        """Runs the action; whatever it raises is counted, and the visitor goes on."""
        start = time.perf_counter()
        try:
            action()
        except Exception as error:
            with self._lock:
                self.errors.append(f"{kind}: {type(error).__name__}: {error}")
            return
        with self._lock:
            self.seconds.setdefault(kind, []).append(time.perf_counter() - start)

    def table(self) -> str:
        """Median, 95% and longest of each kind as Markdown."""
        lines = ["| | answers | median | 95% | longest |", "|---|---:|---:|---:|---:|"]
        for kind in (UPLOAD, EXAMPLE, PAGE):
            if seconds := self.seconds.get(kind):
                numbers = [np.quantile(seconds, share) for share in (0.5, 0.95, 1.0)]
                lines.append(
                    f"| {kind} | {len(seconds)} | " + " | ".join(f"{n:.1f} s" for n in numbers) + " |"
                )
        return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", help="of an app that runs already; by default one is started")
    parser.add_argument("--checkpoint", type=Path, default=DEMO)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2, help="episodes of each visitor")
    parser.add_argument("--frames", type=int, default=60, help="of an uploaded video")
    parser.add_argument("--results", default=str(ROOT / "benchmarks" / "RESULTS.md"), help="a page, or none")
    arguments = parser.parse_args(argv)
    load = (arguments.visitors, arguments.rounds, arguments.frames)
    memory = None
    if arguments.url:
        tally = visit_all(arguments.url, *load)
    else:
        with running_space([arguments.checkpoint]) as space:
            tally = visit_all(space.url, *load)
            memory = peak_memory(space.pid)
    text = report(tally, *load, memory)
    print(text)
    for error in tally.errors:
        print(f"error: {error}", file=sys.stderr)
    if not tally.errors and arguments.results != "none":
        write_between(Path(arguments.results), "space_load", text)
    return 1 if tally.errors else 0


def visit_all(url: str, visitors: int, rounds: int, frames: int) -> Tally:
    """All visitors at once, and one browser beside them."""
    tally, done = Tally(), threading.Event()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(visitors + 1) as pool:
        videos = [make_video(Path(folder, f"visitor{i}.mp4"), frames + i, seed=i) for i in range(visitors)]
        browser = pool.submit(browse, url, tally, done)
        start = threading.Barrier(visitors)
        tasks = [
            pool.submit(visitor, url, video, frames + i, rounds, i % 4 == 3, tally, start)
            for i, video in enumerate(videos)
        ]
        for task in tasks:
            task.result()
        done.set()
        browser.result()
    return tally


def visitor(
    url: str, video: Path, frames: int, rounds: int, examples: bool, tally: Tally, start: threading.Barrier
) -> None:
    """One visitor: its own connection, its own video, which no other has as many frames of."""
    try:
        client = Client(url, verbose=False)
    except Exception as error:
        start.abort()
        tally.errors.append(f"connecting: {error}")
        return

    def upload() -> None:
        curve = client.submit(
            [handle_file(str(video))],
            "push the puck to the goal",
            None,
            "",
            "",
            None,
            0,
            api_name="/value_curve",
        ).result(PATIENCE)
        if curve["frames"] != frames or len(curve["models"][0]["value"]) != frames:
            raise ValueError(f"a video of {frames} frames was answered with {curve['frames']} values")

    def example(number: int) -> None:
        curve = client.submit(str(number % 6), "", "", api_name="/example_curve").result(PATIENCE)
        if len(curve["models"][0]["value"]) != curve["frames"]:
            raise ValueError(f"example {number % 6}: {len(curve['models'][0]['value'])} values")

    try:
        start.wait(PATIENCE)
    except threading.BrokenBarrierError:
        return
    for i in range(rounds):
        if examples:
            tally.time(EXAMPLE, lambda i=i: example(i + frames))
        else:
            tally.time(UPLOAD, upload)


def browse(url: str, tally: Tally, done: threading.Event) -> None:
    """One person with a browser, at least once, until the others are done."""
    chromium = find_chromium()
    if chromium is None:
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])

        def look() -> None:
            context = browser.new_context()
            try:
                context.set_default_timeout(PATIENCE * 1000)
                page = context.new_page()
                page.goto(url)
                page.click("#examples button[data-example]")
                page.wait_for_selector('.vc[data-state="ready"]')
            finally:
                context.close()

        while True:
            tally.time(PAGE, look)
            if done.is_set():
                break
        browser.close()


def make_video(path: Path, frames: int, seed: int) -> Path:
    """A square that moves over a gradient, H.264."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    background = np.stack([x % 256, y % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    place, speed = random.integers(0, 200, 2), random.integers(-4, 5, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for t in range(frames):
            picture = background.copy()
            top, left = (place + t * speed) % 200
            picture[top : top + 40, left : left + 40] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def peak_memory(pid: int) -> float | None:
    """The most memory that the app's own process has taken, GB; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("VmHWM")]
    return int(found[0].split()[1]) / 1e6 if found else None


def report(tally: Tally, visitors: int, rounds: int, frames: int, memory: float | None) -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    held = "" if memory is None else f" The app's process took {memory:.1f} GB at most."
    each = f"{rounds} episode{'s' if rounds > 1 else ''} each, videos of {frames} frames or a few more"
    return (
        f"{visitors} visitors at once, {each}, on {cores} cores: "
        f"{len(tally.errors)} errors.{held} {date.today()}.\n\n{tally.table()}"
    )


if __name__ == "__main__":
    sys.exit(main())
