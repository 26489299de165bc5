"""The sections of report.md about tasks and outcomes."""

from collections.abc import Sequence

from .headline import FORECASTS, HEADLINE, with_interval
from .markdown import arrow, cell, counted, escaped, is_known, number, table

GROUPED = ("nll", "crps", "skill", "mae", "rmse", "explained_variance", "top1", "top5", "ece")
COMPARED = {  # in groups, the baselines' metrics beside the model's
    "nll": ("constant", "elapsed_time"),
    "mae": ("constant", "elapsed_time"),
    "explained_variance": ("elapsed_time",),
}
MANY_TASKS = 3  # above it a task is a line and no column
IN_ONE_LINE = {
    "nll": "NLL ↓",
    "nll_of_elapsed_time": "of elapsed time",
    "skill": "CRPS skill ↑",
    "mae": "MAE ↓",
    "explained_variance": "Explained variance ↑",
    "voc_success": "VOC, successes ↑",
}


def tasks_section(report: dict) -> str:
    scales, fps = report["targets"]["scales"], report["targets"]["fps"]
    headings, about = ["Task", "Episodes", "Frames", "1 value unit"], []
    many = len(report["tasks"]) > MANY_TASKS
    for task, group in report["tasks"].items():
        scale = f"{scales[task] / fps:.1f} s" if task in scales else "–"
        more = _in_one_line(group) if many else []
        about.append((escaped(task), f"{group['episodes']:,}", f"{group['frames']:,}", scale, *more))
    if many:
        return f"## Per task\n\n{table([*headings, *IN_ONE_LINE.values()], about)}"
    numbers = _grouped(report["tasks"], [*GROUPED, "voc_success", "auroc_last_frame"])
    return f"## Per task\n\n{table(headings, about)}\n\n{numbers}"


def _in_one_line(group: dict) -> list[str]:
    """The numbers of a task among many."""
    decimals = {key: places for key, _, _, places in HEADLINE}
    elapsed = cell(group["metrics"].get("elapsed_time", {}).get("nll"), decimals["nll"])
    cells = {key: with_interval(group, key, decimals[key]) for key in IN_ONE_LINE if key in decimals}
    return [cells.get(key, elapsed) for key in IN_ONE_LINE]


def outcomes_section(report: dict) -> str:
    counts = ", ".join(
        f"{name}: {counted(group['episodes'], 'episode')}, {group['frames']:,} frames"
        for name, group in report["outcomes"].items()
    )
    note = ""
    if report["targets"]["fail"] == "floor" and "failure" in report["outcomes"]:
        note = (
            " The targets of failures are all alike, so nothing of them can be explained and order means "
            "nothing: MAE tells how far the model is from giving up."
        )
    note += _only_separates(report)
    keys = [*GROUPED, "voc", "kendall_tau"]
    return f"## Per outcome\n\n{counts}.{note}\n\n{_grouped(report['outcomes'], keys)}"


def _only_separates(report: dict) -> str:
    """Where the explained variance comes from telling outcomes apart, that is said."""
    overall = report["metrics"]["model"].get("explained_variance")
    within = report["outcomes"].get("success", {}).get("metrics", {}).get("model", {})
    inside = within.get("explained_variance")
    if "failure" not in report["outcomes"] or not is_known(overall) or not is_known(inside):
        return ""
    if inside <= 0 < overall:
        return (
            f" Among successes alone the explained variance is {number(inside, 2)}, overall it is "
            f"{number(overall, 2)}: what is explained is mostly the difference between both outcomes."
        )
    return ""


def _grouped(groups: dict, keys: Sequence[str]) -> str:
    """The model's metrics of each group and some of the baselines', a line a metric."""
    known = {key: (words, direction, decimals) for key, words, direction, decimals in HEADLINE}
    known |= {"voc": ("Order correlation (VOC)", 0, 2), "kendall_tau": ("Kendall's τ", 0, 2)}
    rows = []
    for key in keys:
        words, direction, decimals = known[key]
        cells = [with_interval(group, key, decimals) for group in groups.values()]
        rows.append((f"{words} {arrow(direction)}".rstrip(), *cells))
        for name in COMPARED.get(key, ()):
            if all(name in group["metrics"] for group in groups.values()):
                cells = [cell(group["metrics"][name][key], decimals) for group in groups.values()]
                rows.append((f"  {FORECASTS[name].lower()}", *cells))
    return table(["Model", *(escaped(name) for name in groups)], rows)
