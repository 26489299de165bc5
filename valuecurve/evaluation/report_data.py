"""An evaluation as plain data: all that report.json holds, and that report.md and the model card are made of.

Nothing here names a place on a machine: models and datasets go by their names and fingerprints.
"""

from dataclasses import fields
from importlib.metadata import version

import numpy as np

from ..episodes.dataset import EpisodeDataset
from ..labels.summary import summarise
from ..metrics import ValueReport
from ..metrics_bootstrap import CONFIDENCE, SEED
from .evaluating import Evaluation, differences, outcome_groups, task_groups
from .probes import NAMES
from .subject import EvaluationSettings, Subject, scores_about

FORMAT = 1
BASELINES = ("constant", "elapsed_time")


def report_of(found: Evaluation) -> dict:
    """The report of an evaluation, ready for `write_json`.

    Metrics are numbers by forecast and name, `intervals` [low, high] of the same; what is undefined is NaN
    here, and null in the file.
    """
    subject, frames = found.subject, found.subject.evaluated
    intervals = {name: report.intervals for name, report in found.reports.items()}
    return {
        "format": FORMAT,
        "model": _model(subject),
        "dataset": _dataset(subject.job.dataset),
        "settings": _settings(subject.settings),
        "evaluated": _evaluated(subject),
        "targets": _targets(subject),
        "confidence": {
            "level": CONFIDENCE,
            "resamples": subject.settings.resamples,
            "seed": SEED,
            "method": "percentile bootstrap over episodes",
        },
        "baselines_from": found.baselines_from,
        "metrics": found.metrics,
        "intervals": intervals,
        "differences": {
            name: {
                metric: {"difference": difference, "low": low, "high": high}
                for metric, (difference, low, high) in differences(found, name).items()
            }
            for name in BASELINES
            if name in found.reports
        },
        "probes": {
            name: {"finding": found.findings[name], **found.changes.get(name, {})}
            for name in NAMES
            if name in found.findings
        },
        "tasks": _groups(found, found.tasks, task_groups(frames)),
        "outcomes": _groups(found, found.outcomes, outcome_groups(frames)),
        "curves": found.reports["model"].curves,
        "labels": _labels(found),
        "seconds": {name: round(seconds, 1) for name, seconds in found.seconds.items()},
        "versions": {name: version(name) for name in ("valuecurve", "torch", "transformers", "av", "numpy")},
    }


def _model(subject: Subject) -> dict:
    job, checkpoint = subject.job, subject.job.checkpoint
    config = checkpoint.model.config
    return {
        "name": checkpoint.name,
        "revision": checkpoint.revision,
        "weights": checkpoint.weights,
        "parameters": sum(weights.numel() for weights in checkpoint.model.parameters()),
        "frames_per_sample": config.frames_per_sample,
        "num_bins": config.num_bins,
        "v_min": float(config.v_min),
        "v_max": float(config.v_max),
        "cameras": [camera.name for camera in job.cameras],
        "state": job.statistics is not None,
        "dtype": str(job.dtype).removeprefix("torch."),
    }


def _dataset(dataset: EpisodeDataset) -> dict:
    return {
        "key": dataset.key,
        **dataset.origin,
        "fingerprint": dataset.fingerprint,
        "fps": dataset.fps,
        "episodes": len(dataset.episode_ids),
        "frames": dataset.frames.num_rows,
    }


def _settings(settings: EvaluationSettings) -> dict:
    """What differs from the defaults of `valuecurve evaluate`; `values` is a place on this machine."""
    pairs = {f.name: (getattr(settings, f.name), f.default) for f in fields(settings) if f.name != "values"}
    return {name: value for name, (value, default) in pairs.items() if value != default}


def _evaluated(subject: Subject) -> dict:
    success = subject.evaluated.outcomes.success
    return {
        "split": subject.settings.split,
        "split_source": subject.split.source,
        "trained_episodes": subject.trained,
        "episodes": len(success),
        "frames": len(subject.evaluated.rows),
        "successes": int(success.sum()),
        "failures": int((~success).sum()),
        "outcomes": subject.evaluated.outcomes.source,
        "warnings": [_placeless(text, subject) for text in subject.evaluated.outcomes.warnings],
        "episode_index": subject.job.episodes,
    }


def _targets(subject: Subject) -> dict:
    about, settings = scores_about(subject.job), subject.settings
    fail, fail_penalty = settings.labels().failure(about)
    return {
        "fail": fail,
        "fail_penalty": fail_penalty,
        "reward_column": settings.reward_column,
        "scales": about["scales"],
        "fps": about["fps"],
    }


def _groups(
    found: Evaluation, reports: dict[str, dict[str, ValueReport]], groups: dict[str, np.ndarray]
) -> dict:
    view = found.subject.evaluated.view
    return {
        name: {
            "episodes": int(of[view.starts].sum()),
            "frames": int(of.sum()),
            "metrics": {forecast: report.metrics for forecast, report in reports[name].items()},
            "intervals": {"model": reports[name]["model"].intervals},
        }
        for name, of in groups.items()
    }


def _labels(found: Evaluation) -> dict:
    if found.labelling is None:
        return {"note": _placeless(found.labels_note, found.subject)}
    summary = summarise(found.labelling)
    return summary | {"warnings": [_placeless(text, found.subject) for text in summary["warnings"]]}


def _placeless(text: str, subject: Subject) -> str:
    """A message without the folder of the dataset on this machine."""
    return text.replace(str(subject.job.dataset.root), subject.job.dataset.key)
