"""Labels as a picture: the advantages of each task, successes above and failures below, and what is positive.

Every length in the layout is in inches from the top left of the page.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..labels.making import Labelling, parts_of
from .page import Entry, Page, drawing, entry_width, fit, save, text_width
from .style import LIGHT, Theme

WIDTH = 8.0
COLUMNS = 3
LEFT, RIGHT, GUTTER = 0.34, 0.34, 0.30
TOP, BOTTOM, ROW_GAP = 0.14, 0.10, 0.14
HEADER, TITLE_LINE, SUBTITLE, PLOT, TICKS = 0.62, 0.155, 0.19, 1.30, 0.26
MOST = 12  # panels; the tasks with the most frames
BINS = 48
TAILS = 0.004  # share of the frames on each side that may fall out of a panel's range
FAINT = 0.32  # opacity of what is not positive
SIZES = {"title": 11.5, "legend": 7.2, "task": 8.0, "subtitle": 7.0, "tick": 6.6}  # points


@dataclass
class Panel:
    """The frames of one task (and stage): n advantages."""

    title: str
    advantage: np.ndarray  # [n], value units
    positive: np.ndarray  # bool [n]
    success: np.ndarray | None  # bool [n]; None where no outcome is known
    threshold: float


def panels_of(labelling: Labelling) -> list[Panel]:
    """A panel for every task, and every stage of it, that has labelled frames."""
    a_t, positive = labelling.table["advantage"].to_numpy(), labelling.table["positive"].to_numpy()
    outcomes, lengths = labelling.outcomes, labelling.dataset.lengths
    success = None if outcomes is None else np.repeat(outcomes.success, lengths)
    return [
        Panel(
            part.name,
            a_t[part.rows],
            positive[part.rows],
            None if success is None else success[part.rows],
            part.threshold,
        )
        for part in parts_of(labelling)
    ]


def plot_labels(panels: list[Panel], path: str | Path, title: str, subtitle: str, dark: bool = False) -> Path:
    """Draw histograms of advantages into one picture, 1600 pixels wide, three panels a row.

    Args:
        panels: at least one; of more than MOST those with the most frames are drawn.
        path: a .png, .svg or .pdf; written under a temporary name first.
        title, subtitle: what was labelled, and how.
        dark: on dark paper.

    Returns:
        The path.
    """
    if not panels:
        raise ValueError("plot_labels needs at least one panel.")
    with drawing(dark) as theme:
        return save(draw_labels(panels, title, subtitle, theme), path, title)


def draw_labels(panels: list[Panel], title: str, subtitle: str, theme: Theme = LIGHT) -> Figure:
    """The figure itself; call it inside `matplotlib.rc_context(style.rc(theme))`."""
    left_out = max(len(panels) - MOST, 0)
    if left_out:
        largest = sorted(range(len(panels)), key=lambda i: -len(panels[i].advantage))[:MOST]
        panels = [panels[i] for i in sorted(largest)]
        subtitle += f"; the {MOST} largest of {MOST + left_out} panels"
    columns = 2 if len(panels) == 4 else min(len(panels), COLUMNS)
    width = (WIDTH - LEFT - RIGHT - GUTTER * (columns - 1)) / columns
    titles = [fit(panel.title, width, SIZES["task"], bold=True, lines=2) for panel in panels]
    rows = range(0, len(panels), columns)
    title_heights = [TITLE_LINE * max(map(len, titles[i : i + columns])) for i in rows]
    below = SUBTITLE + PLOT + TICKS
    height = TOP + HEADER + sum(title_heights) + below * len(rows) + ROW_GAP * (len(rows) - 1) + BOTTOM
    page = Page(WIDTH, height, theme)
    _draw_header(page, title, subtitle, with_outcomes=any(panel.success is not None for panel in panels))
    y = TOP + HEADER
    for first, title_height in zip(rows, title_heights, strict=True):
        for place, panel in enumerate(panels[first : first + columns]):
            x = LEFT + place * (width + GUTTER)
            for i, line in enumerate(titles[first + place]):
                dy = title_height - TITLE_LINE * (len(titles[first + place]) - 1 - i) - 0.035
                page.text(x, y + dy, line, SIZES["task"], weight="bold")
            _draw_shares(page, panel, x, y + title_height + SUBTITLE - 0.07)
            _draw_histogram(page.axes(x, y + title_height + SUBTITLE, width, PLOT), panel, theme)
        y += title_height + below + ROW_GAP
    return page.figure


# -- one panel ---------------------------------------------------------------------------------------------


def _draw_shares(page: Page, panel: Panel, x: float, y: float) -> None:
    """ "positive: 41% of successes, 6% of failures" in their colours."""
    positive, theme, size = panel.positive, page.theme, SIZES["subtitle"]
    if panel.success is None:
        page.text(x, y, f"{positive.mean():.0%} positive", size, color=theme.muted)
        return
    parts = [("positive: ", theme.muted, "normal")]
    sides = (panel.success, "successes", theme.success), (~panel.success, "failures", theme.failure)
    for mask, word, color in sides:
        share = f"{positive[mask].mean():.0%} of {word}" if mask.any() else f"no {word}"
        parts += [(share, color, "bold"), (", ", theme.muted, "normal")]
    for text, color, weight in parts[:-1]:
        page.text(x, y, text, size, color=color, weight=weight)
        x += text_width(f"{text}.", size, weight == "bold") - text_width(".", size, weight == "bold")


def _draw_histogram(axes: Axes, panel: Panel, theme: Theme) -> None:
    """Successes upwards, failures downwards, both as shares of the panel's frames; solid where positive."""
    edges = _edges(panel)
    total = len(panel.advantage)
    everything = np.ones(total, bool)
    sides = [(everything, 1, theme.ink)]
    if panel.success is not None:
        sides = [(panel.success, 1, theme.success), (~panel.success, -1, theme.failure)]
    low, high = 0.0, 0.0
    for mask, sign, color in sides:
        base = np.zeros(len(edges) - 1)
        for chosen, alpha in ((mask & panel.positive, 1.0), (mask & ~panel.positive, FAINT)):
            inside = np.clip(panel.advantage[chosen], edges[0], edges[-1])
            share = np.histogram(inside, edges)[0] / total / np.diff(edges)
            axes.stairs(sign * (base + share), edges, baseline=sign * base, fill=True, color=color,
                        alpha=alpha, linewidth=0)  # fmt: skip
            base = base + share
        low, high = (min(low, -base.max()), high) if sign < 0 else (low, max(high, base.max()))
    room = 0.16 * (high - low)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(low - 0.02 * (high - low), high + room))
    axes.axvline(panel.threshold, color=theme.ink, linewidth=0.9, zorder=4)
    right = panel.threshold < edges[0] + 0.7 * (edges[-1] - edges[0])
    text = f" {panel.threshold:+.3f} and above" if right else f"{panel.threshold:+.3f} and above "
    axes.text(panel.threshold, high + 0.94 * room, text.replace("-", "−"), fontsize=SIZES["tick"],
              ha="left" if right else "right", va="top", zorder=5)  # fmt: skip
    axes.axhline(0, color=theme.muted, linewidth=0.6, zorder=3)
    axes.axvline(0, ymax=0.86, color=theme.hairline, linewidth=0.8, zorder=0)
    axes.spines[:].set_visible(False)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g}".replace("-", "−") if v else "0"))
    axes.tick_params(axis="x", length=2.5, pad=2, labelsize=SIZES["tick"])


def _edges(panel: Panel) -> np.ndarray:
    """Borders of bins of about equal width, the threshold among them, over all but the outermost frames."""
    low, high = np.quantile(panel.advantage, [TAILS, 1 - TAILS])
    low, high = min(low, panel.threshold, 0.0), max(high, panel.threshold, 0.0)
    pad = 0.03 * (high - low) or 0.05
    low, high = low - pad, high + pad
    below = max(round(BINS * (panel.threshold - low) / (high - low)), 1)
    above = max(BINS - below, 1)
    left = np.linspace(low, panel.threshold, below + 1)
    return np.concatenate([left, np.linspace(panel.threshold, high, above + 1)[1:]])


# -- heading -----------------------------------------------------------------------------------------------


def _draw_header(page: Page, title: str, subtitle: str, with_outcomes: bool) -> None:
    width, theme, size = WIDTH - LEFT - RIGHT, page.theme, SIZES["legend"]
    line = fit(title, width, SIZES["title"], bold=True)[0]
    page.text(LEFT, TOP + 0.16, line, SIZES["title"], weight="bold")
    page.text(LEFT, TOP + 0.33, fit(subtitle, width, size)[0], size, color=theme.muted)
    above, below = "frames of successes: above the line", "frames of failures: below the line"
    parts = [(above, theme.success), (below, theme.failure)] if with_outcomes else [("frames", theme.ink)]
    entries = [Entry(text, boxes=((color, 1.0), (color, FAINT))) for text, color in parts]
    page.key(LEFT, TOP + 0.505, width, entries, size)
    end = sum(entry_width(entry, size) for entry in entries)
    page.text(LEFT + end, TOP + 0.505, "solid: positive   pale: negative", size, color=theme.muted)
