"""The histograms of a label set for its card, where labelling has not left them beside the labels."""

import tempfile
from pathlib import Path

import numpy as np

from valuecurve.episodes import DatasetError, EpisodeDataset, resolve_outcomes
from valuecurve.evaluation.label_figure import Panel, plot_labels
from valuecurve.labels.label_set import LabelSet
from valuecurve.labels.shares import label_parts


def label_picture(
    dataset: EpisodeDataset, labels: LabelSet, tag: str, values: str | Path | None = None
) -> Path | bytes:
    """`labels.png` beside the labels, or a PNG that is drawn now; outcomes are shown where they are known."""
    path = labels.folder / "labels.png"
    if path.is_file():
        return path
    try:
        good = resolve_outcomes(dataset, values=values).success
        success = np.repeat(good, dataset.lengths)[labels.rows]
    except DatasetError:
        success = None
    panels = [
        Panel(
            part.name,
            labels.advantage[part.mine],
            labels.positive[part.mine],
            None if success is None else success[part.mine],
            float("nan") if part.threshold is None else part.threshold,
        )
        for part in label_parts(labels, dataset.tasks)
    ]
    with tempfile.TemporaryDirectory() as folder:
        made = plot_labels(panels, Path(folder) / "labels.png", f"Advantages of {dataset.key}", f"tag {tag}")
        return made.read_bytes()
