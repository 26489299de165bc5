"""Scoring: a model's values for the frames of a dataset.

`score_dataset` scores a dataset by a checkpoint (`load_checkpoint`), `read_scores` reads what was scored.
`predict` scores frames that are in a frame store, and `shuffled_between_episodes` makes the shortcut probe.
What needs torch is imported when it is first named.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .scores import Scores, read_manifest, read_scores, tag_folder, write_manifest

if TYPE_CHECKING:
    from .checkpoint import Checkpoint, load_checkpoint
    from .job import Settings
    from .predict import predict, shuffled_between_episodes
    from .run import Summary, score_dataset

__all__ = [
    "Checkpoint",
    "Scores",
    "Settings",
    "Summary",
    "load_checkpoint",
    "predict",
    "read_manifest",
    "read_scores",
    "score_dataset",
    "shuffled_between_episodes",
    "tag_folder",
    "write_manifest",
]
LATER = {
    "checkpoint": ("Checkpoint", "load_checkpoint"),
    "job": ("Settings",),
    "predict": ("predict", "shuffled_between_episodes"),
    "run": ("Summary", "score_dataset"),
}


def __getattr__(name: str) -> object:
    for module, names in LATER.items():
        if name in names:
            loaded = import_module(f".{module}", __name__)
            # also puts the function `predict` in place of its module, which importing has made an attribute
            globals().update({other: getattr(loaded, other) for other in names})
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
