"""From a part's batches of pictures to the values of its frames: for single frames, and for pairs of frames.

What goes into one forward pass is a function of the part alone, so that its values are, bit by bit.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import torch

from ..episodes import DatasetError
from .forward import Forward
from .job import Job
from .pictures import Batch

Values = dict[str, np.ndarray]  # by column, [n] or [n, k]
Done = Callable[[int], None]  # called with a number of frames


class Results:
    """Values that are still being computed, of rows that ascend; not too many at a time."""

    def __init__(self, job: Job, most: int, done: Done | None = None):
        self.job, self.most, self.done = job, most, done
        self.running: deque[tuple[np.ndarray, Future[Values]]] = deque()
        self.finished: list[tuple[np.ndarray, Values]] = []

    def add(self, rows: np.ndarray, values: Future[Values]) -> None:
        self.running.append((rows, values))
        while len(self.running) > self.most:
            self._collect()

    def _collect(self) -> None:
        rows, future = self.running.popleft()
        values = future.result()
        for array in values.values():
            wrong = np.flatnonzero(~np.isfinite(array.reshape(len(rows), -1)).all(axis=1))
            if len(wrong):
                where = self.job.dataset.where(int(rows[wrong[0]]))
                raise DatasetError(
                    f"{where}: the checkpoint's value is not a number. Its weights are broken, or too large "
                    f"for {self.job.dtype}: try --dtype float32"
                )
        self.finished.append((rows, values))
        if self.done:
            self.done(len(rows))

    def all(self) -> tuple[np.ndarray, Values]:
        """All rows int64 [n] and their values."""
        while self.running:
            self._collect()
        if not self.finished:
            return np.zeros(0, np.int64), {}
        names = self.finished[0][1]
        joined = {name: np.concatenate([values[name] for _, values in self.finished]) for name in names}
        return np.concatenate([rows for rows, _ in self.finished]), joined


def score_frames(forward: Forward, job: Job, batches: Iterator[Batch], done: Done) -> "Results":
    """The values of every frame of the batches; the last ones are still being computed."""
    results = Results(job, forward.threads, done)
    for batch in batches:
        prompts = job.prompts(batch.rows)
        results.add(batch.rows, forward.submit(forward.frames, batch.images, prompts))
    return results


def score_pairs(forward: Forward, job: Job, batches: Iterator[Batch], done: Done) -> "PairResults":
    """The values of the rows that are scored, with `relative` and `absolute_value`, as in seed 3.

    absolute_value: of the pair (first frame of the episode, frame); 0 for the first frame itself.
    relative: of the pair (frame, frame + horizon), in [-1, 1]; where the episode ends before, the difference
    up to its last frame, times horizon / frames passed; 0 for the last frame.
    `value` is the absolute value, `value_std` and the rest describe its distribution.

    Every picture is encoded once: its features are kept as long as a pair may need them.
    """
    pairs = PairResults(forward, job, done)
    encoding: deque[tuple[np.ndarray, Future[torch.Tensor]]] = deque()
    with torch.inference_mode():
        for batch in batches:
            encoding.append((batch.rows, forward.submit(forward.features, batch.images)))
            if len(encoding) > forward.threads:
                rows, features = encoding.popleft()
                pairs.add(rows, features.result())
        for rows, features in encoding:
            pairs.add(rows, features.result())
    return pairs


class PairResults:
    """The features of the frames of late, and the pairs made of them. C cameras, P tokens, D width."""

    def __init__(self, forward: Forward, job: Job, done: Done):
        self.forward, self.job = forward, job
        self.absolute = Results(job, forward.threads, done)
        self.relative = Results(job, forward.threads)
        self.first: dict[int, torch.Tensor] = {}  # episode -> features [C, P, D] of its first frame
        self.rows = np.zeros(0, np.int64)  # of the window, ascending
        self.window: torch.Tensor | None = None  # [w, C, P, D]
        self.waiting = np.zeros(0, np.int64)  # scored rows whose later frame is not encoded yet

    def add(self, rows: np.ndarray, features: torch.Tensor) -> None:
        """The next rows [b], with their features [b, C, P, D]."""
        dataset, job = self.job.dataset, self.job
        episode = dataset.episode_index[rows]
        for i in np.flatnonzero(dataset.frame_index[rows] == 0).tolist():
            self.first = {e: kept for e, kept in self.first.items() if e in episode} | {
                int(episode[i]): features[i].clone()
            }
        self.rows = np.concatenate([self.rows, rows])
        self.window = features if self.window is None else torch.cat([self.window, features])
        scored = rows[job.scored(rows)]
        if len(scored):
            episodes, which = np.unique(dataset.episode_index[scored], return_inverse=True)
            firsts = torch.stack([self.first[e] for e in episodes.tolist()])[torch.from_numpy(which)]
            self._submit(self.absolute, scored, scored, firsts)
        self.waiting = np.concatenate([self.waiting, scored])
        self._compare_ahead(int(rows[-1]))

    def _compare_ahead(self, last: int) -> None:
        """Make the pairs whose later frame has been encoded, now that all rows up to `last` have."""
        partners = self.job.partners(self.waiting)
        ready = partners <= last
        known = np.isin(partners, self.rows) & np.isin(self.waiting, self.rows)  # else the episode failed
        now, later = self.waiting[ready & known], partners[ready & known]
        self.waiting = self.waiting[~ready]
        for i in range(0, len(now), self.job.settings.batch_size):
            some = slice(i, i + self.job.settings.batch_size)
            self._submit(self.relative, now[some], later[some], self._features(now[some]))
        keep = self.rows >= (self.waiting[0] if len(self.waiting) else last + 1)
        if self.window is not None and not keep.all():
            self.rows, self.window = self.rows[keep], self.window[torch.from_numpy(keep)]

    def _features(self, rows: np.ndarray) -> torch.Tensor:
        assert self.window is not None
        return self.window[torch.from_numpy(np.searchsorted(self.rows, rows))]

    def _submit(
        self, results: Results, rows: np.ndarray, frames: np.ndarray, reference: torch.Tensor
    ) -> None:
        """One forward pass for rows [b]: of frames [b] and, before them, the features of reference frames.

        The prompt is the frame's, as in training.
        """
        both = torch.cat([reference, self._features(frames)], dim=1)
        prompts = self.job.prompts(frames)
        results.add(rows, self.forward.submit(self.forward.statistics, both, prompts))

    def all(self) -> tuple[np.ndarray, Values]:
        """All scored rows int64 [n] and their values."""
        rows, values = self.absolute.all()
        compared, relative = self.relative.all()
        if not len(rows):
            return rows, values
        values["value"][self.job.dataset.frame_index[rows] == 0] = 0.0
        values["absolute_value"] = values["value"]
        values["relative"] = np.zeros(
            len(rows), np.float32
        )  # stays 0 in episodes that failed: left out later
        if len(compared):
            there = np.searchsorted(rows, compared)
            values["relative"][there] = ahead(self.job, compared, relative["value"])
        return rows, values


def ahead(job: Job, rows: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Differences [n] from each row to its later frame as if `horizon` frames had passed: float32 in [-1, 1].

    Source: seed 3's evaluation (extrapolated by the frames that have passed, clipped; 0 for the last frame).
    """
    passed = job.partners(rows) - rows
    scaled = np.where(passed > 0, difference / np.maximum(passed, 1) * job.horizon, 0.0)
    return np.clip(scaled, -1.0, 1.0).astype(np.float32)
