"""What a labelling looks like, per task and stage: for people, and with --json for programs."""

from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from valuecurve.episodes.inspection import one_line
from valuecurve.labels.making import Labelling, parts_of

QUANTILES = {"5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95}
LONG = 1 / 3  # of the median episode: a horizon above it is noted (ours)


def summarise(labelling: Labelling) -> dict:
    """Per task (and stage): distribution of advantages, threshold, shares of positives; ready for JSON.

    Shares are of frames; None where there is no such frame (or no outcome is known).
    """
    table, view = labelling.table, labelling.dataset
    a_t, positive = table["advantage"].to_numpy(), table["positive"].to_numpy()
    success = None
    if labelling.outcomes is not None:
        success = np.repeat(labelling.outcomes.success, view.lengths)
    rows = []
    for part in parts_of(labelling):
        stage = {} if part.stage is None else {"stage": part.stage}
        shares = _shares(a_t, positive, success, part.rows)
        rows.append({"task": part.task, **stage, "threshold": part.threshold, **shares})
    return {
        "warnings": [
            *(labelling.outcomes.warnings if labelling.outcomes else []),
            *_ties(labelling, a_t),
            *_long(labelling),
        ],
        "settings": labelling.settings,
        "frames": len(a_t),
        "episodes": len(view.lengths),
        "interventions": int(table["intervention"].to_numpy().sum()),
        "tasks": rows,
        "all": _shares(a_t, positive, success, np.arange(len(a_t))),
    }


def _ties(labelling: Labelling, a_t: np.ndarray) -> list[str]:
    """A warning for each group in which far more frames than asked for reach the threshold."""
    names, fraction = labelling.groups, labelling.settings["positive_fraction"]
    if "thresholds_of" in labelling.settings:  # the share is what it is
        return []
    levels = np.array([labelling.settings["thresholds"].get(name, np.nan) for name in names])
    reach = np.bincount(labelling.group, a_t.astype(np.float64) >= levels[labelling.group], len(names))
    share = reach / np.maximum(np.bincount(labelling.group, minlength=len(names)), 1)
    return [
        f"{names[i]}: {share[i]:.0%} of the frames are positive, not {fraction:.0%}, for so many tie at the "
        f"threshold {levels[i]:+.4f}; does the model tell frames apart?"
        for i in np.flatnonzero(share > fraction + 0.05).tolist()
        if np.count_nonzero((labelling.group == i) & (a_t == levels[i])) > 1
    ]


def _long(labelling: Labelling) -> list[str]:
    """A note where the horizon spans much of an episode: the advantage is then nearly the outcome."""
    horizon, median = labelling.settings["horizon"], float(np.median(labelling.dataset.lengths))
    if labelling.settings["mode"] != "n_step" or horizon <= LONG * median:
        return []
    return [
        f"a horizon of {horizon} frames is more than a third of the median episode ({median:g} frames): such "
        f"labels tell little but the outcome; consider a shorter one, as --horizon {max(int(median) // 6, 1)}"
    ]


def _shares(a_t: np.ndarray, positive: np.ndarray, success: np.ndarray | None, rows: np.ndarray) -> dict:
    part, positive = a_t[rows].astype(np.float64), positive[rows]
    levels = np.quantile(part, list(QUANTILES.values()))
    good = None if success is None else success[rows]
    return {
        "frames": len(rows),
        "advantage": {
            "min": float(part.min()),
            **dict(zip(QUANTILES, levels.tolist(), strict=True)),
            "max": float(part.max()),
            "mean": float(part.mean()),
            "std": float(part.std()),
        },
        "positive": float(positive.mean()),
        "positive_in_successes": None if good is None else _mean(positive[good]),
        "positive_in_failures": None if good is None else _mean(positive[~good]),
    }


def _mean(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None


# -- for people --------------------------------------------------------------------------------------------


def print_summary(summary: dict, console: Console) -> None:
    """Show a summary. The console should not interpret markup: task texts are shown as they are.

    Two tables, of the frames and of their advantages, each for 80 columns.
    """
    settings, rows = summary["settings"], list(summary["tasks"])
    for line in _how(summary):
        console.print(line, soft_wrap=True)
    if len(rows) > 1:
        rows.append({"task": "all", "threshold": None, **summary["all"]})
    shares = ("frames", "positive", "in successes", "in failures")
    for heading, names, cells in (
        ("task", shares, _share_cells),
        ("advantages", (*QUANTILES, "threshold"), _level_cells),
    ):
        console.print()
        console.print(_table(rows, heading, names, cells))
    if settings["slices"]:
        console.print(
            f"\nslices: 0 (lowest advantages) … {settings['slices'] - 1}, of equal size in each group",
            soft_wrap=True,
        )


def _how(summary: dict) -> list[str]:
    settings = summary["settings"]
    horizon = f" over {settings['horizon']} frames" if settings["horizon"] else ""
    mode = {"n_step": "n-step", "full": "full-episode", "progress": "progress"}[settings["mode"]]
    source = f" of {settings['progress']}" if settings["mode"] == "progress" else ""
    scope = {"task": "per task", "global": "over all tasks"}[settings["scope"]]
    stages = f" and per stage ({settings['stages']})" if settings["stages"] else ""
    outcomes = settings["outcomes"] or "none found"
    lines = [
        f"{summary['frames']:,} frames of {summary['episodes']:,} episodes; outcomes: {outcomes}",
        f"{mode} advantages{source}{horizon}, in value units; the highest "
        f"{settings['positive_fraction']:.0%} are positive, {scope}{stages}",
    ]
    if "thresholds_of" in settings:
        lines.append(f"the highest of {settings['thresholds_of']}: its thresholds are used (--thresholds)")
    if settings["interventions"]:
        lines.append(f"{summary['interventions']:,} frames of interventions are positive")
    if settings["all_positive"]:
        lines.append("all frames are positive (--all-positive)")
    return lines


def _table(
    rows: list[dict], heading: str, names: tuple[str, ...], cells: Callable[[dict], list[str]]
) -> Table:
    staged = any("stage" in row for row in rows)
    table = Table(box=None, pad_edge=False)
    table.add_column(heading, max_width=44)
    for name in (*(["stage"] if staged else []), *names):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        stage = [str(row.get("stage", ""))] if staged else []
        table.add_row(one_line(row["task"]), *stage, *cells(row))
    return table


def _share_cells(row: dict) -> list[str]:
    shares = [row[name] for name in ("positive", "positive_in_successes", "positive_in_failures")]
    return [f"{row['frames']:,}", *("–" if share is None else f"{share:.1%}" for share in shares)]


def _level_cells(row: dict) -> list[str]:
    threshold = "" if row["threshold"] is None else f"{row['threshold']:+.4f}"
    return [*(f"{row['advantage'][name]:+.3f}" for name in QUANTILES), threshold]
