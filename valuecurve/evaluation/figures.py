"""Value curves as a picture: a panel an episode, with the frames that the value was read from.

Every length in the layout is in inches from the top left of the page, and every text is fitted to its room
before it is drawn, so that nothing overlaps whatever the tasks are called.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from .curves import Curve
from .page import Entry, Page, drawing, fit, key_height, save
from .panel import draw_target, draw_value, seconds_axis, style_times, style_values
from .style import LIGHT, Theme, color_of, outcome_text

WIDTH = 8.0  # 1600 pixels: sharp at the 800 or so that a README gives to a picture
COLUMNS = 3
LEFT, RIGHT, GUTTER = 0.50, 0.54, 0.42
TOP, BOTTOM, ROW_GAP = 0.14, 0.16, 0.26
TITLE_LINE, SUBTITLE = 0.155, 0.20
PLOT = 1.12
STRIP_GAP, THUMBNAIL = 0.07, 0.60  # the largest height of a thumbnail
TICKS = 0.19
SIZES = {"title": 11.5, "legend": 7.2, "task": 8.0, "outcome": 7.2, "tick": 6.6}  # points


def plot_curves(curves: Sequence[Curve], path, title: str | None = None, dark: bool = False) -> Path:
    """Draw value curves into one picture, 1600 pixels wide: successes first, failures below, three a row.

    Each panel shows the predicted value over time, the middle 80% of the predicted distribution as a band
    that is darkest in the middle, the target as a dashed line, frames that are labelled positive as a strip,
    and thumbnails under their times; values on the left, and on the right seconds to success, where the
    scale is known, but not of failures.

    Args:
        curves: any number of episodes, at least one.
        path: a .png, .svg or .pdf; written under a temporary name first.
        title: heading of the picture.
        dark: on dark paper.

    Returns:
        The path.
    """
    if not curves:
        raise ValueError("plot_curves needs at least one curve.")
    with drawing(dark) as theme:
        return save(draw_curves(curves, title, theme).figure, path, title or "Value curves")


def draw_curves(curves: Sequence[Curve], title: str | None = None, theme: Theme = LIGHT) -> Page:
    """The page itself; call it inside `matplotlib.rc_context(style.rc(theme))`."""
    rows = _arrange(curves)
    columns = max(len(row) for row in rows)
    panel_width = (WIDTH - LEFT - RIGHT - GUTTER * (columns - 1)) / columns
    tasks = {id(c): fit(c.task, panel_width, SIZES["task"], bold=True, lines=2) for c in curves}
    heading = fit(title, WIDTH - LEFT - RIGHT, SIZES["title"], bold=True) if title else []
    entries = legend_entries(curves, theme)
    header = 0.26 * len(heading) + 0.34 + key_height(entries, WIDTH - LEFT - RIGHT, SIZES["legend"])
    heights = [_RowHeights(row, panel_width, max(len(tasks[id(c)]) for c in row)) for row in rows]
    total = TOP + header + sum(h.total for h in heights) + ROW_GAP * (len(rows) - 1) + BOTTOM
    page = Page(WIDTH, total, theme)
    _draw_header(page, heading, explanation(curves), entries)
    y = TOP + header
    for row, height in zip(rows, heights, strict=True):
        for column, curve in enumerate(row):
            place = _Place(page, LEFT + column * (panel_width + GUTTER), y, panel_width)
            _draw_panel(place, curve, tasks[id(curve)], height, column == 0, column == len(row) - 1)
        y += height.total + ROW_GAP
    return page


def _arrange(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Rows of at most three: the successes, the failures, then the others, each in the order given."""
    rows = []
    for outcome in (True, False, None):
        of = [curve for curve in curves if curve.success is outcome]
        rows += [of[i : i + COLUMNS] for i in range(0, len(of), COLUMNS)]
    return rows


@dataclass
class _RowHeights:
    """Heights of the parts of one row of panels."""

    title: float
    strip: float

    def __init__(self, row: list[Curve], panel_width: float, title_lines: int) -> None:
        self.title = TITLE_LINE * title_lines
        self.strip = max(_thumbnail_height(curve, panel_width) for curve in row)

    @property
    def total(self) -> float:
        strip = STRIP_GAP + self.strip if self.strip else 0.0
        return self.title + SUBTITLE + PLOT + strip + TICKS


def _thumbnail_height(curve: Curve, panel_width: float) -> float:
    """As high as fits when the thumbnails stand side by side with hairlines between them."""
    count = len(curve.thumbnails)
    if not count:
        return 0.0
    height, width = curve.thumbnails.shape[2:]
    return min(THUMBNAIL, 0.97 * panel_width / count * height / width)


@dataclass
class _Place:
    """Where a panel is: inches from the left and top of the page."""

    page: Page
    x: float
    y: float
    width: float


# --- one panel ---------------------------------------------------------------------------------------


def _draw_panel(
    place: _Place, curve: Curve, task: list[str], height: _RowHeights, first: bool, last: bool
) -> None:
    page, theme, x = place.page, place.page.theme, place.x
    for i, line in enumerate(task):
        y = place.y + height.title - TITLE_LINE * (len(task) - 1 - i) - 0.035
        page.text(x, y, line, SIZES["task"], weight="bold")
    outcome = fit(outcome_text(curve), place.width, SIZES["outcome"], bold=True)[0]
    y = place.y + height.title + SUBTITLE
    page.text(x, y - 0.075, outcome, SIZES["outcome"], color=color_of(curve, theme), weight="bold")
    axes = page.axes(x, y, place.width, PLOT)
    draw_target(axes, curve, theme=theme)
    draw_value(axes, curve, theme=theme)
    axes.plot(curve.times[-1], curve.value[-1], "o", markersize=4.4, color=color_of(curve, theme),
              markeredgecolor=theme.paper, clip_on=False, zorder=5)  # fmt: skip
    _style_panel(axes, curve, theme, height, first, last)
    if len(curve.thumbnails):
        _draw_thumbnails(place, axes, curve, y + PLOT + STRIP_GAP, height.strip)


def _style_panel(
    axes: Axes, curve: Curve, theme: Theme, height: _RowHeights, first: bool, last: bool
) -> None:
    """Values on the left of the first panel of a row, seconds to success right of the last one's."""
    style_values(axes, curve, theme)
    axes.tick_params(axis="y", pad=3, labelsize=SIZES["tick"], labelleft=first)
    if first:
        axes.set_ylabel("value", fontsize=SIZES["legend"], labelpad=2)
    if curve.has_seconds:
        right = seconds_axis(axes, curve)
        right.tick_params(labelsize=SIZES["tick"])
        if last:
            right.set_ylabel("time to success", fontsize=SIZES["legend"], labelpad=3)
    style_times(axes, curve.seconds, 4, (1, 2, 3, 4, 5, 10))
    pad = 3 + 72 * (STRIP_GAP + height.strip if height.strip else 0)
    axes.tick_params(axis="x", length=0, pad=pad, labelsize=SIZES["tick"])


def _draw_thumbnails(place: _Place, axes: Axes, curve: Curve, y: float, height: float) -> None:
    """The strip of frames, each as near under its own time as its neighbours and the panel's ends allow."""
    page, theme = place.page, place.page.theme
    pixel_height, pixel_width = curve.thumbnails.shape[2:]
    width = height * pixel_width / pixel_height
    wanted = curve.thumbnail_frames / curve.fps / curve.seconds * place.width
    centers = spread(wanted, width + 0.012, width / 2, place.width - width / 2)
    for image, frame, want, center in zip(
        curve.thumbnails, curve.thumbnail_frames, wanted, centers, strict=True
    ):
        draw_frame(page, image, place.x + center - width / 2, y, width, height)
        time, value = frame / curve.fps, curve.value[frame]
        axes.plot(time, value, "o", markersize=2.6, color=theme.paper, markeredgewidth=0.8,
                  markeredgecolor=color_of(curve, theme), clip_on=False, zorder=5)  # fmt: skip
        ends = (place.x + want, y - STRIP_GAP), (place.x + center, y)
        page.line(*ends, color=theme.muted, linewidth=0.6)


def draw_frame(page: Page, image: np.ndarray, x: float, y: float, width: float, height: float) -> None:
    """One frame, uint8 [3, h, w], with a hairline around it."""
    axes = page.axes(x, y, width, height)
    axes.imshow(image.transpose(1, 2, 0), interpolation="lanczos", aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=page.theme.hairline, linewidth=0.5)


def spread(wanted: np.ndarray, distance: float, low: float, high: float) -> np.ndarray:
    """Places near those wanted (ascending), `distance` apart where there is room, between low and high."""
    places = np.clip(wanted, low, high)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + distance)
    places[-1] = min(places[-1], high)
    for i in range(len(places) - 2, -1, -1):
        places[i] = min(places[i], places[i + 1] - distance)
    return places


# --- the heading -------------------------------------------------------------------------------------


def explanation(curves: Sequence[Curve]) -> str:
    """What the values mean."""
    if all(curve.has_usual_range for curve in curves):
        return "How close is the robot to success?  0: there now.  −1: farthest away, or a failure."
    return "Predicted value: the higher, the better."


def _draw_header(page: Page, heading: list[str], text: str, entries: list[Entry]) -> None:
    """Title and legend over the panels."""
    for line in heading:
        page.text(LEFT, TOP + 0.16, line, SIZES["title"], weight="bold")
    y, size = TOP + 0.26 * len(heading), SIZES["legend"]
    page.text(LEFT, y + 0.07, text, size, color=page.theme.muted)
    page.key(LEFT, y + 0.235, WIDTH - LEFT - RIGHT, entries, size)


def legend_entries(curves: Sequence[Curve], theme: Theme) -> list[Entry]:
    """What is drawn, for `Page.key`."""
    entries = [
        Entry(word, line=color)
        for outcome, word, color in (
            (True, "value of a success", theme.success),
            (False, "value of a failure", theme.failure),
            (None, "value", theme.ink),
        )
        if any(curve.success is outcome for curve in curves)
    ]
    for name in dict.fromkeys(curve.band_name for curve in curves if curve.band_name):
        entries.append(Entry(name, boxes=((theme.ink, 0.2),)))
    if any(curve.target is not None for curve in curves):
        entries.append(Entry("target", line=theme.muted, width=0.9, dashed=True))
    for name in dict.fromkeys(curve.positive_name for curve in curves if curve.positive is not None):
        entries.append(Entry(name, boxes=((theme.positive, 1.0),)))
    return entries
