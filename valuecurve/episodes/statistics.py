"""Per-feature statistics as LeRobot keeps them for every episode and for the whole dataset."""

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}  # lerobot's names

Statistics = dict[str, np.ndarray]  # min, max, mean, std, q01 … q99: [D]; count: [1]


def array_statistics(values: np.ndarray) -> Statistics:
    """lerobot's statistics of [T] or [T, D]: each an array [D], the count an array [1]."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    quantiles = np.quantile(flat, list(QUANTILES.values()), axis=0)
    return {
        "min": flat.min(0),
        "max": flat.max(0),
        "mean": flat.mean(0),
        "std": flat.std(0),
        "count": np.array([len(flat)]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def image_statistics(images: np.ndarray, most: int = 20) -> Statistics:
    """Per colour in [0, 1], from at most `most` frames spread over the episode: each [3, 1, 1]."""
    chosen = images[np.unique(np.linspace(0, len(images) - 1, min(len(images), most)).round().astype(int))]
    pixels = array_statistics(chosen.reshape(-1, 3) / 255.0)
    pixels["count"] = np.array([len(chosen)])
    return {name: value if name == "count" else value.reshape(3, 1, 1) for name, value in pixels.items()}


def merge_statistics(parts: list[Statistics]) -> Statistics:
    """Statistics of the whole from those of its episodes; quantiles, if any, are averaged as in lerobot."""
    stacked = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    counts = stacked["count"].reshape(-1, *[1] * (stacked["mean"].ndim - 1))
    weights = counts / counts.sum()
    mean = (weights * stacked["mean"]).sum(0)
    spread = (weights * (stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2)).sum(0)
    return {
        "min": stacked["min"].min(0),
        "max": stacked["max"].max(0),
        "mean": mean,
        "std": np.sqrt(spread),
        "count": stacked["count"].sum(0),
        **{name: (weights * stacked[name]).sum(0) for name in QUANTILES if name in stacked},
    }
