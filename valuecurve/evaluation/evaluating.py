"""`evaluate`: a checkpoint on held-out episodes, against baselines and shortcut probes, in numbers.

One pass of the model over every frame, and one for each probe; the pictures come from a frame store, so every
frame is decoded once. Kept are the distributions of the model and of one other forecast at a time (0.8 kB a
frame at 201 bins), on disk where they are many. Left out: files and words (report.py and its neighbours).
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from ..episodes import DatasetError, EpisodeDataset, FrameStore, build_frame_store
from ..labels.making import Labelling, make_labels
from ..metrics import ValueReport, bootstrap, expected_values, value_report
from ..metrics_frames import SMALLEST_PROBABILITY
from ..returns import bin_centers, value_to_bin
from ..scoring import Checkpoint, Scores
from ..scoring.forward import Forward
from ..scoring.run import single_threaded
from .fitting import fitted_baselines
from .passes import predict_distributions
from .probes import NAMES, changes, changes_of_reversal, finding, make_probes, skill_of
from .subject import EvaluationSettings, Frames, Split, Subject, prepare_subject, scores_about

CHUNK = 8192  # frames at a time in float64

Metrics = dict[str, float]


@dataclass
class Evaluation:
    """All that an evaluation found. n frames, K bins, E episodes.

    `reports` is by forecast ("model", "constant", "elapsed_time" and the probes), `tasks` and `outcomes` by
    group and then by forecast; every metric has an interval, but those of baselines and probes in a group.
    `findings` says in words what each probe shows, or why it is undefined.
    """

    subject: Subject
    store: FrameStore
    probabilities: np.ndarray  # float32 [n, K], of the model
    values: dict[str, np.ndarray] = field(default_factory=dict)  # float64 [n], by forecast
    reports: dict[str, ValueReport] = field(default_factory=dict)
    tasks: dict[str, dict[str, ValueReport]] = field(default_factory=dict)
    outcomes: dict[str, dict[str, ValueReport]] = field(default_factory=dict)
    losses: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # sums [E], by forecast and metric
    changes: dict[str, Metrics] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)
    baselines_from: str = ""
    labelling: Labelling | None = None
    labels_note: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, Metrics]:
        """Metrics over all frames by forecast."""
        return {name: report.metrics for name, report in self.reports.items()}

    @property
    def support(self) -> tuple[float, float]:
        config = self.subject.job.checkpoint.model.config
        return float(config.v_min), float(config.v_max)


def evaluate(
    checkpoint: Checkpoint,
    dataset: EpisodeDataset,
    settings: EvaluationSettings | None = None,
    split: Split | None = None,
    store: FrameStore | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = False,
    threads: int | None = None,
) -> Evaluation:
    """Evaluate a checkpoint on episodes of a dataset.

    Args:
        split: which episodes it was trained on (`read_split`); not known when None, and then only the split
            "all" can be evaluated.
        store: a frame store of the dataset that holds the frames; built in `cache_dir` when None.
        threads: forward passes at a time on a CPU; torch's number of threads when None.

    Raises:
        ConfigError, DatasetError: as `prepare_subject`; frames that cannot be read; values
            that are no number.
    """
    settings = settings or EvaluationSettings()
    device = torch.device(PartialState().device or "cpu")
    split = split or Split(None, "no split was given")
    subject = prepare_subject(checkpoint, dataset, settings, split, device)
    job, processor = subject.job, checkpoint.processor
    clock = {"began": time.perf_counter()}
    if store is None:
        store = build_frame_store(
            dataset,
            processor.image_size,
            processor.resample,
            cameras=[camera.key for camera in job.cameras],
            episodes=job.episodes,
            cache_dir=cache_dir,
            progress=progress,
        )
    clock["frame_store"] = time.perf_counter()
    threads = (threads or torch.get_num_threads()) if device.type == "cpu" else 1
    with single_threaded(), Forward(checkpoint, device, job.dtype, threads, distribution=True) as forward:
        evaluation = _evaluate(subject, store, forward, progress)
    clock["passes"] = time.perf_counter()
    evaluation.seconds = {
        "frame_store": clock["frame_store"] - clock["began"],
        "passes": clock["passes"] - clock["frame_store"],
    }
    return evaluation


def _evaluate(subject: Subject, store: FrameStore, forward: Forward, progress: bool) -> Evaluation:
    job, frames = subject.job, subject.evaluated

    def predict(text: str, shown: np.ndarray | None = None, said: dict[str, str] | None = None) -> np.ndarray:
        return predict_distributions(forward, job, store, frames.rows, shown, said or None, text, progress)

    probabilities = predict("frames")
    found = Evaluation(subject, store, probabilities)
    measure(found, "model", probabilities)
    baselines, found.baselines_from = fitted_baselines(subject)
    for name, forecast in baselines:
        measure(found, name, forecast)
    for probe in make_probes(subject) if subject.settings.probes else []:
        if probe.undefined:
            found.findings[probe.name] = f"Undefined: {probe.undefined}."
            continue
        measure(found, probe.name, predict(NAMES[probe.name].lower(), probe.shown, probe.said))
        found.changes[probe.name] = _changes(found, probe.name)
    _add_skill(found)
    for name in found.changes:
        found.findings[name] = finding(name, found.metrics, found.changes[name], job.statistics is not None)
    found.labelling, found.labels_note = label_in_memory(found)
    return found


# -- metrics -----------------------------------------------------------------------------------------------


def measure(found: Evaluation, name: str, probabilities: np.ndarray) -> None:
    """Add the metrics of a forecast [n, K], over all frames and of each task and outcome; it is let go."""
    frames = found.subject.evaluated
    found.values[name] = expected_values(probabilities, *found.support)
    found.losses[name] = _losses(found, name, probabilities)
    resamples = found.subject.settings.resamples
    found.reports[name] = _report(found, probabilities, np.ones(len(frames.rows), bool), resamples)
    for groups, into in ((task_groups(frames), found.tasks), (outcome_groups(frames), found.outcomes)):
        for group, of in groups.items():
            report = _report(found, probabilities, of, resamples if name == "model" else 0)
            into.setdefault(group, {})[name] = report


def _report(found: Evaluation, probabilities: np.ndarray, of: np.ndarray, resamples: int) -> ValueReport:
    """Everything about the frames `of`, bool [n]."""
    frames, (v_min, v_max) = found.subject.evaluated, found.support
    chosen = slice(None) if of.all() else of
    return value_report(
        probabilities[chosen],
        frames.targets[chosen],
        episode_index=frames.view.episode_index[chosen],
        frame_index=frames.view.frame_index[chosen],
        success=frames.success[chosen],
        v_min=v_min,
        v_max=v_max,
        resamples=resamples,
    )


def _losses(found: Evaluation, name: str, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Sums of NLL and absolute error over the frames of each episode, [E]."""
    frames = found.subject.evaluated
    bins = value_to_bin(frames.targets, probabilities.shape[1], *found.support)
    p_target = probabilities[np.arange(len(bins)), bins].astype(np.float64)
    losses = {
        "nll": -np.log(np.maximum(p_target, SMALLEST_PROBABILITY)),
        "mae": np.abs(found.values[name] - frames.targets),
    }
    return {metric: np.add.reduceat(of, frames.view.starts) for metric, of in losses.items()}


def differences(found: Evaluation, name: str) -> dict[str, tuple[float, float, float]]:
    """The model's NLL and MAE minus those of another forecast: (difference, low, high) by metric.

    Both are measured on the same resampled episodes: what makes an episode hard for both cancels out.
    """
    lengths = found.subject.evaluated.view.lengths.astype(np.float64)
    losses = {metric: of - found.losses[name][metric] for metric, of in found.losses["model"].items()}
    settings = found.subject.settings

    def means(w_BE: np.ndarray) -> dict[str, np.ndarray]:
        return {metric: (w_BE @ of) / (w_BE @ lengths) for metric, of in losses.items()}

    spread = bootstrap(means, len(lengths), settings.resamples)
    return {
        metric: (float(of.sum() / lengths.sum()), float(spread[metric][0]), float(spread[metric][1]))
        for metric, of in losses.items()
    }


def task_groups(frames: Frames) -> dict[str, np.ndarray]:
    """Frames of the episodes of each task, bool [n], by task text; an episode's task is its first frame's."""
    view = frames.view
    task = np.repeat(np.array(view.tasks, dtype=object)[view.episode_tasks], view.lengths)
    return {str(text): task == text for text in dict.fromkeys(task.tolist())}


def outcome_groups(frames: Frames) -> dict[str, np.ndarray]:
    """Frames of the successful and of the failed episodes, bool [n]; an outcome without any is left out."""
    groups = {"success": frames.success, "failure": ~frames.success}
    return {name: of for name, of in groups.items() if of.any()}


def _changes(found: Evaluation, name: str) -> Metrics:
    values, probed = found.values["model"], found.values[name]
    if name != "reversed_frames":
        return changes(values, probed)
    view, pairs = found.subject.evaluated.view, found.subject.job.pairs
    return changes_of_reversal(values, probed, view.lengths, pairs)


def _add_skill(found: Evaluation) -> None:
    for rows in (found.reports, *found.tasks.values(), *found.outcomes.values()):
        constant = rows["constant"].metrics if "constant" in rows else None
        for report in rows.values():
            report.metrics["skill"] = skill_of(report.metrics, constant)


# -- labels ------------------------------------------------------------------------------------------------


def label_in_memory(found: Evaluation) -> tuple[Labelling | None, str]:
    """The labels that `valuecurve label` would give these episodes, or None and the reason."""
    job, settings = found.subject.job, found.subject.settings
    values = found.values["model"]
    scores = Scores(
        Path("evaluation"),
        job.manifest() | {"scores": scores_about(job)},
        found.subject.evaluated.rows,
        values.astype(np.float32),
        standard_deviations(found.probabilities, values, found.support),
    )
    try:
        return make_labels(job.dataset, scores, settings.labels(job.pairs), settings.values), ""
    except DatasetError as error:
        return None, str(error)


def standard_deviations(
    probabilities: np.ndarray, values: np.ndarray, support: tuple[float, float]
) -> np.ndarray:
    """Of distributions [n, K] with the means [n]: float32 [n], in value units."""
    centers = bin_centers(probabilities.shape[1], *support)
    result = np.empty(len(values), np.float32)
    for start in range(0, len(values), CHUNK):
        some = slice(start, start + CHUNK)
        squares = (centers - values[some, None]) ** 2
        result[some] = np.sqrt(np.sum(probabilities[some] * squares, axis=1))
    return result
