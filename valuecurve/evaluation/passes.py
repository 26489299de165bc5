"""One pass of a model over frames that lie in a frame store, also with pictures or words that are not theirs.

A pass gives the distribution of every frame; what is shown instead of a frame's own picture, and said instead
of its own task, makes the probes (probes.py). Letters: n frames, F frames a sample (1, or 2 for pairs),
C cameras, S pixels, K bins.
"""

from collections import deque
from concurrent.futures import Future
from tempfile import TemporaryFile

import numpy as np
import torch

from ..episodes import DatasetError, FrameStore
from ..episodes.progress import frame_bar
from ..processing_value import TokenRows
from ..scoring.forward import Forward
from ..scoring.job import Job

IN_MEMORY = 2**28  # bytes: 334,000 frames at 201 bins


def predict_distributions(
    forward: Forward,
    job: Job,
    store: FrameStore,
    rows: np.ndarray,
    shown: np.ndarray | None = None,
    said: dict[str, str] | None = None,
    text: str = "frames",
    progress: bool = False,
) -> np.ndarray:
    """Distributions float32 [n, K] of rows int64 [n] of whole episodes; every row goes through once.

    Args:
        shown: int64 [n], the rows whose pictures are shown in place of those of `rows`.
        said: {task: the text that is said instead}.

    Raises:
        DatasetError: a probability that is not a number.
    """
    bins = job.checkpoint.model.config.num_bins
    result = big_array((len(rows), bins))
    pictures = _picture_rows(job, rows, rows if shown is None else shown)
    running: deque[tuple[slice, Future[np.ndarray]]] = deque()
    with frame_bar(text, len(rows), progress) as advance:

        def collect() -> None:
            some, future = running.popleft()
            result[some] = future.result()
            advance(len(rows[some]))

        for start in range(0, len(rows), job.settings.batch_size):
            some = slice(start, start + job.settings.batch_size)
            prompts = _prompts(job, rows[some], said)
            running.append(
                (some, forward.submit(_distributions, forward, job, store, pictures[some], prompts))
            )
            if len(running) > forward.threads:
                collect()
        while running:
            collect()
    wrong = np.flatnonzero(~np.isfinite(result).all(axis=1))
    if len(wrong):
        raise DatasetError(
            f"{job.dataset.where(int(rows[wrong[0]]))}: the checkpoint's value is not a number. Its weights "
            f"are broken, or too large for {job.dtype}: try --dtype float32"
        )
    return result


def big_array(shape: tuple[int, int]) -> np.ndarray:
    """float32, not yet filled; a large one lies in a temporary file, which is gone with the array."""
    if 4 * shape[0] * shape[1] <= IN_MEMORY:
        return np.empty(shape, np.float32)
    with TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def _picture_rows(job: Job, rows: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """The rows whose pictures make each sample, int64 [n, F]; of pairs, what the first frame shows, first."""
    if not job.pairs:
        return shown[:, None]
    first = rows - job.dataset.frame_index[rows]
    return np.stack([shown[np.searchsorted(rows, first)], shown], axis=1)


def _prompts(job: Job, rows: np.ndarray, said: dict[str, str] | None) -> TokenRows:
    if said is None:
        return job.prompts(rows)
    dataset, processor = job.dataset, job.checkpoint.processor
    tasks = [said[dataset.tasks[index]] for index in dataset.task_index[rows].tolist()]
    states = None if job.statistics is None else dataset.states[rows]
    return processor.tokenize(processor.robot_prompts(tasks, states, job.statistics))


def _distributions(
    forward: Forward, job: Job, store: FrameStore, pictures: np.ndarray, prompts: TokenRows
) -> np.ndarray:
    """float32 [b, K] of samples that show these rows, int64 [b, F]; a row is encoded once for a batch."""
    unique, place = np.unique(pictures, return_inverse=True)
    images = np.stack([store.gather(camera.key, unique) for camera in job.cameras], axis=1)
    features = forward.features(torch.from_numpy(images))  # [u, C, P, D]
    chosen = features[torch.from_numpy(place.reshape(pictures.shape)).to(features.device)]  # [b, F, C, P, D]
    return forward.statistics(chosen.flatten(1, 2), prompts)["distribution"]
