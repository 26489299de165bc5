"""What a label set comes to: frames, share of positives and threshold, of each task and stage."""

import numpy as np

from valuecurve.labels.label_set import LabelSet


def label_shares(labels: LabelSet, tasks: list[str]) -> list[dict]:
    """A row for each task (and stage) that has labelled frames, ready for JSON.

    Args:
        labels: the label set.
        tasks: task texts of the dataset, position = task_index.

    Returns:
        task, stage (where labels are made per stage), frames, positive (a share of them), threshold (of the
        advantage, value units) and scale (frames of one value unit; None where the model has none).
    """
    scales = labels.manifest["scores"].get("scales") or {}
    thresholds = labels.settings.get("thresholds") or {}
    stage = labels.stage if labels.stage is not None else np.zeros(len(labels.rows), np.int64)
    rows = []
    for index, number in np.unique(np.stack([labels.task_index, stage], axis=1), axis=0).tolist():
        mine = (labels.task_index == index) & (stage == number)
        group = tasks[index] if labels.settings.get("scope", "task") == "task" else "all"
        staged = {} if labels.stage is None else {"stage": number}
        rows.append(
            {
                "task": tasks[index],
                **staged,
                "frames": int(mine.sum()),
                "positive": float(labels.positive[mine].mean()),
                "threshold": thresholds.get(f"{group} (stage {number})" if staged else group),
                "scale": scales.get(tasks[index]),
            }
        )
    return rows
