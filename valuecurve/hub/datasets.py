"""Datasets to the Hub: label sets, each a configuration of its own, and LeRobot datasets, exports among them.

    values/T/manifest.json, scores/part-*.parquet, labels.parquet, labels.png    as valuecurve keeps them
    README.md       configs: T -> values/T/labels.parquet; a block of the card for each tag

so that `datasets.load_dataset(REPO, T)` reads what `valuecurve label` wrote, and valuecurve reads it again.
`labels.parquet` has two columns more than here: timestamp and task. Loading needs nothing of this room.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from valuecurve.advantages import indicator_text
from valuecurve.episodes import EpisodeDataset, open_dataset
from valuecurve.episodes.layout import is_hub_id, read_parquet
from valuecurve.episodes.outcome_file import outcome_file
from valuecurve.hub import dataset_cards as cards
from valuecurve.hub.label_picture import label_picture
from valuecurve.hub.upload import HubError, Pushed, Target, folder_files, hub_errors, push_files, read_remote
from valuecurve.labels.exports.folder import MARK
from valuecurve.labels.label_set import FILE as LABELS
from valuecurve.labels.label_set import read_labels
from valuecurve.labels.shares import label_shares
from valuecurve.labels.targets import FILE as TARGETS
from valuecurve.scoring.scores import kept_folder, part_path, read_scores

TAGS = ["LeRobot", "robotics", "value-function", "valuecurve"]
DEFAULT = {"config_name": "default", "data_files": "data/*/*.parquet"}  # as LeRobot's own cards have it

Content = Path | bytes | str


def push_dataset(
    place: str | Path,
    target: Target,
    tags: Sequence[str] = (),
    values: str | Path | None = None,
    dry_run: bool = False,
    show: Callable[[str], object] = print,
) -> Pushed | None:
    """Push label sets of a dataset, or, without tags, the dataset itself.

    Args:
        place: a labelled dataset, in a folder or on the Hub; or what `valuecurve export` made.
        target: the repository: the dataset's own, or another.
        tags: label sets to push. The tag of an export pushes that export.
        values: folder of the sidecars; the dataset's own when None.
        dry_run: list the files and stop: neither token nor network.
        show: takes the list of files before anything is sent.

    Raises:
        DatasetError: a dataset, scores or labels that cannot be read.
        HubError: what cannot be pushed.
    """
    export = _export(Path(place))
    if tags and not (export and list(tags) == [export["tag"]]):
        return _push_labels(open_dataset(place), tags, target, values, dry_run, show)
    if is_hub_id(place):
        raise HubError(f"{place} is on the Hub already: name the label set to push, with --tag")
    return _push_folder(Path(place), export, target, dry_run, show)


def _export(folder: Path) -> dict | None:
    """What an export was made from; None for what is none."""
    path = folder / MARK
    if not path.is_file():
        return None
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise HubError(f"{path} cannot be read: {error}. Export again") from error
    return made if "tag" in made else None


# -- label sets --------------------------------------------------------------------------------------------


@dataclass
class _Set:
    """What is pushed of a tag: files by path in the repository, what the card says, what people load."""

    files: dict[str, Content]
    facts: dict
    loaded: str


def _push_labels(
    dataset: EpisodeDataset,
    tags: Sequence[str],
    target: Target,
    values: str | Path | None,
    dry_run: bool,
    show: Callable[[str], object],
) -> Pushed | None:
    sets = {tag: _label_set(dataset, tag, values) for tag in dict.fromkeys(tags)}
    if "default" in sets:
        raise HubError("the tag 'default' is what the Hub calls a dataset's own tables: label under another")
    files: dict[str, Content] = {}
    for one in sets.values():
        files |= one.files
    outcomes = outcome_file(dataset, values)
    if outcomes.is_file():
        files["values/outcomes.parquet"] = outcomes
    there = set() if dry_run else _remote_names(target)
    remote = read_remote(target, "README.md") if "README.md" in there else None
    configs = [_config(tag, one.loaded) for tag, one in sets.items()]
    if "meta/info.json" in there:
        _check_same_dataset(target, dataset)
        configs = [*([] if _has_default(remote) else [DEFAULT]), *configs]
    data: dict[str, Any] = {"tags": TAGS[1:], "task_categories": ["robotics"], "configs": configs}
    if dataset.hub is not None and dataset.hub.repo != target.repo:
        data["source_datasets"] = [dataset.hub.repo]
    files["README.md"] = cards.dataset_card(
        target.repo, remote, data, None, [one.facts for one in sets.values()]
    )
    stale = _left_over(there, [f"values/{tag}/" for tag in sets], files)
    names = ", ".join(sets)
    message = f"{'Label set' if len(sets) == 1 else 'Label sets'} {names}"
    return push_files(target, files, message, delete=stale, dry_run=dry_run, show=show)


def _config(tag: str, path: str) -> dict:
    return {"config_name": tag, "data_files": [{"split": "train", "path": path}]}


def _label_set(dataset: EpisodeDataset, tag: str, values: str | Path | None) -> _Set:
    """Labels where there are any, else scores, else targets."""
    folder = kept_folder(dataset, tag, values)
    if not (folder / "manifest.json").is_file() and (folder / TARGETS).is_file():
        table = read_parquet(folder / TARGETS)
        about = json.loads((table.schema.metadata or {})[b"targets"])
        path = f"values/{tag}/{TARGETS}"
        return _Set({path: folder / TARGETS}, cards.target_facts(tag, about, table.schema), path)
    scores = read_scores(dataset, tag, values)
    files: dict[str, Content] = {f"values/{tag}/manifest.json": folder / "manifest.json"}
    for number in range(scores.manifest["scores"]["parts"]):
        path = part_path(folder, number)
        files[f"values/{tag}/scores/{path.name}"] = path
    if (folder / TARGETS).is_file():
        files[f"values/{tag}/{TARGETS}"] = folder / TARGETS
    if "labels" not in scores.manifest:
        schema = read_parquet(part_path(folder, 0)).schema
        return _Set(files, cards.score_facts(tag, scores.manifest, schema), f"values/{tag}/scores/*.parquet")
    labels = read_labels(dataset, tag, values)
    table = _with_texts(dataset, labels.rows, labels.task_index, labels.table)
    files[f"values/{tag}/{LABELS}"] = _parquet(table)
    picture = f"values/{tag}/labels.png"
    files[picture] = label_picture(dataset, labels, tag, values)
    shares = label_shares(labels, dataset.tasks)
    facts = cards.label_facts(tag, labels.manifest, shares, dataset.fps, table.schema, picture)
    return _Set(files, facts, f"values/{tag}/{LABELS}")


def _with_texts(dataset: EpisodeDataset, rows, task_index, table: pa.Table) -> pa.Table:
    """The labels with time and task text of every frame, for people without the dataset beside them."""
    metadata = table.schema.metadata
    if "timestamp" in dataset.frames.column_names:
        table = table.add_column(3, "timestamp", dataset.frames["timestamp"].take(pa.array(rows)))
    texts = pa.array(dataset.tasks, pa.string()).take(pa.array(task_index))
    place = table.column_names.index("task_index") + 1
    return table.add_column(place, "task", texts).replace_schema_metadata(metadata)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


# -- datasets ----------------------------------------------------------------------------------------------


def _push_folder(
    folder: Path, export: dict | None, target: Target, dry_run: bool, show: Callable[[str], object]
) -> Pushed | None:
    flat = export is not None and export["format"] == "parquet"
    dataset = None if flat else open_dataset(folder)
    files: dict[str, Content] = {name: path for name, path in folder_files(folder).items() if _is_own(name)}
    there = set() if dry_run else _remote_names(target)
    remote = read_remote(target, "README.md") if "README.md" in there else _text(folder / "README.md")
    data: dict[str, Any] = {"tags": TAGS[1:] if flat else TAGS, "task_categories": ["robotics"]}
    sets = []
    if dataset is not None:
        _check_videos(dataset)
        data["configs"] = [] if _has_default(remote) else [DEFAULT]
    if export is not None:
        if "name" in export["dataset"]:
            data["source_datasets"] = [export["dataset"]["name"]]
        sets = [_export_facts(export, dataset, files)]
        if flat:
            data["configs"] = [{"config_name": export["tag"], "data_files": "data/train-*.parquet"}]
    files["README.md"] = cards.dataset_card(
        target.repo, remote, data, cards.dataset_facts(dataset) if dataset is not None else None, sets
    )
    stale = _left_over(there, ["data/", "meta/", "videos/", "images/"], files)
    return push_files(
        target,
        files,
        f"Dataset with labels {export['tag']}" if export else "Dataset",
        delete=stale,
        dry_run=dry_run,
        show=show,
        tags=[dataset.version] if dataset is not None else (),
    )


def _is_own(name: str) -> bool:
    """Whether a file belongs to the dataset itself: no sidecar, no hidden file; the card is made anew."""
    parts = PurePosixPath(name).parts
    return parts[0] != "values" and name != "README.md" and not any(part.startswith(".") for part in parts)


def _export_facts(export: dict, dataset: EpisodeDataset | None, files: dict[str, Content]) -> dict:
    """What the card says of an export's labels."""
    schema = None
    if dataset is None:
        path = next(content for name, content in sorted(files.items()) if name.endswith(".parquet"))
        assert isinstance(path, Path)
        schema = pq.read_schema(path)
    picture = "labels.png" if "labels.png" in files else None
    fps = dataset.fps if dataset is not None else export["scores"]["fps"]
    shares, tag = export.get("shares", []), export["tag"]
    facts = cards.label_facts(tag, export, shares, fps, schema, picture, block=f"export {tag}")
    facts["made"].append(f"exported by valuecurve {export['valuecurve']} in the format `{export['format']}`")
    if export["format"] == "lerobot" and shares:
        asked = indicator_text(shares[0]["task"], True, export["template"])
        said = "the task of every frame ends in its indicator; a policy is asked with the positive one"
        facts["made"].append(f"{said}: `{asked!r}`")
    return facts


def _check_videos(dataset: EpisodeDataset) -> None:
    for camera in dataset.cameras.values():
        for path in dict.fromkeys(dataset.video_files(camera.key)[0]) if camera.kind == "video" else ():
            if dataset.size(path) < 0:
                raise HubError(f"{path} is missing: a dataset is pushed whole, copy the file first")


# -- what is there -----------------------------------------------------------------------------------------


def _remote_names(target: Target) -> set[str]:
    """The files of the repository, or of its branch; none where there is no such."""
    with hub_errors(target):
        try:
            api = HfApi(token=target.token)
            return set(api.list_repo_files(target.repo, repo_type="dataset", revision=target.revision))
        except RevisionNotFoundError:
            return set()
        except RepositoryNotFoundError as error:
            if type(error) is not RepositoryNotFoundError:  # gated
                raise
            return set()


def _left_over(there: Iterable[str], folders: Iterable[str], files: dict[str, Content]) -> list[str]:
    """Files of an earlier push that this one has no more."""
    prefixes = tuple(folders)
    return sorted(name for name in there if name.startswith(prefixes) and name not in files)


def _check_same_dataset(target: Target, dataset: EpisodeDataset) -> None:
    """Labels of another dataset beside this one would be taken for its own."""
    try:
        info = json.loads(read_remote(target, "meta/info.json") or "{}")
        theirs = (info.get("total_episodes"), info.get("total_frames"))
    except (ValueError, AttributeError) as error:
        if isinstance(error, HubError):
            raise
        raise HubError(
            f"meta/info.json of {target.repo} cannot be read ({error}): push to a repository of its own"
        ) from error
    ours = (len(dataset.episode_ids), dataset.frames.num_rows)
    if theirs != ours:
        raise HubError(
            f"{target.repo} holds another dataset ({theirs[0]} episodes, {theirs[1]} frames) than the one "
            f"that was labelled ({ours[0]} episodes, {ours[1]} frames): push the labels to a repository of "
            "their own"
        )


def _has_default(card: str | None) -> bool:
    return card is not None and "config_name: default" in card.split("\n---", 1)[0]


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
