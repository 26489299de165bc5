"""Value metrics for robot learning, as a module of Hugging Face `evaluate`.

    metric = evaluate.load("metrics/value_metrics")     # or "<owner>/value_metrics" from the Hub
    metric.add_batch(predictions=..., references=..., episode_index=..., frame_index=..., success=...)
    result = metric.compute()

The mathematics is that of the package valuecurve, whose files lie beside this one; nothing here needs the
package. `evaluate` copies the modules that this file imports, and reads them off its lines: one module a
line, a single dot, no comment behind it.
"""

from pathlib import Path

import datasets
import evaluate
import numpy as np

from .metrics import ValueReport, value_report
from .metrics_bootstrap import bootstrap as bootstrap
from .metrics_episodes import FALSE_ALARMS
from .metrics_frames import COVERAGE_LEVELS as COVERAGE_LEVELS
from .metrics_report import CURVES as CURVES
from .returns import bin_centers as bin_centers

DESCRIPTION = """\
How good are predicted values (normalised, negative time to success, usually in [-1, 0]) of the frames of
robot episodes? Errors of the value, scores and calibration of its distribution, order over time, how well
success is told from failure and how early, each with a confidence interval over episodes.
"""

INPUTS = """
Args, one entry a frame:
    predictions: float, the predicted value. May be left out where probabilities are given.
    references: float, the target value (normalised return).
    probabilities: optional, K floats, the predicted distribution over K bin centres from v_min to v_max.
    episode_index: int, the episode of the frame.
    frame_index: int, the frame's place in its episode.
    success: optional, bool, the outcome of the frame's episode.
    task: optional, string; metrics are then given per task too.
Args of compute:
    v_min, v_max: float, the ends of the bins (default -1 and 0).
    max_false_alarms: share of successful episodes that may raise a failure alarm (default 0.1).
    resamples, confidence, seed: of the bootstrap over episodes (default 1000, 0.95, 0); resamples=0 for none.

Returns a dict: metrics by name (nan where undefined); "intervals": [low, high] by metric; "curves":
reliability, auroc_over_elapsed, alarms; "counts"; and with tasks "per_task": metrics by task.

Example:
    >>> metric = evaluate.load("metrics/value_metrics")
    >>> result = metric.compute(
    ...     predictions=[-0.9, -0.4, 0.0, -0.8], references=[-1.0, -0.5, 0.0, -1.0],
    ...     episode_index=[0, 0, 0, 1], frame_index=[0, 1, 2, 0], success=[True, True, True, False],
    ... )
    >>> round(result["mae"], 3), result["auroc_last_frame"]
    (0.1, 1.0)
"""

CITATION = """\
@misc{valuecurve, title = {valuecurve: value functions for robot learning}, year = {2026}}
"""

FEATURES = datasets.Features(
    {
        "predictions": datasets.Value("float64"),
        "references": datasets.Value("float64"),
        "probabilities": datasets.List(datasets.Value("float32")),
        "episode_index": datasets.Value("int64"),
        "frame_index": datasets.Value("int64"),
        "success": datasets.Value("bool"),
        "task": datasets.Value("string"),
    }
)
OPTIONAL = {"predictions", "probabilities", "success", "task"}


class ValueMetrics(evaluate.Metric):
    """Value metrics; columns may be left out, for all frames."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=FEATURES,
            license="Apache-2.0",
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Add frames: the columns that the module's description lists."""
        super().add_batch(**columns_of(predictions=predictions, references=references, **kwargs))

    def add(self, *, prediction=None, reference=None, **kwargs):
        """Add one frame: one entry of each column that the module's description lists."""
        entries = {"predictions": prediction, "references": reference, **kwargs}
        self.add_batch(**{name: None if of is None else [of] for name, of in entries.items()})

    def compute(self, *, predictions=None, references=None, **kwargs):
        """Measure the frames that were added, and those that are given here."""
        given = {name: kwargs.pop(name) for name in tuple(kwargs) if name in FEATURES}
        given |= {"predictions": predictions, "references": references}
        if any(of is not None for of in given.values()):
            self.add_batch(**given)
        try:
            return super().compute(**kwargs)
        except Exception:
            self._forget()
            raise

    def _forget(self) -> None:
        """Drop the collected frames after an error: `evaluate` would keep them, and take no others."""
        for lock in self.filelocks or []:
            lock.release()
        for path in self.file_paths or []:
            Path(path).unlink(missing_ok=True)
        self.data = self.writer = self.buf_writer = self.filelocks = self.file_paths = None

    def _compute(self, *, v_min=-1.0, v_max=0.0, max_false_alarms=FALSE_ALARMS, **given):
        options = {"v_min": v_min, "v_max": v_max, "max_false_alarms": max_false_alarms}
        resampling = {name: given.pop(name) for name in ("resamples", "confidence", "seed") if name in given}
        frames = {name: whole(name, of) for name, of in given.items()}
        task = frames.pop("task")
        frames = {"values": frames.pop("predictions"), "targets": frames.pop("references"), **frames}
        result = plain(value_report(**frames, **options, **resampling))
        if task is not None:
            result["per_task"] = {}
            for name in np.unique(task).tolist():
                of_task = {key: of if of is None else of[task == name] for key, of in frames.items()}
                of_task = plain(value_report(**of_task, **options, **resampling))
                result["per_task"][name] = {key: of for key, of in of_task.items() if key != "curves"}
        return result


def columns_of(**given) -> dict[str, list]:
    """Every column of FEATURES as a list, of None (task: "") where it was not given.

    Raises:
        ValueError: an unknown, missing or unequal column, an outcome that is neither true nor false.
    """
    given = {name: of for name, of in given.items() if of is not None}
    unknown, missing = set(given) - set(FEATURES), set(FEATURES) - OPTIONAL - set(given)
    if unknown:
        raise ValueError(f"Unknown inputs: {sorted(unknown)}. The inputs are {list(FEATURES)}.")
    if missing:
        raise ValueError(
            f"Missing inputs: {sorted(missing)}; of {list(FEATURES)} only {sorted(OPTIONAL)} are optional."
        )
    if not {"predictions", "probabilities"} & set(given):
        raise ValueError("Missing inputs: give predictions or probabilities, or both.")
    count = len(given["references"])
    for name, of in given.items():
        if len(of) != count:
            raise ValueError(f"{len(of)} {name} for {count} references; give one a frame.")
    if "probabilities" in given and len({len(row) for row in given["probabilities"]}) > 1:
        raise ValueError("The rows of probabilities differ in length; every frame has the same bins.")
    columns = {name: np.asarray(of).tolist() for name, of in given.items()}
    for name in ("episode_index", "frame_index"):
        for row, index in enumerate(columns[name]):
            if not isinstance(index, int | float) or index != int(index):
                raise ValueError(f"{name}[{row}] is {index!r}; it must be a whole number.")
    for row, won in enumerate(columns.get("success", [])):
        if won not in (True, False):  # 0 and 1 too; bool("failure") would be True
            raise ValueError(f"success[{row}] is {won!r}; it must be True or False.")
    absent = {name: ["" if name == "task" else None] * count for name in FEATURES}  # a string must be one
    return absent | columns


def whole(name: str, column) -> np.ndarray | None:
    """A collected column as an array, or None where it was never given.

    Raises:
        ValueError: given for some frames and not for others.
    """
    absent = [of is None or of == "" for of in column]
    if all(absent):
        return None
    if any(absent):
        raise ValueError(f"{name} was given for some frames only; the first without is {absent.index(True)}.")
    return np.asarray(column)


def plain(report: ValueReport) -> dict:
    """The report as one dictionary of numbers, lists and dictionaries."""
    curves = {
        name: {axis: of.tolist() for axis, of in curve.items()} for name, curve in report.curves.items()
    }
    intervals = {name: list(of) for name, of in report.intervals.items()}
    return {**report.metrics, "intervals": intervals, "curves": curves, "counts": report.counts}
