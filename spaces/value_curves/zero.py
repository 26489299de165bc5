"""ZeroGPU: there the GPU belongs to a process of its own, which runs for one call and is sent its arguments.

Elsewhere, on a CPU or a GPU of the Space's own, nothing of this is used.
"""

import os
import sys

from analysis import Scored, score
from checkpoints import Checkpoints
from decoding import Episode

SECONDS = 60  # of GPU time that a call may take
CHECKPOINTS: list[
    Checkpoints
] = []  # the app's; that process has them too, as it begins as a copy of this one


def is_needed() -> bool:
    """Whether this is a Space on ZeroGPU."""
    return bool(os.environ.get("SPACES_ZERO_GPU")) and hasattr(sys.modules.get("spaces"), "GPU")


def score_there(name: str, episode: Episode, task: str, dtype: str) -> tuple[Scored, list[str]]:
    """`score`, without progress; the checkpoint has been loaded already."""
    return score(name, CHECKPOINTS[0].loaded(name), episode, task, dtype, lambda share, text: None)


if is_needed():
    score_there = sys.modules["spaces"].GPU(duration=SECONDS)(score_there)
