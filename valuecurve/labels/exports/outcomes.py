"""A new dataset that holds its outcomes: the source with the frame column `next.success`, LeRobot's own."""

from pathlib import Path

import numpy as np

import valuecurve
from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.labels.exports import folder
from valuecurve.labels.exports.changes import Changes, check_columns, everything
from valuecurve.labels.exports.metadata import write_json
from valuecurve.labels.exports.rewriting import rewrite_tables, take_over

COLUMN = "next.success"


def export_outcomes(
    dataset: EpisodeDataset, success: np.ndarray, output: str | Path, overwrite: bool = False
) -> Path:
    """Write the dataset with `next.success`: true at the last frame of a success, else false.

    Args:
        dataset: the source, which is not touched; videos are hard-linked.
        success: outcomes bool `[E]`, in the order of `dataset.episodes`.
        output: the folder to make.
        overwrite: replace an export that is there already.

    Raises:
        DatasetError: the source has `next.success` already; an output that exists or lies in the source; a
            disk that is full or cannot be written.
    """
    output = Path(output)
    flags = np.zeros(dataset.frames.num_rows, bool)
    flags[dataset.starts + dataset.lengths - 1] = success
    changes, kept = Changes(columns={COLUMN: flags}), everything(dataset)
    folder.check_place(output, dataset.root, None, overwrite)
    check_columns(dataset, changes)
    with folder.new_folder(output) as target:
        written = rewrite_tables(kept, changes, target)
        take_over(kept, written, dataset.values, target)
        about = {"key": dataset.key, "fingerprint": dataset.fingerprint}
        made = {"format": "outcomes", "valuecurve": valuecurve.__version__, "dataset": about}
        write_json(made, target / folder.MARK)
    return output
