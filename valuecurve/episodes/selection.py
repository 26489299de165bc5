"""Episodes as people name them: "3, 5, 10:20"."""

import re

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError


def episode_numbers(
    episodes: str | list[int], dataset: EpisodeDataset, option: str = "--episodes"
) -> list[int]:
    """Episode indices of a selection, each once and in its order.

    Args:
        episodes: a list, or a text such as "0:100, 150": the end of a range is not included, and may be left
            out as its beginning may.
        option: what messages call it.

    Raises:
        DatasetError: a text that is no selection, or not of the dataset's episodes; an empty list.
    """
    if isinstance(episodes, list):
        if not episodes:
            raise DatasetError(f"{option} is empty: leave it out to use all episodes")
        return episodes
    chosen: list[int] = []
    count = int(dataset.episode_ids[-1]) + 1
    for piece in map(str.strip, episodes.split(",")):
        numbers = re.fullmatch(r"(\d+)|(\d*):(\d*)", piece)
        if not numbers:
            raise DatasetError(f'{option}: {piece!r} is no selection; write for example "0:100, 150"')
        one, begin, end = numbers.groups()
        first = int(one or begin or 0)
        stop = int(end or count) if one is None else first + 1
        if not first < stop <= count:
            what = "no range" if one is None else "none"
            raise DatasetError(f"{option}: {piece!r} is {what} of the episodes 0:{count} of {dataset.root}")
        chosen += range(first, stop)
    return list(dict.fromkeys(chosen))
