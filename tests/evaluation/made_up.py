"""A made-up curve with frames, for the tests of pictures and videos."""

from typing import Any

import numpy as np

from valuecurve.evaluation import Curve, pick_thumbnails
from valuecurve.returns import bin_centers


def frames(length=24, size=32):
    """A white square that moves over grey, uint8 [T, 3, size, size]."""
    result = np.full((length, 3, size, size), 90, np.uint8)
    for t in range(length):
        left = t * (size - 8) // max(length - 1, 1)
        result[t, :, 12:20, left : left + 8] = 255
    return result


def curve(length=24, success=True, **changes):
    """A value that rises to 0 on success and sinks to -1 on failure, with its distributions."""
    value = np.linspace(-0.6, -0.02 if success else -0.98, length)
    distance = bin_centers() - value[:, None]
    p = np.exp(-0.5 * (distance / 0.08) ** 2)
    thumbnails, thumbnail_frames = pick_thumbnails(frames(length), 5)
    fields: dict[str, Any] = dict(
        episode_index=3,
        task="Push the puck to the goal",
        success=success,
        fps=10.0,
        value=value,
        probabilities=p / p.sum(axis=1, keepdims=True),
        target=np.linspace(-0.5, 0, length) if success else np.full(length, -1.0),
        scale_seconds=12.0,
        thumbnails=thumbnails,
        thumbnail_frames=thumbnail_frames,
        failure_kind=None if success else "missed_grasp",
    )
    return Curve(**(fields | changes))
