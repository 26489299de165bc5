"""The card of a dataset repository: what the dataset is, and a block for each label set in it.

A block stands between two comments of its own, so that a push of one label set keeps the blocks of the
others. What people write around them stays (cards.py).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
from huggingface_hub import DatasetCardData, constants

from valuecurve.episodes import DatasetError, EpisodeDataset, resolve_outcomes
from valuecurve.hub.cards import BEGIN, END, merge_card, render

TEMPLATE = "dataset_card.md"
BLOCK = re.compile(
    r"<!-- valuecurve:block (?P<name>[^>]+) -->.*?<!-- valuecurve:end of block (?P=name) -->", re.DOTALL
)
COMMIT = re.compile(r"[0-9a-f]{40}")
COLUMNS = {  # name: unit, meaning
    "index": ("frames", "number of the frame in the dataset"),
    "episode_index": ("", "number of the episode"),
    "frame_index": ("frames", "number of the frame in its episode, from 0"),
    "timestamp": ("seconds", "time since the beginning of the episode"),
    "task_index": ("", "number of the frame's task in the dataset"),
    "task": ("", "what the robot was told to do"),
    "value": ("value units", "mean of the predicted distribution: minus the time to success, in [-1, 0]"),
    "value_std": ("value units", "standard deviation of the predicted distribution"),
    "return": ("value units", "the return, from how the episode ended; null where that is not known"),
    "advantage": ("value units", "how much better things went from this frame on than the value said"),
    "positive": (
        "",
        "whether the advantage reaches the threshold of its task, or the frame is always positive",
    ),
    "intervention": ("", "whether a human drove the robot at this frame: always positive"),
    "stage": ("", "stage of the episode, from 0"),
    "slice": ("", "class of equal size by advantage, 0 the lowest"),
    "relative": ("progress", "predicted gain in progress over the horizon, in [-1, 1]"),
    "absolute_value": ("progress", "predicted progress, 0 the beginning and 1 success"),
    "absolute_advantage": ("progress", "gain of the predicted progress over the horizon"),
    "quantiles": ("value units", "quantiles of the predicted distribution"),
    "distribution": ("probability", "the predicted distribution, bin by bin"),
    "target": ("value units", "what a value function is trained on: the return, in [-1, 0]"),
}


def dataset_card(
    repo: str, remote: str | None, data: Mapping[str, Any], dataset: dict | None, sets: Iterable[dict]
) -> str:
    """The card to push.

    Args:
        repo: owner/name.
        remote: the card that is there, or that the dataset came with; None without one.
        data: our keys of the front matter.
        dataset: what `dataset_facts` gives; None where only label sets are pushed.
        sets: what `label_facts` and its like give, one for each block.
    """
    title = repo.split("/")[-1]
    card = DatasetCardData(**data)
    ours = render(TEMPLATE, card, title=title, repo=repo, dataset=dataset, label_sets=list(sets))
    return merge_card(remote, _with_blocks_of(remote or "", ours))


def _with_blocks_of(remote: str, ours: str) -> str:
    """Our card with the blocks of the one that is there that it has no newer one of; the dataset's first."""
    blocks = {match["name"]: match.group() for card in (remote, ours) for match in BLOCK.finditer(card)}
    names = sorted(blocks, key=lambda name: (name != "dataset", name))
    head, rest = ours.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    body = "\n\n".join(blocks[name] for name in names)
    return f"{head}{BEGIN}\n{body}\n{END}{tail}"


def cell(text: object) -> str:
    """A text as one cell of a table: task texts may hold anything."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


# -- facts -------------------------------------------------------------------------------------------------


def dataset_facts(dataset: EpisodeDataset) -> dict:
    """What the card says of a dataset."""
    cameras = [f"{c.name} ({c.width} x {c.height})" for c in dataset.cameras.values()]
    names = dataset.state_names
    seconds = dataset.frames.num_rows / dataset.fps
    return {
        "version": dataset.version,
        "episodes": f"{len(dataset.lengths):,}, of {dataset.lengths.min()} to {dataset.lengths.max()} frames",
        "frames": f"{dataset.frames.num_rows:,}, {dataset.fps:g} a second: {seconds / 60:.1f} minutes",
        "cameras": cell(", ".join(cameras) or "none"),
        "state": cell(f"{len(names)} dimensions: {', '.join(names)}" if names else "none"),
        "outcomes": _outcomes(dataset),
        "tasks": [cell(task) for task in dataset.tasks],
    }


def _outcomes(dataset: EpisodeDataset) -> str:
    try:
        outcomes = resolve_outcomes(dataset)
    except DatasetError:
        return "not given"
    good = int(outcomes.success.sum())
    return f"{good:,} successes, {len(outcomes.success) - good:,} failures (from {cell(outcomes.source)})"


def label_facts(
    tag: str,
    manifest: Mapping[str, Any],
    shares: Iterable[Mapping[str, Any]],
    fps: float,
    schema: pa.Schema | None = None,
    picture: str | None = None,
    block: str | None = None,
) -> dict:
    """What the card says of a label set.

    Args:
        manifest: of the tag, or of an export: with "dataset", "scores" and "labels".
        shares: what `label_shares` gives.
        fps: frames a second of the dataset, which the horizon is counted in.
        schema: of the table that people load; None for an export that is a dataset.
        picture: path of the histogram in the repository.
        block: name of the block; the tag's when None.
    """
    rows = [
        {
            "task": cell(row["task"]),
            "stage": row.get("stage"),
            "frames": f"{row['frames']:,}",
            "positive": f"{row['positive']:.1%}",
            "threshold": "–" if row["threshold"] is None else f"{row['threshold']:+.4f}",
            "scale": "–" if row["scale"] is None else _steps(row["scale"], manifest["scores"]["fps"]),
        }
        for row in shares
    ]
    return {
        "block": block or f"tag {tag}",
        "title": f"Labels `{tag}`",
        "picture": picture,
        "how": _how(manifest["labels"], fps),
        "rows": rows,
        "staged": any(row["stage"] is not None for row in rows),
        "made": [*_made(manifest), f"outcomes: {cell(manifest['labels'].get('outcomes') or 'none')}"],
        "columns": _columns(schema),
        "config": tag if schema is not None else None,
    }


def score_facts(tag: str, manifest: Mapping[str, Any], schema: pa.Schema) -> dict:
    """What the card says of scores that were not labelled yet."""
    how = "The values of every scored frame. They were not labelled yet."
    return _plain(f"Scores `{tag}`", how, tag, _made(manifest), schema)


def target_facts(tag: str, about: Mapping[str, Any], schema: pa.Schema) -> dict:
    """What the card says of value targets, which no model has a part in."""
    scales = ", ".join(f"{cell(task)}: {scale:g}" for task, scale in about["scales"].items())
    made = [f"frames of one value unit: {scales}", f"outcomes: {cell(about['outcomes'])}"]
    how = (
        "What a value function is trained on: minus the steps to success over the scale, from outcomes alone."
    )
    return _plain(f"Targets `{tag}`", how, tag, made, schema)


def _plain(title: str, how: str, tag: str, made: list[str], schema: pa.Schema) -> dict:
    block = {"block": f"tag {tag}", "title": title, "how": how, "rows": [], "staged": False, "picture": None}
    return {**block, "made": made, "columns": _columns(schema), "config": tag}


def _how(settings: Mapping[str, Any], fps: float) -> str:
    mode = {"n_step": "n-step", "full": "Full-episode", "progress": "Progress"}[settings["mode"]]
    horizon = settings.get("horizon")
    over = f" over {horizon} frames ({horizon / fps:.1f} s)" if horizon else ""
    scope = "of each task" if settings["scope"] == "task" else "of all tasks together"
    stage = " and stage" if settings.get("stages") else ""
    share = f"the highest {settings['positive_fraction']:.0%} of the frames {scope}{stage} are positive"
    if settings.get("thresholds_of"):
        share = f"frames are positive by the thresholds of {cell(settings['thresholds_of'])}"
    if settings.get("all_positive"):
        share = "all frames are positive"
    costs = {
        "floor": "failed episodes count as the lowest value at every frame",
        "penalty": "a failure costs a penalty",
    }
    cost = costs.get(settings.get("fail", ""), "")
    if settings.get("fail") == "penalty":
        cost += f" of {settings['fail_penalty']:g} steps"
    return f"{mode} advantages{over}: {share}{'; ' + cost if cost else ''}."


def _made(manifest: Mapping[str, Any]) -> list[str]:
    """Which model scored which dataset."""
    scores, source = manifest["scores"], manifest["dataset"]
    lines = [
        f"scored by {_link(scores['model'], scores.get('revision'))}, weights sha256 "
        f"`{scores['weights'][:12]}`"
    ]
    named = _link(source["name"], source.get("revision"), "datasets/") if "name" in source else None
    lines.append(
        f"of the dataset {named or cell(source['key'])}: {source['episodes']:,} episodes, "
        f"{source['frames']:,} frames, fingerprint `{source['fingerprint'][:12]}`"
    )
    if scores.get("failed_episodes"):
        left_out = ", ".join(sorted(scores["failed_episodes"], key=int))
        lines.append(f"left out, as their videos could not be read: episodes {left_out}")
    return lines


def _link(name: str, revision: str | None, kind: str = "") -> str:
    """A repository at a commit as a link; a folder's name as it is."""
    if not revision or not COMMIT.fullmatch(revision):
        return f"`{cell(name)}`"
    return f"[{name}]({constants.ENDPOINT}/{kind}{name}/tree/{revision}) at revision `{revision[:12]}`"


def _steps(scale: float, fps: float) -> str:
    return f"{scale:g} ({scale / fps:.1f} s)"


def _columns(schema: pa.Schema | None) -> list[dict[str, str]]:
    names = [] if schema is None else schema.names
    found = []
    for name in names:
        assert schema is not None
        unit, meaning = COLUMNS.get(name, ("", ""))
        kind = str(schema.field(name).type).replace("large_string", "string")
        found.append({"name": name, "type": kind, "unit": unit, "meaning": meaning})
    return found
