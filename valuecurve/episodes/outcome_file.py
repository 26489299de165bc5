"""Outcomes beside a dataset that has none: `values/outcomes.parquet`, made from a CSV file.

The dataset's own files are never touched. Whatever resolves outcomes reads the sidecar (outcomes.py).
"""

import csv
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError, read_parquet

FILE = "outcomes.parquet"
SUCCESS_WORDS = frozenset({"success", "successful", "succeeded", "true", "yes", "1", "1.0"})
FAILURE_WORDS = frozenset({"failure", "fail", "failed", "unsuccessful", "false", "no", "0", "0.0"})


def outcome_file(dataset: EpisodeDataset, values: str | Path | None = None) -> Path:
    """Where the sidecar lies: in `values`, by default `dataset.values`. It need not exist.

    Raises:
        DatasetError: a place among the files of the dataset.
    """
    return dataset.values_folder(values) / FILE


def read_outcome_csv(dataset: EpisodeDataset, path: str | Path) -> np.ndarray:
    """Outcomes of all episodes from a CSV file with the columns episode_index and success: bool `[E]`.

    Commas, semicolons or tabs part the columns; further columns are not looked at. success is a word such as
    success, failure, true, false, 1, 0.

    Raises:
        DatasetError: naming the line: a word that says nothing known, an episode that the dataset does not
            have, one that is there twice; episodes that are missing; a file that cannot be read.
    """
    path = Path(path)
    rows = _rows(path)
    outcomes: dict[int, bool] = {}
    known = set(dataset.episode_ids.tolist())
    for line, episode_text, word in rows:
        where = f"{path}, line {line}"
        if not (episode_text.isascii() and episode_text.isdigit()):
            raise DatasetError(f"{where}: episode_index must be a whole number, got {episode_text!r}")
        episode = int(episode_text)
        if episode not in known:
            raise DatasetError(f"{where}: {dataset.root} has no episode {episode}; remove the line")
        if episode in outcomes:
            raise DatasetError(f"{where}: episode {episode} is there twice; keep one line for it")
        if word.lower() not in SUCCESS_WORDS | FAILURE_WORDS:
            raise DatasetError(
                f"{where}: success is {word!r} for episode {episode}; expected success/failure, 1/0"
            )
        outcomes[episode] = word.lower() in SUCCESS_WORDS
    missing = sorted(known - set(outcomes))
    if missing:
        some = ", ".join(map(str, missing[:10])) + (
            f" … ({len(missing)} in all)" if len(missing) > 10 else ""
        )
        raise DatasetError(f"{path} says nothing of the episodes {some} of {dataset.root}; add them")
    return np.array([outcomes[episode] for episode in dataset.episode_ids.tolist()])


def _rows(path: Path) -> list[tuple[int, str, str]]:
    """(line number, episode_index, success) of every line below the header that is not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DatasetError(f"{path} cannot be read: {reason}") from error
    lines = text.splitlines()
    header = lines[0] if lines else ""
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().strip('"') for name in header.split(delimiter)]
    if "episode_index" not in names or "success" not in names:
        seen = ", ".join(names) if header else "nothing"
        raise DatasetError(
            f"{path}: the first line must name the columns episode_index and success, it holds {seen[:200]}"
        )
    columns = names.index("episode_index"), names.index("success")
    rows = []
    for number, cells in enumerate(csv.reader(lines[1:], delimiter=delimiter), start=2):
        cells = [cell.strip() for cell in cells]
        if any(cells):
            rows.append((number, *(cells[i] if i < len(cells) else "" for i in columns)))
    return rows


def write_outcomes(dataset: EpisodeDataset, success: np.ndarray, values: str | Path | None = None) -> Path:
    """Write the sidecar: outcomes bool `[E]` in the order of `dataset.episodes`. Returns its path.

    Raises:
        DatasetError: the folder cannot be written, or lies among the files of the dataset.
    """
    path = outcome_file(dataset, values)
    table = pa.table({"episode_index": dataset.episode_ids, "success": np.asarray(success, bool)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            pq.write_table(table.replace_schema_metadata({"fingerprint": dataset.fingerprint}), temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DatasetError(
            f"{path} cannot be written: {reason}. Name a folder that can be written with --values"
        ) from error
    return path


def read_outcomes(dataset: EpisodeDataset, values: str | Path | None = None) -> np.ndarray | None:
    """Outcomes bool `[E]` of the sidecar; None where there is none.

    Raises:
        DatasetError: outcomes of another dataset or another revision of it, a damaged file, or `values` among
            the files of the dataset.
    """
    path = outcome_file(dataset, values)
    if not path.is_file() and dataset.hub is not None and values is None:
        path = dataset.root / "values" / FILE  # of the repository, if it has one
        dataset.hub.fetch([dataset.hub.relative(path)])
    if not path.is_file():
        return None
    table = read_parquet(path)
    theirs = (table.schema.metadata or {}).get(b"fingerprint", b"").decode()
    if theirs != dataset.fingerprint:
        raise DatasetError(
            f"{path} holds outcomes of another dataset or another revision (fingerprint {theirs[:8]}, here "
            f"{dataset.fingerprint[:8]}): make them again (valuecurve relabel-outcomes), or delete the file"
        )
    by_episode = dict(zip(table["episode_index"].to_pylist(), table["success"].to_pylist(), strict=True))
    return np.array([by_episode[episode] for episode in dataset.episode_ids.tolist()], bool)
