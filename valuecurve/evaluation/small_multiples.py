"""All episodes of a dataset at a glance: a small panel a task, a thin line an episode."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import PercentFormatter

from .curves import Curve
from .figures import explanation
from .page import Entry, Page, drawing, fit, save, text_width
from .panel import seconds_axis, style_values
from .style import Theme

WIDTH, LEFT, RIGHT, GUTTER, COLUMNS = 8.0, 0.56, 0.62, 0.46, 3
TOP, BOTTOM, ROW_GAP, HEADER = 0.16, 0.12, 0.22, 0.74
TITLE_LINE, SUBTITLE, PLOT, TIMES = 0.16, 0.21, 1.25, 0.24
SIZES = {"title": 11.5, "task": 8.0, "small": 7.2}  # points
MOST_TASKS = 24  # panels; the tasks with the most episodes
MOST_LINES = 80  # episodes of one outcome that are drawn thin in one panel, evenly chosen
SHARES = np.linspace(0, 1, 101)


def plot_small_multiples(curves: Sequence[Curve], path: str | Path, dark: bool = False) -> Path:
    """Draw the values of many episodes, a panel a task, over the share of the episode that has passed.

    A thin line is an episode, a thick one the median of those with the same outcome. Of more than 24 tasks
    those with the most episodes are drawn, which the picture says.

    Args:
        curves: at least one; only task, outcome, values and scale are used.
        path: .png, .svg or .pdf; written under a temporary name first.
        dark: on dark paper.

    Returns:
        The path.
    """
    if not curves:
        raise ValueError("plot_small_multiples needs at least one curve.")
    with drawing(dark) as theme:
        return save(_draw(curves, theme).figure, path, f"Values of {len(curves)} episodes, task by task")


def _draw(curves: Sequence[Curve], theme: Theme) -> Page:
    groups, left_out = _by_task(curves)
    columns = 2 if len(groups) == 4 else min(len(groups), COLUMNS)
    width = (WIDTH - LEFT - RIGHT - GUTTER * (columns - 1)) / columns
    titles = [fit(task, width, SIZES["task"], bold=True, lines=2) for task in groups]
    rows = range(0, len(groups), columns)
    title_heights = [TITLE_LINE * max(map(len, titles[i : i + columns])) for i in rows]
    row_height = SUBTITLE + PLOT + TIMES
    total = TOP + HEADER + sum(title_heights) + row_height * len(rows) + ROW_GAP * (len(rows) - 1) + BOTTOM
    page = Page(WIDTH, total, theme)
    _draw_header(page, curves, left_out)
    y, members = TOP + HEADER, list(groups.values())
    for first, title_height in zip(rows, title_heights, strict=True):
        for place, group in enumerate(members[first : first + columns]):
            x = LEFT + place * (width + GUTTER)
            lines = titles[first + place]
            for i, line in enumerate(lines):
                dy = title_height - TITLE_LINE * (len(lines) - 1 - i) - 0.035
                page.text(x, y + dy, line, SIZES["task"], weight="bold")
            _draw_counts(page, group, x, y + title_height + SUBTITLE - 0.085, width)
            axes = page.axes(x, y + title_height + SUBTITLE, width, PLOT)
            last = place == columns - 1 or first + place == len(members) - 1
            _draw_panel(axes, group, theme, place == 0, last)
        y += title_height + row_height + ROW_GAP
    return page


def _by_task(curves: Sequence[Curve]) -> tuple[dict[str, list[Curve]], int]:
    """Curves by task, in order of appearance, and how many tasks are left out."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.task, []).append(curve)
    largest = sorted(groups, key=lambda task: -len(groups[task]))[:MOST_TASKS]
    return {task: group for task, group in groups.items() if task in largest}, len(groups) - len(largest)


def _draw_header(page: Page, curves: Sequence[Curve], left_out: int) -> None:
    theme, width = page.theme, WIDTH - LEFT - RIGHT
    most = f": the {MOST_TASKS} largest of {MOST_TASKS + left_out} tasks" if left_out else ""
    page.text(LEFT, TOP + 0.16, f"Values, task by task{most}", SIZES["title"], weight="bold")
    line = f"{explanation(curves)}  Thin: an episode. Thick: their median."
    page.text(LEFT, TOP + 0.34, fit(line, width, SIZES["small"])[0], SIZES["small"], color=theme.muted)
    entries = []
    for outcome, word, color in _outcomes(theme):
        if any(curve.success is outcome for curve in curves):
            entries.append(Entry(word, line=color, width=2.0))
    page.key(LEFT, TOP + 0.51, width, entries, SIZES["small"])


def _outcomes(theme: Theme) -> tuple:
    return (
        (True, "successes", theme.success),
        (False, "failures", theme.failure),
        (None, "unknown outcomes", theme.ink),
    )


def _draw_counts(page: Page, group: list[Curve], x: float, y: float, width: float) -> None:
    """ "12 successes, 3 failures" in their colours."""
    parts = []
    for outcome, word, color in _outcomes(page.theme):
        count = sum(curve.success is outcome for curve in group)
        if count:
            word = {"successes": "success", "failures": "failure"}.get(word, word) if count == 1 else word
            word = "unknown" if outcome is None else word
            parts += [(f"{count:,} {word}", color), (", ", page.theme.muted)]
    for text, color in parts[:-1]:
        page.text(x, y, text, SIZES["small"], color=color, weight="bold")
        x += text_width(f"{text}.", SIZES["small"], True) - text_width(".", SIZES["small"], True)


def _draw_panel(axes: Axes, group: list[Curve], theme: Theme, first: bool, last: bool) -> None:
    curve = next((c for c in group if c.has_seconds), group[0])
    pad = 0.03 * (curve.v_max - curve.v_min)
    axes.set(xlim=(0, 1), ylim=(curve.v_min - pad, curve.v_max + pad))
    for outcome, _, color in _outcomes(theme):
        values = [over_shares(c) for c in group if c.success is outcome]
        if values:
            _draw_lines(axes, np.array(values), color, theme)
    style_values(axes, curve, theme)
    axes.tick_params(axis="y", pad=3, labelsize=SIZES["small"], labelleft=first)
    axes.set_xticks([0, 0.5, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(axis="x", length=0, pad=4, labelsize=SIZES["small"])
    if first:
        axes.set_ylabel("value", fontsize=SIZES["small"], labelpad=2)
    if curve.has_seconds:
        right = seconds_axis(axes, curve)
        right.tick_params(labelsize=SIZES["small"])
        if last:
            right.set_ylabel("time to success", fontsize=SIZES["small"], labelpad=3)


def over_shares(curve: Curve) -> np.ndarray:
    """Values at 0%, 1%, … 100% of the episode, [101]."""
    places = np.arange(len(curve)) / max(len(curve) - 1, 1)
    return np.interp(SHARES, places, curve.value)


def _draw_lines(axes: Axes, values: np.ndarray, color: str, theme: Theme) -> None:
    """Thin lines and their median over [n, 101] values."""
    shown = values[np.unique(np.linspace(0, len(values) - 1, MOST_LINES).round().astype(int))]
    segments = [np.column_stack([SHARES, row]) for row in shown]
    opacity = float(np.clip(4 / len(shown), 0.12, 0.6))
    axes.add_collection(LineCollection(segments, colors=color, linewidths=0.6, alpha=opacity, zorder=2))
    if len(values) > 1:
        median = np.median(values, axis=0)
        axes.plot(SHARES, median, color=theme.paper, linewidth=3.4, zorder=3)
        axes.plot(SHARES, median, color=color, linewidth=2.0, zorder=4, solid_capstyle="round")
