"""LeRobot reads the same frames as valuecurve: the half of `make interop` that runs in .venv-lerobot.

    python tests/interop/check_lerobot.py DATASET FRAMES.npz      # FRAMES.npz by dump_frames.py

State, timestamp, task text and `next.success` must be equal. Pixels may differ by the rounding of YUV to RGB
alone, which each decoder does a little differently: MEAN_LEVELS of 255 levels an image on average, MAX_LEVELS
at most. Every video decoder that LeRobot can use here is tried (torchcodec, PyAV).
"""

import importlib.util
import sys

import lerobot
import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

# Seen: 0 and 0. The frame before or after differs by 24 levels or more somewhere, in the sample dataset.
MEAN_LEVELS = 1.0
MAX_LEVELS = 8


def video_backends() -> list[str]:
    """The decoders that work here. torchcodec is one only where the system's ffmpeg libraries are."""
    backends = ["pyav"]
    if importlib.util.find_spec("torchcodec"):
        try:
            import torchcodec.decoders  # noqa: F401

            backends.insert(0, "torchcodec")
        except (ImportError, RuntimeError, OSError) as error:
            print(f"torchcodec cannot be used here ({str(error).splitlines()[0]}); PyAV only")
    return backends


def to_uint8(image: torch.Tensor) -> np.ndarray:
    """LeRobot's image, float `[3, H, W]` in [0, 1] or uint8, as uint8."""
    return image.numpy() if image.dtype == torch.uint8 else (image * 255).round().to(torch.uint8).numpy()


def compare_frame(item: dict, ours: dict, i: int) -> list[str]:
    """What differs between LeRobot's frame and our i-th, except for the pixels."""
    pairs = {
        "episode_index": (item["episode_index"].item(), ours["episode_index"][i].item()),
        "frame_index": (item["frame_index"].item(), ours["frame_index"][i].item()),
        "timestamp": (item["timestamp"].item(), ours["timestamp"][i].item()),
        "state": (item["observation.state"].tolist(), ours["state"][i].tolist()),
        "task": (item["task"], ours["task"][i].item()),
        "next.success": (bool(item["next.success"]), bool(ours["success"][i])),
    }
    return [
        f"{name}: LeRobot {theirs!r}, valuecurve {own!r}"
        for name, (theirs, own) in pairs.items()
        if theirs != own
    ]


def compare_image(theirs: np.ndarray, own: np.ndarray) -> tuple[float, int, list[str]]:
    """Mean and largest difference in levels, and what is wrong with them."""
    if theirs.shape != own.shape:
        return 255.0, 255, [f"image shapes: LeRobot {theirs.shape}, valuecurve {own.shape}"]
    difference = np.abs(theirs.astype(int) - own.astype(int))
    mean, largest = float(difference.mean()), int(difference.max())
    bad = mean > MEAN_LEVELS or largest > MAX_LEVELS
    return mean, largest, [f"pixels differ by {mean:.2f} levels on average, {largest} at most"] if bad else []


def check(root: str, ours: dict, backend: str) -> list[str]:
    """All differences between LeRobot's reading with one video decoder and ours."""
    dataset = LeRobotDataset("local/dataset", root=root, video_backend=backend)
    problems, means, largest = [], [], []
    counts = (dataset.num_episodes, dataset.num_frames)
    if counts != (int(ours["num_episodes"]), int(ours["num_frames"])):
        problems.append(
            f"episodes and frames: LeRobot {counts}, valuecurve {ours['num_episodes'], ours['num_frames']}"
        )
    if sorted(dataset.meta.camera_keys) != sorted(ours["cameras"].tolist()):
        problems.append(f"cameras: LeRobot {dataset.meta.camera_keys}, valuecurve {ours['cameras'].tolist()}")
        return problems
    for i, row in enumerate(ours["rows"].tolist()):
        item = dataset[row]
        found = compare_frame(item, ours, i)
        for camera in ours["cameras"].tolist():
            mean, most, wrong = compare_image(to_uint8(item[camera]), ours[f"images/{camera}"][i])
            means.append(mean)
            largest.append(most)
            found += [f"{camera}: {text}" for text in wrong]
        problems += [f"row {row}: {text}" for text in found]
    print(
        f"LeRobot {lerobot.__version__} with {backend}: {len(ours['rows'])} frames, {len(means)} images; "
        f"pixels differ by {np.mean(means):.3f} levels on average, {max(largest)} at most"
    )
    return problems


def main(root: str, frames: str) -> int:
    """Exit status: 0 when every frame is equal."""
    ours = dict(np.load(frames))
    problems = [f"{backend}: {text}" for backend in video_backends() for text in check(root, ours, backend)]
    print(
        "\n".join(problems) or "equal: state, timestamps, task texts, next.success, and pixels up to rounding"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
