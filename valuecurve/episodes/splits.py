"""Splits by episode: seeded, stratified by task and outcome, the same on every platform."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError
from valuecurve.episodes.outcomes import Outcomes

NAMES = ("train", "validation", "test")
FORMAT = "valuecurve-split-1"


def split_episodes(
    dataset: EpisodeDataset, outcomes: Outcomes, seed: int = 0, ratios: tuple[int, int, int] = (8, 1, 1)
) -> dict[str, list[int]]:
    """Split the episodes into "train", "validation" and "test": {name: sorted episode indices}.

    Episodes are ordered by stratum (task of the first frame, outcome) and, inside, by a hash of seed and
    episode index; each goes to the set that is furthest behind its share. So every stratum is split by
    `ratios` to within an episode or so, and so is the whole, however small the strata are.
    With three episodes or more no set whose ratio is positive is empty.
    """
    if len(ratios) != 3 or any(ratio < 0 for ratio in ratios) or not ratios[0] > 0:
        raise DatasetError(f"ratios must be three numbers >= 0, the first above 0, got {ratios}")
    share = np.asarray(ratios, np.float64) / sum(ratios)
    count = np.zeros(3)
    split: dict[str, list[int]] = {name: [] for name in NAMES}
    for number, episode in enumerate(_ordered_episodes(dataset, outcomes, seed), start=1):
        chosen = int(np.argmax(np.round(share * number - count, 9)))
        count[chosen] += 1
        split[NAMES[chosen]].append(episode)
    _fill_empty_sets(split, share)
    return {name: sorted(episodes) for name, episodes in split.items()}


def _ordered_episodes(dataset: EpisodeDataset, outcomes: Outcomes, seed: int) -> list[int]:
    def key(position: int) -> tuple:
        episode = int(dataset.episode_ids[position])
        digest = hashlib.sha256(f"{seed}:{episode}".encode()).hexdigest()
        return dataset.tasks[tasks[position]], bool(outcomes.success[position]), digest

    tasks = dataset.episode_tasks
    return [int(dataset.episode_ids[position]) for position in sorted(range(len(tasks)), key=key)]


def _fill_empty_sets(split: dict[str, list[int]], share: np.ndarray) -> None:
    """Give an empty set one episode of the largest set, when that one has some to spare."""
    if sum(map(len, split.values())) < 3:
        return
    for name, part in zip(NAMES, share, strict=True):
        if part > 0 and not split[name]:
            largest = max(NAMES, key=lambda other: len(split[other]))
            split[name].append(split[largest].pop())


def save_splits(path: str | Path, splits: Iterable[tuple[EpisodeDataset, dict[str, list[int]]]]) -> None:
    """Write the splits of one or more datasets as JSON, each with the dataset's fingerprint."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        {"dataset": data.key, **data.origin, "fingerprint": data.fingerprint, **split}
        for data, split in splits
    ]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(
        json.dumps({"format": FORMAT, "datasets": entries}, indent=1) + "\n", encoding="utf-8"
    )
    os.replace(temporary, path)


def load_split(path: str | Path, dataset: EpisodeDataset) -> dict[str, list[int]]:
    """Read the split of a dataset. One of another dataset, or of another state of this one, is an error."""
    entries = _entries(Path(path))
    splits = {entry["fingerprint"]: {name: entry[name] for name in NAMES} for entry in entries}
    if dataset.fingerprint not in splits:
        known = ", ".join(f"{entry['dataset']!r} ({entry['fingerprint']})" for entry in entries)
        raise DatasetError(
            f"{path} was made for {known}, but {dataset.root} has fingerprint {dataset.fingerprint}: the "
            "data differs, make a new split"
        )
    split = splits[dataset.fingerprint]
    everything = [episode for episodes in split.values() for episode in episodes]
    if len(set(everything)) != len(everything):
        raise DatasetError(f"{path}: an episode is in more than one set")
    dataset.episode_positions(everything)
    return split


def split_datasets(path: str | Path) -> dict[str, set[str]]:
    """The datasets of a split: {fingerprint: key, and name on the Hub where it is of the Hub}."""
    return {
        entry["fingerprint"]: {entry["dataset"], entry.get("name", entry["dataset"])}
        for entry in _entries(Path(path))
    }


def _entries(path: Path) -> list[dict]:
    """The entry of each dataset, its episodes as numbers; a DatasetError where it is no split."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["datasets"]
        return [
            {**entry, "dataset": str(entry["dataset"]), "fingerprint": str(entry["fingerprint"])}
            | {name: [int(episode) for episode in entry[name]] for name in NAMES}
            for entry in entries
        ]
    except KeyError as error:
        raise DatasetError(f"{path} is no split that this version writes: it has no {error}") from error
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{path} is not a split: {type(error).__name__}: {error}") from error
