"""Which episodes a checkpoint was trained on: the split that training left beside it. No torch is needed."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from ..episodes import DatasetError, EpisodeDataset, episode_numbers, load_split
from ..episodes.layout import is_hub_id
from ..episodes.splits import split_datasets

SPLITS = ("test", "validation", "train", "all")
SPLIT_FILE = "split.json"


@dataclass
class Split:
    """Which episodes of a dataset a checkpoint was trained on, and where that is known from, in words."""

    sets: dict[str, list[int]] | None  # episode indices by "train", "validation", "test"; None: not known
    source: str
    is_other_data: bool = False  # it was trained on other datasets alone


def check_split(name: str) -> None:
    """Raises DatasetError for what --split cannot be."""
    if name not in SPLITS:
        near = difflib.get_close_matches(name, SPLITS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DatasetError(f"--split must be one of {', '.join(SPLITS)}, got {name!r}{hint}")


def split_file(folder: Path) -> Path | None:
    """`split.json` of a checkpoint: in its folder, or, of one inside a run (checkpoint-300), in the run's."""
    found = [path for path in (folder / SPLIT_FILE, folder.resolve().parent / SPLIT_FILE) if path.is_file()]
    return found[0] if found else None


def read_split(folder: Path, dataset: EpisodeDataset) -> Split:
    """What the checkpoint's split says of this dataset.

    Raises:
        DatasetError: a file that is no split.
    """
    path = split_file(folder)
    if path is None:
        return Split(None, f"the checkpoint has no {SPLIT_FILE}, so its training episodes are not known")
    known = split_datasets(path)
    if dataset.fingerprint in known:
        return Split(load_split(path, dataset), f"{SPLIT_FILE} of the checkpoint")
    names = {dataset.key, dataset.origin.get("name", dataset.key)}
    if names & set().union(*known.values()):  # it may have grown since, around the training episodes
        return Split(None, f"{SPLIT_FILE} of the checkpoint is of another state of this dataset")
    return Split(None, f"{SPLIT_FILE} of the checkpoint names other datasets", is_other_data=True)


def find_split(checkpoint: str | None, name: str, dataset: EpisodeDataset) -> Split:
    """The split of a checkpoint that is not loaded: a folder, or a model of the Hub whose split is fetched.

    Raises:
        DatasetError: another name than those of SPLITS; a split without a checkpoint, or the reverse; a place
            that holds none; a file that is no split.
    """
    check_split(name)
    if name == "all":
        if checkpoint is not None:
            raise DatasetError("--checkpoint tells the episodes of a split: name one, as --split test")
        return Split(None, "all episodes are taken")
    if checkpoint is None:
        raise DatasetError(
            f"--split {name} needs --checkpoint: the model folder that training wrote, which holds the split"
        )
    folder = Path(checkpoint)
    if is_hub_id(checkpoint):
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(checkpoint, allow_patterns=SPLIT_FILE))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise DatasetError(f"--checkpoint {checkpoint} cannot be read from the Hub: {reason}") from error
    elif not folder.is_dir():
        raise DatasetError(f"there is no checkpoint at {checkpoint}: name a folder, or a model of the Hub")
    return read_split(folder, dataset)


def episodes_of_split(
    dataset: EpisodeDataset, name: str, split: Split, episodes: str | list[int] | None = None
) -> list[int]:
    """Indices of the episodes of a split; of `episodes` ("3, 5, 10:20") those that are in it. Sorted.

    Raises:
        DatasetError: a split that is not known; episodes of which none is in it.
    """
    if name == "all":
        chosen = dataset.episode_ids.tolist()
    elif split.sets is None:
        raise DatasetError(
            f"--split {name} is not known for {dataset.root}: {split.source}. Take all of its episodes with "
            "--split all, or name the model folder that training wrote, which holds the split"
        )
    else:
        chosen = split.sets[name]
    if episodes is not None:
        asked = set(episode_numbers(episodes, dataset))
        chosen = [episode for episode in chosen if episode in asked]
    if not chosen:
        raise DatasetError(f"--episodes chooses no episode of the split {name!r} of {dataset.root}")
    return sorted(chosen)
