"""Views of a dataset: some of its episodes, or all of them at another frame rate.

Nothing is decoded here: beside the view stand the rows of the source `[N']` that show each of its frames.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from valuecurve.episodes.dataset import EpisodeDataset


def select(dataset: EpisodeDataset, episodes: list[int]) -> tuple[EpisodeDataset, np.ndarray]:
    """The dataset with these episodes alone, and the source row of each of its frames, int64 `[N']`.

    Raises:
        DatasetError: an episode that is not there.
    """
    positions = np.unique(dataset.episode_positions(episodes))
    rows = dataset.episode_rows(episodes)
    chosen = replace(
        dataset,
        frames=dataset.frames.take(pa.array(rows)),
        episodes=dataset.episodes.take(pa.array(positions)),
        file_of_row=dataset.file_of_row[rows],
    )
    return chosen, rows


def resample(dataset: EpisodeDataset, fps: float) -> tuple[EpisodeDataset, np.ndarray]:
    """The dataset at `fps`, and the source row of each of its frames, int64 `[N']`.

    Pictures and everything that is no vector are those of the nearest frame; the state is interpolated
    linearly. An episode keeps its first and its last frame (the one that decides about success); those
    between lie evenly, so over a whole episode they differ from 1 / fps by less than half a new frame.

    Raises:
        ValueError: a rate that is not positive.
    """
    if not 0 < fps < np.inf:
        raise ValueError(f"fps must be a positive number, got {fps}")
    if fps == dataset.fps:
        return dataset, np.arange(dataset.frames.num_rows)
    last = dataset.lengths - 1
    lengths = np.round(last * fps / dataset.fps).astype(np.int64) + 1
    lengths[last > 0] = np.maximum(lengths[last > 0], 2)  # first and last frame
    frame = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    steps = np.repeat(last / np.maximum(lengths - 1, 1), lengths)  # source frames per new frame
    position = np.repeat(dataset.starts, lengths) + frame * steps  # in source rows, exact at both ends
    source_rows = np.floor(position + 0.5).astype(np.int64)
    frames = dataset.frames.take(pa.array(source_rows))
    changed = {"frame_index": frame, "timestamp": frame / fps, "index": np.arange(len(frame))}
    for name, column in changed.items():
        if name in frames.column_names:
            kind = frames.schema.field(name).type
            frames = frames.set_column(frames.column_names.index(name), name, pa.array(column).cast(kind))
    resampled = replace(
        dataset,
        fps=float(fps),
        frames=frames,
        episodes=dataset.episodes.set_column(
            dataset.episodes.column_names.index("length"), "length", pa.array(lengths)
        ),
        file_of_row=dataset.file_of_row[source_rows],
    )
    resampled.states = _interpolated(dataset.states, position)  # instead of the nearest frame's
    return resampled, source_rows


def _interpolated(values: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Rows of `values` `[N, D]` at fractional positions `[N']`: float32 `[N', D]`."""
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, len(values) - 1)
    share = (position - below)[:, None]
    return ((1 - share) * values[below] + share * values[above]).astype(np.float32)
