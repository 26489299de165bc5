"""Scores on disk: where they lie, and reading them back, checked. Nothing here needs torch.

    V/T/manifest.json             what was scored, by which model, how; later also how it was labelled
    V/T/scores/part-00000.parquet …   index, episode_index, frame_index, value, value_std, … of whole episodes

of a tag T, where V is `values` in the dataset's folder (see `EpisodeDataset.values`), or any other folder.
The dataset's own files are never touched, and its fingerprint does not depend on `values`.
"""

import difflib
import errno
import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from valuecurve.episodes.dataset import EpisodeDataset
from valuecurve.episodes.layout import DatasetError, unreadable

FORMAT = 1
TAG = re.compile(r"[A-Za-z0-9._-]{1,100}")
FIXED = ("index", "episode_index", "frame_index", "value", "value_std")
RULES = {  # what every reader of manifest["scores"] relies on
    "complete": lambda x: isinstance(x, bool),
    "parts": lambda x: isinstance(x, int) and x >= 1,
    "columns": lambda x: isinstance(x, list) and set(FIXED) <= set(map(str, x)),
    "episodes": lambda x: x == "all" or isinstance(x, list) and all(isinstance(e, int) for e in x),
    "failed_episodes": lambda x: isinstance(x, dict) and all(map(str.isdecimal, x)),
    "scales": lambda x: isinstance(x, dict) and all(map(_is_positive, x.values())),
    "fps": lambda x: x is None or _is_positive(x),
}


@dataclass
class Scores:
    """A model's values for some frames of a dataset. n frames.

    `columns` holds the rest: for pairwise checkpoints relative, absolute_value and absolute_advantage [n]; on
    request quantiles [n, levels] or distribution [n, bins]; all float32.
    """

    folder: Path
    manifest: dict
    rows: np.ndarray  # int64 [n], the dataset's rows that are scored, ascending
    value: np.ndarray  # float32 [n], value units
    value_std: np.ndarray  # float32 [n], value units
    columns: dict[str, np.ndarray] = field(default_factory=dict)


def tag_folder(dataset: EpisodeDataset, tag: str, values: str | Path | None = None) -> Path:
    """The folder of a tag: `values`/tag, by default below the dataset; it need not exist.

    Raises:
        DatasetError: a tag that is no plain name; a place among the files of the dataset, which never change.
    """
    if not TAG.fullmatch(tag) or set(tag) == {"."}:
        raise DatasetError(f"the tag {tag!r} must be made of letters, digits and . _ - only, 100 at most")
    return dataset.values_folder(values) / tag


def kept_folder(dataset: EpisodeDataset, tag: str, values: str | Path | None = None) -> Path:
    """`tag_folder`, to read from: where nothing lies under the tag yet, and the repository of a dataset of
    the Hub holds `values`/tag, that is copied there first."""
    folder = tag_folder(dataset, tag, values)
    if dataset.hub is not None and values is None and not folder.exists():
        dataset.hub.copy(f"values/{tag}", folder)
    return folder


def read_manifest(folder: Path) -> dict:
    """`manifest.json` of a tag's folder.

    Raises:
        DatasetError: there is none (the tags that there are are named), it cannot be read, or an entry that
            readers rely on is not there or not of its kind.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise DatasetError(f"{folder} holds no scores{_other_tags(folder)}; valuecurve score makes them")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}. Score the dataset again, with --overwrite"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        seen = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise DatasetError(f"{path}: format {seen!r}, this version reads format {FORMAT}")
    wrong = _wrong_in(manifest)
    if wrong:
        raise DatasetError(f"{path} has no valid {wrong}: was it edited? Score again, with --overwrite")
    return manifest


def _wrong_in(manifest: dict) -> str | None:
    """The first entry that scoring always writes, and that is not there or not what it should be."""
    about, scores = manifest.get("dataset"), manifest.get("scores", {})
    if not isinstance(about, dict) or not isinstance(about.get("fingerprint"), str):
        return "dataset: fingerprint"
    if not isinstance(scores, dict):
        return "scores"
    wrong = (name for name, fits in RULES.items() if scores and not fits(scores.get(name)))
    return next((f"scores: {name}" for name in wrong), None)


def _is_positive(number: object) -> bool:
    return isinstance(number, int | float) and 0 < number < math.inf


def _other_tags(folder: Path) -> str:
    tags = sorted(path.parent.name for path in folder.parent.glob("*/manifest.json"))
    if not tags:
        return ""
    near = difflib.get_close_matches(folder.name, tags, n=1)
    return f" (did you mean {near[0]!r}?)" if near else f" (there are the tags {', '.join(tags[:10])})"


def write_manifest(folder: Path, manifest: dict) -> None:
    """Write `manifest.json` of a tag's folder, whole or not at all.

    Raises:
        DatasetError: the folder cannot be written, or the disk is full.
    """
    text = json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "manifest.json", lambda path: path.write_text(text, encoding="utf-8"))


def write_part(path: Path, table: pa.Table) -> None:
    """Write a part file, with checksums, whole or not at all. Raises as `write_manifest`."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, lambda temporary: pq.write_table(table, temporary, write_page_checksum=True))


def is_sound(path: Path) -> bool:
    """Whether a part that is there holds, to its last byte, what was written."""
    try:
        return _part_table(path) is not None
    except (pa.ArrowException, OSError, ValueError):
        return False


def _part_table(path: Path) -> pa.Table:
    return pq.read_table(path, page_checksum_verification=True)


def part_path(folder: Path, number: int) -> Path:
    """File of the `number`-th part of a tag's folder."""
    return folder / "scores" / f"part-{number:05d}.parquet"


def _replace(path: Path, write) -> None:
    """Give a file its new content in one step; nothing is left over where that fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class writing:
    """Turns what a disk can refuse into a DatasetError that says where, and what to do.

    `option` is the one that names another folder.
    """

    def __init__(self, folder: Path, option: str = "--values"):
        self.folder, self.option = folder, option

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = f"no room left on the disk. Free some space, or name another folder with {self.option}"
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            remedy = f"{os.strerror(error.errno)}. Name a folder that can be written with {self.option}"
        elif isinstance(error, FileExistsError | NotADirectoryError):
            remedy = f"there is a file in its place. Name a folder with {self.option}"
        else:
            remedy = str(error)
        raise DatasetError(f"{self.folder} cannot be written: {remedy}") from error


# -- reading -----------------------------------------------------------------------------------------------


def read_scores(dataset: EpisodeDataset, tag: str, values: str | Path | None = None) -> Scores:
    """The scores of a dataset under a tag.

    Raises:
        DatasetError: there are none; they are of another dataset or another revision of it; the run that
            makes them is not finished; a part is missing, damaged, or holds other frames than it should; a
            value is not finite (file, episode and frame are named).
    """
    folder = kept_folder(dataset, tag, values)
    manifest = read_manifest(folder)
    scores = manifest.get("scores")
    if not scores:
        raise DatasetError(f"{folder} holds no scores: run valuecurve score with --tag {tag}")
    check_dataset(folder, manifest, dataset)
    if not scores["complete"]:
        raise DatasetError(
            f"{folder}: scoring is not finished; run the same valuecurve score command again: it continues"
        )
    paths = [part_path(folder, number) for number in range(scores["parts"])]
    tables = [_read_part(path, dataset, manifest) for path in paths]
    table = pa.concat_tables(tables, promote_options="permissive")
    rows = scored_rows(dataset, scores)
    _check_frames(dataset, rows, table, paths, [part.num_rows for part in tables])
    arrays = {name: _array(table[name]) for name in table.column_names if name not in FIXED[:3]}
    for name, array in arrays.items():
        wrong = np.flatnonzero(~np.isfinite(array).all(axis=tuple(range(1, array.ndim))))
        if len(wrong):
            ends = np.cumsum([part.num_rows for part in tables])
            path = paths[int(np.searchsorted(ends, wrong[0], side="right"))]
            row = rows[wrong[0]]
            raise DatasetError(
                f"{path}, episode {dataset.episode_index[row]}, frame {dataset.frame_index[row]}: {name} is "
                f"not a number ({len(wrong)} such frames). Score it again with --overwrite"
            )
    return Scores(folder, manifest, rows, arrays.pop("value"), arrays.pop("value_std"), arrays)


def scored_rows(dataset: EpisodeDataset, scores: dict) -> np.ndarray:
    """Rows that finished scores hold, int64 [n]: of the episodes asked for, but for those that failed."""
    asked = dataset.episode_ids.tolist() if scores["episodes"] == "all" else scores["episodes"]
    failed = {int(episode) for episode in scores["failed_episodes"]}
    return dataset.episode_rows([episode for episode in asked if episode not in failed])


def check_dataset(folder: Path, manifest: dict, dataset: EpisodeDataset) -> None:
    """Raises DatasetError when the manifest is of another dataset, or of another revision of this one."""
    made_of = manifest["dataset"]
    if made_of["fingerprint"] == dataset.fingerprint:
        return
    seen = f"{made_of.get('frames')} frames in {made_of.get('episodes')} episodes"
    here = f"{dataset.frames.num_rows} frames in {len(dataset.episode_ids)} episodes"
    raise DatasetError(
        f"{folder} is of another dataset or another revision: it was made of {made_of.get('key')!r} ({seen}, "
        f"fingerprint {made_of['fingerprint'][:8]}), {dataset.root} has {here} (fingerprint "
        f"{dataset.fingerprint[:8]}). Score this one under another tag, or with --overwrite"
    )


def _read_part(path: Path, dataset: EpisodeDataset, manifest: dict) -> pa.Table:
    if not path.is_file():
        raise DatasetError(f"{path} is missing: run valuecurve score again, it makes what is missing")
    try:
        table = _part_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(
            f"{unreadable(path, error)}. Run the same valuecurve score command again: it makes this part anew"
        ) from error
    missing = [name for name in manifest["scores"]["columns"] if name not in table.column_names]
    if missing:
        raise DatasetError(f"{path}: the column {missing[0]!r} is missing; columns: {table.column_names}")
    return table.select(manifest["scores"]["columns"])


def _check_frames(
    dataset: EpisodeDataset, rows: np.ndarray, table: pa.Table, paths: list[Path], sizes: list[int]
) -> None:
    """Whether the parts hold exactly the frames of these rows, in their order."""
    ends = np.cumsum(sizes)
    episode, frame = table["episode_index"].to_numpy(), table["frame_index"].to_numpy()
    n = min(len(rows), len(episode))
    same = (episode[:n] == dataset.episode_index[rows[:n]]) & (frame[:n] == dataset.frame_index[rows[:n]])
    if same.all() and len(rows) == len(episode):
        return
    at = int(np.argmin(same)) if not same.all() else n
    path = paths[min(int(np.searchsorted(ends, at, side="right")), len(paths) - 1)]
    holds = f"episode {episode[at]}, frame {frame[at]}" if at < len(episode) else "nothing more"
    wanted = "nothing more"
    if at < len(rows):
        wanted = f"episode {dataset.episode_index[rows[at]]}, frame {dataset.frame_index[rows[at]]}"
    raise DatasetError(
        f"{path} holds {holds} where {wanted} belongs: it is not of this run, or incomplete. Delete it and "
        "run valuecurve score again, it makes what is missing"
    )


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """A column as float32 [n], or [n, k] for lists; nulls become NaN."""
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy().astype(np.float32, copy=False)
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([*flat, np.empty(0, np.float32)]).reshape(len(column), column.type.list_size)
