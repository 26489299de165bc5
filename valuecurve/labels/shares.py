"""What a label set comes to: frames, share of positives and threshold, of each task and stage."""

from dataclasses import dataclass

import numpy as np

from valuecurve.labels.label_set import LabelSet


@dataclass
class LabelPart:
    """The labelled frames of one task, or of one stage of it."""

    task: str
    stage: int | None
    mine: np.ndarray  # bool [n], of the label set's frames
    threshold: float | None  # of the advantage, value units

    @property
    def name(self) -> str:
        return self.task if self.stage is None else f"{self.task} (stage {self.stage})"


def label_parts(labels: LabelSet, tasks: list[str]) -> list[LabelPart]:
    """The frames of a label set by task and stage; `tasks` are the dataset's, by task_index."""
    thresholds = labels.settings.get("thresholds") or {}
    by_task = labels.settings.get("scope", "task") == "task"
    stages = labels.stage if labels.stage is not None else np.zeros(len(labels.rows), np.int64)
    parts = []
    for index, number in np.unique(np.stack([labels.task_index, stages], axis=1), axis=0).tolist():
        mine = (labels.task_index == index) & (stages == number)
        group, stage = tasks[index] if by_task else "all", None if labels.stage is None else number
        threshold = thresholds.get(group if stage is None else f"{group} (stage {stage})")
        parts.append(LabelPart(tasks[index], stage, mine, threshold))
    return parts


def label_shares(labels: LabelSet, tasks: list[str]) -> list[dict]:
    """A row for each task (and stage) that has labelled frames, ready for JSON.

    Returns:
        task, stage (where labels are made per stage), frames, positive (a share of them), threshold (of the
        advantage, value units) and scale (frames of one value unit; None where the model has none).
    """
    scales = labels.manifest["scores"].get("scales") or {}
    return [
        {
            "task": part.task,
            **({} if part.stage is None else {"stage": part.stage}),
            "frames": int(part.mine.sum()),
            "positive": float(labels.positive[part.mine].mean()),
            "threshold": part.threshold,
            "scale": scales.get(part.task),
        }
        for part in label_parts(labels, tasks)
    ]
