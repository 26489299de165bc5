"""What is in a dataset, what will be trained on, and every problem: for `valuecurve inspect`.

`inspect_dataset` gathers a plain dictionary (also the `--json` output); `print_report` shows it to people.
Videos are looked at without decoding: headers, index and duration.
"""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from valuecurve.episodes.checks import find_errors, find_warnings
from valuecurve.episodes.dataset import EpisodeDataset, read_dataset
from valuecurve.episodes.layout import Camera, DatasetError
from valuecurve.episodes.outcomes import Outcomes, resolve_outcomes
from valuecurve.episodes.splits import split_episodes
from valuecurve.episodes.video import Probe, probe
from valuecurve.returns import dataset_targets, task_scales

EXPORT_MARK = "meta/valuecurve.json"  # every export of labels has it
LOOKED_INTO = 40  # videos of each camera on the Hub whose headers are read: two requests each


def inspect_dataset(
    path: str | Path,
    column: str | None = None,
    assume: str | None = None,
    values: str | Path | None = None,
) -> dict:
    """Everything `valuecurve inspect` shows, ready for JSON; problems are under "errors" and "warnings".

    Args:
        path: dataset folder, or a dataset of the Hub.
        column: outcome column, see `resolve_outcomes`.
        assume: "success" or "failure", see `resolve_outcomes`.
        values: folder of sidecars, see `resolve_outcomes`.
    """
    try:
        dataset = read_dataset(path)
    except DatasetError as error:
        return {"dataset": str(path), "errors": str(error).splitlines(), "warnings": []}
    report = _describe(dataset)
    errors, warnings = find_errors(dataset), []
    same = dataset.lengths.sum() == len(dataset.episode_index)
    if same and np.array_equal(np.repeat(dataset.episode_ids, dataset.lengths), dataset.episode_index):
        warnings = find_warnings(dataset)
        try:
            outcomes = resolve_outcomes(dataset, column, assume, values)
            warnings += outcomes.warnings
            report |= _outcome_part(dataset, outcomes)
            if not any("task_index" in error for error in errors):
                report |= _training_part(dataset, outcomes)
        except DatasetError as error:
            errors.append(str(error))
    if (dataset.root / EXPORT_MARK).is_file():
        warnings.append(f"{EXPORT_MARK} says: exported labels. Train policies on it, not values")
    if not dataset.cameras:
        errors.append("no camera: a value model needs at least one")
    if len(dataset.lengths) < 3:
        errors.append(
            f"{len(dataset.lengths)} episode(s) are too few for training, validation and test: at least 3 "
            "are needed"
        )
    for camera in dataset.cameras.values():
        if camera.kind == "video":
            wrong, odd = _video_problems(dataset, camera)
            errors, warnings = errors + wrong, warnings + odd
    return {**report, "errors": errors, "warnings": warnings}


def _describe(dataset: EpisodeDataset) -> dict:
    lengths = dataset.lengths
    spread = {"min": int(lengths.min()), "median": float(np.median(lengths)), "max": int(lengths.max())}
    return {
        "dataset": str(dataset.root) if dataset.hub is None else dataset.hub.repo,
        **({} if dataset.hub is None else {"revision": dataset.hub.revision}),
        "key": dataset.key,
        "version": dataset.version,
        "fingerprint": dataset.fingerprint,
        "fps": dataset.fps,
        "episodes": len(lengths),
        "frames": dataset.frames.num_rows,
        "lengths": spread,
        "seconds": {name: round(value / dataset.fps, 3) for name, value in spread.items()},
        "cameras": [
            {"key": c.key, "name": c.name, "height": c.height, "width": c.width, "kind": c.kind}
            for c in dataset.cameras.values()
        ],
        "state": {"key": dataset.state_key, "names": dataset.state_names},
        "tasks": [{"task": task} for task in dataset.tasks],
    }


def _outcome_part(dataset: EpisodeDataset, outcomes: Outcomes) -> dict:
    tasks = []
    for index, text in enumerate(dataset.tasks):
        mine = dataset.episode_tasks == index
        good = int(outcomes.success[mine].sum())
        row = {
            "task": text,
            "episodes": int(mine.sum()),
            "successes": good,
            "failures": int(mine.sum()) - good,
        }
        tasks.append({**row, "longest": int(dataset.lengths[mine].max(initial=0))})
    good = int(outcomes.success.sum())
    counts = {"source": outcomes.source, "successes": good, "failures": len(outcomes.success) - good}
    return {"tasks": tasks, "outcomes": counts}


def _training_part(dataset: EpisodeDataset, outcomes: Outcomes) -> dict:
    """The default split and targets: seed 0, 8:1:1, scale "task_max" of the training set, fail "floor"."""
    split = split_episodes(dataset, outcomes)
    parts, texts = {}, [dataset.tasks[index] for index in dataset.episode_tasks]
    train = dataset.episode_positions(split["train"])
    scales = task_scales(dataset.lengths[train], [texts[i] for i in train])
    for name, episodes in split.items():
        chosen = dataset.episode_positions(episodes)
        parts[name] = {
            "episodes": len(chosen),
            "frames": int(dataset.lengths[chosen].sum()),
            "successes": int(outcomes.success[chosen].sum()),
        }
    targets, _ = dataset_targets(
        dataset.lengths[train], outcomes.success[train], [texts[i] for i in train], scale=scales
    )
    spread = {"min": float(targets.min()), "mean": float(targets.mean()), "max": float(targets.max())}
    return {
        "training": {
            "scale": "task_max",
            "fail": "floor",
            "scales": scales,
            "targets": spread,
            "split": parts,
        }
    }


def _video_problems(dataset: EpisodeDataset, camera: Camera) -> tuple[list[str], list[str]]:
    """Errors (missing, unreadable, too short) and warnings (another size or rate) of one camera's files."""
    try:
        paths, begins = dataset.video_files(camera.key)
    except DatasetError as error:
        return [str(error)], []
    ends: dict[Path, tuple[float, int]] = {}
    for path, end, episode in zip(
        paths, (begins + dataset.lengths / dataset.fps).tolist(), dataset.episode_ids.tolist(), strict=True
    ):
        ends[path] = max(ends.get(path, (0.0, -1)), (end, episode))
    errors, warnings = [], []
    looked_at = _sample(dataset, list(ends))
    if len(looked_at) < len(ends):
        warnings.append(
            f"camera {camera.key}: {len(looked_at)} of the {len(ends)} videos on the Hub were looked into"
        )
    for path, (end, episode) in ends.items():
        where = f"camera {camera.key}, episode {episode}"
        if dataset.size(path) >= 0 and path not in looked_at:
            continue
        try:
            found = _probe(dataset, path)
        except DatasetError as error:
            errors.append(f"{error} ({where})")
            continue
        if found.seconds < end - 0.5 / dataset.fps:
            errors.append(
                f"{path}: {where}: the table needs {end:.3f} s of video, it has {found.seconds:.3f} s "
                f"({found.frames} frames)"
            )
        if (found.height, found.width) != (camera.height, camera.width):
            declared = f"{camera.width}x{camera.height}"
            warnings.append(
                f"{path}: pictures of {found.width}x{found.height}, meta/info.json says {declared}"
            )
        if abs(found.fps - dataset.fps) > 0.01 * dataset.fps:
            warnings.append(f"{path}: {found.fps:g} frames/s, meta/info.json says {dataset.fps:g}")
    return errors, warnings


def _sample(dataset: EpisodeDataset, paths: list[Path]) -> set[Path]:
    """The videos whose headers are read: all, but of a dataset of the Hub LOOKED_INTO new ones at most."""
    if dataset.hub is None:
        return set(paths)
    remote = [path for path in paths if dataset.size(path) >= 0 and not path.is_file()]
    chosen = np.unique(np.linspace(0, len(remote) - 1, min(len(remote), LOOKED_INTO)).round().astype(int))
    return set(paths) - set(remote) | {remote[i] for i in chosen.tolist()}


def _probe(dataset: EpisodeDataset, path: Path) -> Probe:
    if dataset.hub is None or dataset.size(path) < 0:
        return probe(path)
    with dataset.hub.opened(path) as file:
        return probe(path, file)


# -- for people --------------------------------------------------------------------------------------------


def print_report(report: dict, console: Console) -> None:
    """Show a report. The console should not interpret markup: task texts are shown as they are."""
    if "episodes" in report:
        _print_overview(report, console)
        _print_tasks(report, console)
        _print_training(report, console)
    for title, style in (("warnings", "yellow"), ("errors", "red")):
        if report[title]:
            console.print(
                f"\n{len(report[title])} {title if len(report[title]) > 1 else title[:-1]}", style=style
            )
            for problem in report[title]:
                console.print(f"  {problem}", soft_wrap=True)
    if not report["errors"]:
        console.print("\nno errors: ready to train", style="green")


def _print_overview(report: dict, console: Console) -> None:
    lengths, seconds = report["lengths"], report["seconds"]
    cameras = [f"{c['name']} {c['width']}x{c['height']} ({c['kind']})" for c in report["cameras"]]
    names = report["state"]["names"]
    rows = {
        "format": f"LeRobot {report['version']}, {report['fps']:g} frames/s",
        "episodes": f"{report['episodes']:,}, {report['frames']:,} frames",
        "length": f"{lengths['min']} / {lengths['median']:g} / {lengths['max']} frames "
        f"({seconds['min']:g} / {seconds['median']:g} / {seconds['max']:g} s; min / median / max)",
        "cameras": ", ".join(cameras) or "none",
        "state": f"{len(names)} dimensions: {', '.join(names)}" if names else "none",
        "fingerprint": report["fingerprint"],
    }
    if "outcomes" in report:
        found = report["outcomes"]
        rows["outcomes"] = f"{found['successes']} successes, {found['failures']} failures"
        rows["read from"] = found["source"]
    table = Table(show_header=False, box=None, title=report["key"], title_justify="left")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _print_tasks(report: dict, console: Console) -> None:
    scales = report.get("training", {}).get("scales", {})
    table = Table(title="\ntasks", title_justify="left", box=None)
    table.add_column("task", max_width=60)
    for name in ("episodes", "successes", "failures", "scale (steps)"):
        table.add_column(name, justify="right")
    for task in report["tasks"]:
        text = one_line(task["task"])
        counts = [str(task.get(name, "?")) for name in ("episodes", "successes", "failures")]
        table.add_row(text, *counts, f"{scales[task['task']]:g}" if task["task"] in scales else "-")
    console.print(table)


def _print_training(report: dict, console: Console) -> None:
    if "training" not in report:
        return
    training = report["training"]
    table = Table(title="\nwhat will be trained on (defaults)", title_justify="left", box=None)
    table.add_column("set")
    for name in ("episodes", "frames", "successes"):
        table.add_column(name, justify="right")
    for name, part in training["split"].items():
        table.add_row(name, *(f"{part[key]:,}" for key in ("episodes", "frames", "successes")))
    console.print(table)
    spread = training["targets"]
    console.print(
        f"targets: -steps to success / scale, {spread['min']:.2f} … {spread['max']:.2f}, "
        f"mean {spread['mean']:.2f}; failed episodes are -1 at every frame",
        soft_wrap=True,
    )


def one_line(text: str, width: int = 120) -> str:
    """A task text in one line, shortened."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"
