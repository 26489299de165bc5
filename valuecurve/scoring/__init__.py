"""Scoring: a model's values for the frames of a dataset.

`read_scores` reads what was scored. `predict` scores frames that are in a frame store, and
`shuffled_between_episodes` makes the shortcut probe: these two need torch, and are imported when first named.
"""

from typing import TYPE_CHECKING

from .scores import Scores, read_manifest, read_scores, tag_folder, write_manifest

if TYPE_CHECKING:
    from .predict import predict, shuffled_between_episodes

__all__ = [
    "Scores",
    "predict",
    "read_manifest",
    "read_scores",
    "shuffled_between_episodes",
    "tag_folder",
    "write_manifest",
]


def __getattr__(name: str) -> object:
    if name not in ("predict", "shuffled_between_episodes"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .predict import predict, shuffled_between_episodes

    # the module `predict` has just become an attribute: put the function in its place
    globals().update(predict=predict, shuffled_between_episodes=shuffled_between_episodes)
    return globals()[name]
