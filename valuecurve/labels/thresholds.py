"""Thresholds of another label set, to judge new episodes by: rollouts by those of the demonstrations."""

import json
from pathlib import Path

from valuecurve.episodes.layout import DatasetError
from valuecurve.scoring.scores import read_manifest

# What an advantage means, and which frames share a threshold: thresholds are of use to labels made alike.
ALIKE = (
    *("mode", "horizon", "progress", "scope", "stages", "stage_column"),
    *("reward_column", "fail", "fail_penalty", "scale"),
)


def thresholds_of(
    folder: Path, about: dict, weights: str | None, names: list[str]
) -> tuple[dict[str, float], float]:
    """The thresholds of the groups `names` in the labels of a tag's folder, and their positive fraction.

    Args:
        folder: OTHER/values/TAG, where `valuecurve label` has left a manifest.
        about: how the new labels are made, as in manifest["labels"].
        weights: digest of the checkpoint that scored the new frames: values of another one are not alike.
        names: groups of the new frames: tasks, "all", or stages of them.

    Raises:
        DatasetError: there are no labels, they were made in another way, or a group has no threshold there.
    """
    try:
        manifest = read_manifest(folder)
    except DatasetError as error:
        raise DatasetError(f"--thresholds, OTHER/values/TAG: {error}") from error
    labels = manifest.get("labels")
    if not labels:
        raise DatasetError(f"--thresholds: {folder} holds no labels: run valuecurve label there first")
    if manifest.get("scores", {}).get("weights") != weights:
        raise DatasetError(
            f"--thresholds: {folder} was scored by another checkpoint, whose values mean something else: "
            "score both by the same one"
        )
    differ = [
        f"{key} {json.dumps(labels.get(key))} there, {json.dumps(about.get(key))} here"
        for key in ALIKE
        if labels.get(key) != about.get(key)
    ]
    if differ:
        raise DatasetError(
            f"--thresholds: the labels of {folder} were made in another way ({'; '.join(differ)}), so their "
            "thresholds mean something else. Label alike"
        )
    unknown = [name for name in names if name not in labels["thresholds"]]
    if unknown:
        known = ", ".join(map(repr, labels["thresholds"]))
        raise DatasetError(
            f"--thresholds: {folder} has no threshold for {unknown[0]!r}; it has those of {known}. "
            "Use --scope global in both, or thresholds of this task"
        )
    return {name: labels["thresholds"][name] for name in names}, labels["positive_fraction"]


def tag_name(folder: Path) -> str:
    """DATASET/values/TAG as "DATASET TAG": no place of this machine."""
    parts = folder.resolve().parts
    return f"{parts[-3]} {parts[-1]}" if len(parts) > 3 and parts[-2] == "values" else folder.resolve().name
