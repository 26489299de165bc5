"""LeRobot's statistics of one number a frame, for all episodes at once."""

import numpy as np

from valuecurve.episodes.statistics import QUANTILES, array_statistics


def episode_statistics(values: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """`array_statistics` of every episode, without a loop over them.

    Args:
        values: finite numbers or booleans `[N]`, episode after episode.
        lengths: frames of each episode `[E]`.

    Returns:
        min, max, mean, std, count, q01 … q99: each `[E]`, the count int64, the rest float64.
    """
    x = values.astype(np.float64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    episode = np.repeat(np.arange(len(lengths)), lengths)
    mean = np.add.reduceat(x, starts) / lengths
    variance = np.add.reduceat((x - mean[episode]) ** 2, starts) / lengths
    ordered = x[np.lexsort((x, episode))]
    result = {
        "min": ordered[starts],
        "max": ordered[ends - 1],
        "mean": mean,
        "std": np.sqrt(variance),
        "count": lengths.astype(np.int64),
    }
    for name, share in QUANTILES.items():
        position = share * (lengths - 1)
        below = np.floor(position).astype(np.int64)
        above = np.minimum(below + 1, lengths - 1)
        low, high = ordered[starts + below], ordered[starts + above]
        result[name] = low + (position - below) * (high - low)
    return result


def dataset_statistics(values: np.ndarray) -> dict[str, list]:
    """The statistics of all frames, ready for JSON: each a list of one number."""
    return {name: value.tolist() for name, value in array_statistics(values).items()}
