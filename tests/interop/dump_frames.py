"""Writes what valuecurve.episodes reads of some episodes: the half of `make interop` that runs in .venv.

    python tests/interop/dump_frames.py DATASET FRAMES.npz

First, middle and last frame of episodes spread over the dataset, for check_lerobot.py to compare.
"""

import argparse
from pathlib import Path

import numpy as np

from valuecurve.episodes import EpisodeDataset, decode_video, open_dataset


def sample_rows(dataset: EpisodeDataset, num_episodes: int) -> tuple[list[int], np.ndarray]:
    """Positions of `num_episodes` episodes from first to last, and the rows `[n]` of their three frames."""
    count = len(dataset.lengths)
    chosen = np.unique(np.linspace(0, count - 1, min(num_episodes, count)).round().astype(int))
    starts, lengths = np.asarray(dataset.starts)[chosen], np.asarray(dataset.lengths)[chosen]
    rows = np.stack([starts, starts + (lengths - 1) // 2, starts + lengths - 1], axis=1)
    return chosen.tolist(), np.unique(rows)


def read_images(dataset: EpisodeDataset, camera: str, episodes: list[int], rows: np.ndarray) -> np.ndarray:
    """Frames of `camera` at `rows`, uint8 `[n, 3, H, W]`, through the project's sequential decoder."""
    found = {}
    for first, chunk in decode_video(dataset, camera, episodes=episodes):
        for row in rows[(rows >= first) & (rows < first + len(chunk))]:
            found[int(row)] = chunk[row - first]
    return np.stack([found[int(row)] for row in rows])


def dump(root: str, path: Path, num_episodes: int = 8) -> None:
    """Write the sampled frames of the dataset at `root` to `path` (npz)."""
    dataset = open_dataset(root)
    positions, rows = sample_rows(dataset, num_episodes)
    episodes = [int(dataset.episodes["episode_index"][i].as_py()) for i in positions]
    columns = dataset.frames.take(rows)
    out = {
        "rows": rows,
        "episode_index": columns["episode_index"].to_numpy(),
        "frame_index": columns["frame_index"].to_numpy(),
        "timestamp": columns["timestamp"].to_numpy(),
        "state": dataset.states[rows],
        "success": columns["next.success"].to_numpy(zero_copy_only=False),
        "task": np.array([dataset.tasks[i] for i in np.asarray(dataset.task_index)[rows]]),
        "cameras": np.array(list(dataset.cameras)),
        "num_frames": np.array(dataset.frames.num_rows),
        "num_episodes": np.array(dataset.episodes.num_rows),
    }
    for camera in dataset.cameras:
        out[f"images/{camera}"] = read_images(dataset, camera, episodes, rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **out)
    print(f"valuecurve: {len(rows)} frames of {len(episodes)} episodes of {root} written to {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="dataset folder")
    parser.add_argument("frames", type=Path, help="npz to write")
    parser.add_argument("--episodes", type=int, default=8, help="how many episodes to sample (default 8)")
    args = parser.parse_args()
    dump(args.dataset, args.frames, args.episodes)
