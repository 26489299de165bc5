"""Value distributions of frame rows, in batches."""

import numpy as np
import torch
from rich.progress import track

from .. import ValueModel
from ..episodes import EpisodeDataset
from ..training import RobotCollator


@torch.inference_mode()
def predict(
    model: ValueModel,
    collator: RobotCollator,
    rows: np.ndarray,
    image_rows: np.ndarray | None = None,
    batch_size: int = 128,
    description: str | None = None,
) -> np.ndarray:
    """Probabilities float32 `[n, num_bins]` of frame rows `[n]`.

    `image_rows` `[n]` takes the images from other frames than the prompts; `description` shows progress.
    The model is left in evaluation mode.
    """
    model.eval()
    image_rows = rows if image_rows is None else image_rows
    starts = range(0, len(rows), batch_size)
    parts = []
    for start in track(starts, description or "", disable=description is None):
        some = slice(start, start + batch_size)
        batch = collator(rows[some], image_rows=image_rows[some])
        batch.pop("value_targets")
        logits = model(**{name: tensor.to(model.device) for name, tensor in batch.items()}).logits
        parts.append(logits.softmax(-1).cpu().numpy())
    return np.concatenate(parts)


def shuffled_between_episodes(dataset: EpisodeDataset, rows: np.ndarray, seed: int = 0) -> np.ndarray:
    """For every row, a frame of another episode of the same task at the same share of its length.

    Only what the picture shows of this very episode is taken away: the task, and how far an episode has run,
    can still be seen. So a model that reads the clock from pictures does not lose by it. Where a task has one
    episode only, the stand-in is of another task.

    Raises:
        ValueError: when the rows are of one episode only.
    """
    rng = np.random.default_rng(seed)
    episodes = np.unique(dataset.episode_index[rows])
    place = {int(episode): i for i, episode in enumerate(dataset.episode_ids)}
    position = np.array([place[int(episode)] for episode in episodes])
    if len(position) < 2:
        raise ValueError(f"{dataset.root}: one episode cannot be shuffled; give the frames of several.")
    tasks = dataset.task_index[dataset.starts[position]]
    other = np.empty(len(dataset.starts), np.int64)  # position of an episode -> position of its stand-in
    for task in np.unique(tasks):
        same = rng.permutation(position[tasks == task])
        other[same] = np.roll(same, 1) if len(same) > 1 else rng.choice(position[tasks != task])
    own = np.searchsorted(dataset.starts, rows, side="right") - 1
    share = dataset.frame_index[rows] / np.maximum(dataset.lengths[own] - 1, 1)
    stand_in = other[own]
    return dataset.starts[stand_in] + np.round(share * (dataset.lengths[stand_in] - 1)).astype(np.int64)
