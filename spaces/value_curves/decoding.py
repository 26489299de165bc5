"""Starts the decoding process for an episode, resizes its frames for the models, and ends it when it must.

The process (decode_episode.py) reads what visitors send; this side reads what that process writes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from limits import LEFT, Limits, VisitorError

from valuecurve.processing_value import resize_images

PROGRAM = Path(__file__).with_name("decode_episode.py")
# What the process may know of the environment: where Python, its packages and the Hub are; no secret.
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE")
KEPT_PREFIXES = ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", "VALUECURVE_CACHE")
Size = tuple[int, str]  # side in pixels and interpolation, as of a processor
Progress = Callable[[float, str], None]  # share that is done, and what is being done
SPACE_CACHE_GB = 10  # videos of the Hub that are kept on a Space, whose disk has 50 GB in all
LOOK = 1.0  # seconds between two looks at whether the visitor is still there


@dataclass
class Request:
    """Which episode is to be read: of a dataset, or of uploaded files."""

    files: list[str] = field(default_factory=list)
    state: str | None = None
    fps: float | None = None
    dataset: str | None = None  # org/name[@revision], or a folder of the app's own
    name: str | None = None  # what the dataset is called, if not as its last part
    episode: int = 0


@dataclass
class Episode:
    """A decoded episode of T frames. Its frames lie in files, its videos in the folder of the result."""

    cameras: list[str]
    videos: list[str]  # file names, one a camera
    fps: float
    tasks: dict[int, str]  # by task_index; empty: the visitor says what the task is
    task_index: np.ndarray  # int64 [T]
    state: np.ndarray | None  # float64 [T, D]
    success: bool | None
    dataset: str | None
    episode: int | None
    episodes: int
    notes: list[str]
    frames: dict[Size, list[np.ndarray]]  # for each camera uint8 [T, 3, side, side]

    def __len__(self) -> int:
        return len(self.task_index)


def nobody_leaves() -> bool:
    """`gone` of those who wait to the end."""
    return False


def read_episode(
    request: Request,
    work: Path,
    videos: Path,
    sizes: Sequence[Size],
    limits: Limits,
    progress: Progress,
    gone: Callable[[], bool] = nobody_leaves,
) -> Episode:
    """Decode an episode.

    Args:
        work: an empty folder, to be removed when the frames are no longer needed.
        videos: folder of the browser's videos.
        sizes: what the models look at.
        gone: whether the visitor has left; the process is ended then.

    Raises:
        VisitorError: it cannot be read, it is beyond the limits, or the visitor has left.
    """
    path = work / "request.json"
    about = asdict(request) | {"limits": asdict(limits), "work": str(work), "videos": str(videos)}
    path.write_text(json.dumps(about))
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path)],
        cwd=work,
        env=environment(work),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=(work / "log").open("wb"),
        start_new_session=True,
    )
    late, over = threading.Event(), threading.Event()
    end = time.monotonic() + limits.decode_seconds

    def watch() -> None:
        while not over.wait(min(LOOK, limits.decode_seconds)):
            if time.monotonic() >= end:
                late.set()
            if late.is_set() or gone():
                return kill(process)

    watcher = threading.Thread(target=watch, name="watch decoding", daemon=True)
    watcher.start()
    try:
        return _receive(process, work, sizes, limits, progress)
    except _Ended as ended:
        if gone():
            raise VisitorError(LEFT) from ended
        if late.is_set():
            raise VisitorError(
                f"Reading this took longer than {limits.decode_seconds:.0f} s: send a shorter or smaller "
                "video."
            ) from ended
        raise VisitorError(
            "Reading this failed: the file is damaged, or needs more memory than a visitor has here. Export "
            "the "
            "video again as MP4 (H.264), smaller if it is large."
        ) from ended
    finally:
        over.set()
        watcher.join()
        kill(process)
        process.wait(60)
        if process.stdout:
            process.stdout.close()


def environment(work: Path) -> dict[str, str]:
    """The environment of the decoding process."""
    kept = {
        name: value for name, value in os.environ.items() if name in KEPT or name.startswith(KEPT_PREFIXES)
    }
    cache = Path.home() / ".cache"
    bound = {"VALUECURVE_CACHE_GB": str(SPACE_CACHE_GB)} if os.environ.get("SPACE_ID") else {}
    return {
        "VALUECURVE_CACHE": str(cache / "valuecurve"),
        **bound,
        **kept,
        "HOME": str(work),
        "TMPDIR": str(work),
        "HF_HOME": os.environ.get("HF_HOME") or str(cache / "huggingface"),
        "HF_TOKEN_PATH": str(work / "no_token"),  # visitors read public datasets, whoever owns this Space
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def kill(process: subprocess.Popen) -> None:
    """End the process and whatever it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class _Ended(Exception):
    """The process ended before it was done."""


def _receive(
    process: subprocess.Popen, work: Path, sizes: Sequence[Size], limits: Limits, progress: Progress
) -> Episode:
    torch.set_num_threads(1)  # of this thread: others score meanwhile
    source, store, seen = None, None, 0
    while True:
        message = _message(process)
        if "error" in message:
            raise VisitorError(message["error"])
        if "done" in message:
            if source is None or store is None:
                raise _Ended
            return _episode(source, work, store.close())
        if "source" in message:
            source = message["source"]
            _check(source, limits)
            store = _Store(work, sizes, len(source["cameras"]), source["frames"])
            continue
        if store is None or source is None:
            raise _Ended
        image = _image(process, message, limits)
        store.add(int(message["frame"]), image)
        seen += 1
        if seen % 16 == 0:
            total = source["frames"] * len(source["cameras"])
            progress(seen / total, f"Reading the video: frame {seen} of {total}")


def _message(process: subprocess.Popen) -> dict:
    assert process.stdout is not None
    line = process.stdout.readline(1 << 20)
    if not line.endswith(b"\n"):
        raise _Ended
    return json.loads(line)


def _image(process: subprocess.Popen, message: dict, limits: Limits) -> torch.Tensor:
    """The bytes behind a message, uint8 [1, 3, H, W]."""
    assert process.stdout is not None
    height, width = int(message["height"]), int(message["width"])
    if not 0 < height * width <= limits.pixels:
        raise VisitorError(
            f"The video is {width} × {height} pixels, at most {limits.pixels / 1e6:.1f} million are read: "
            "make it smaller."
        )
    data = process.stdout.read(height * width * 3)
    if len(data) != height * width * 3:
        raise _Ended
    return (
        torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(1, height, width, 3).permute(0, 3, 1, 2)
    )


def _check(source: dict, limits: Limits) -> None:
    """What the process must have seen to; it may have been taken over by what it read."""
    if not 0 < source["frames"] <= limits.frames or not 0 < len(source["cameras"]) <= limits.cameras:
        raise _Ended


class _Store:
    """Resized frames in files, one for each size and camera."""

    def __init__(self, work: Path, sizes: Sequence[Size], cameras: int, frames: int):
        self.frames, self.counts = frames, [0] * cameras
        self.paths = {
            size: [work / f"{size[0]}-{size[1]}-{camera}.frames" for camera in range(cameras)]
            for size in dict.fromkeys(sizes)
        }
        self.files = {size: [path.open("wb") for path in paths] for size, paths in self.paths.items()}

    def add(self, camera: int, image: torch.Tensor) -> None:
        if not 0 <= camera < len(self.counts) or self.counts[camera] >= self.frames:
            raise _Ended
        self.counts[camera] += 1
        for (side, resample), files in self.files.items():
            files[camera].write(resize_images(image, side, resample).numpy().tobytes())

    def close(self) -> dict[Size, list[np.ndarray]]:
        if any(count != self.frames for count in self.counts):
            raise _Ended
        for files in self.files.values():
            for file in files:
                file.close()
        return {
            size: [np.memmap(path, np.uint8, "r", shape=(self.frames, 3, size[0], size[0])) for path in paths]
            for size, paths in self.paths.items()
        }


def _episode(source: dict, work: Path, frames: dict[Size, list[np.ndarray]]) -> Episode:
    return Episode(
        cameras=[str(name) for name in source["cameras"]],
        videos=[f"video-{camera}.mp4" for camera in range(len(source["cameras"]))],
        fps=float(source["fps"]),
        tasks={int(index): str(text) for index, text in source["tasks"].items()},
        task_index=np.load(work / "task_index.npy", allow_pickle=False),
        state=np.load(work / "state.npy", allow_pickle=False) if source["state"] else None,
        success=source["success"],
        dataset=source["dataset"],
        episode=source["episode"],
        episodes=int(source["episodes"]),
        notes=[str(note) for note in source["notes"]],
        frames=frames,
    )


def forget(work: Path) -> None:
    """Remove a working folder with all that was unpacked and decoded."""
    shutil.rmtree(work, ignore_errors=True)
