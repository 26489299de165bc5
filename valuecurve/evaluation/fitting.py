"""The baselines of an evaluation: fitted on the training episodes where those are known, else crosswise."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .baselines import ElapsedTime, constant_distribution
from .passes import big_array
from .subject import Frames, Subject

FOLDS = 5  # of the episodes, where baselines have no training split to be fitted on


def fitted_baselines(subject: Subject) -> tuple[Iterator[tuple[str, np.ndarray]], str]:
    """The baselines' distributions [n, K] of the evaluated frames, one after the other, and what they are
    fitted on, in words.

    On the training episodes of this dataset where those are known. Else crosswise: each fifth of the
    evaluated episodes is forecast from the others. A single episode has nothing to fit on.
    """
    frames, training = subject.evaluated, subject.training
    if training is not None:
        whole = _only(training, np.ones(len(training.rows), bool))
        words = f"the {len(training.view.lengths)} training episodes"
        return _baselines(subject, [(whole, np.arange(len(frames.rows)))]), words
    episodes = len(frames.view.lengths)
    if episodes < 2:
        return iter(()), ""
    folds = min(FOLDS, episodes)
    number = np.repeat(np.arange(episodes) % folds, frames.view.lengths)
    pairs = [(_only(frames, number != fold), np.flatnonzero(number == fold)) for fold in range(folds)]
    return _baselines(subject, pairs), f"the other episodes, in turn ({folds} folds of the evaluated ones)"


@dataclass
class _Fit:
    """Frames to fit a baseline on: targets, task_index and frame_index [m]."""

    targets: np.ndarray
    task_index: np.ndarray
    frame_index: np.ndarray


def _only(frames: Frames, of: np.ndarray) -> _Fit:
    view = frames.view
    return _Fit(frames.targets[of], view.task_index[of], view.frame_index[of])


def _baselines(subject: Subject, folds: list[tuple[_Fit, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    config, view = subject.job.checkpoint.model.config, subject.evaluated.view
    options = {"v_min": float(config.v_min), "v_max": float(config.v_max)}
    shape = (len(subject.evaluated.rows), config.num_bins)
    constants = [constant_distribution(fit.targets, config.num_bins, **options) for fit, _ in folds]
    forecast = big_array(shape)
    for constant, (_, rows) in zip(constants, folds, strict=True):
        forecast[rows] = constant
    yield "constant", forecast
    for constant, (fit, rows) in zip(constants, folds, strict=True):
        clock = ElapsedTime.fit(fit.targets, fit.task_index, fit.frame_index, config.num_bins, **options)
        tasks, frame_index = view.task_index[rows], view.frame_index[rows]
        known = np.isin(tasks, list(clock.tables))
        forecast[rows] = constant  # where the task was never seen
        if known.any():
            forecast[rows[known]] = clock.predict(tasks[known], frame_index[known])
    yield "elapsed_time", forecast
