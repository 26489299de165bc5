"""Value curves as a picture: a panel an episode, with the frames that the value was read from.

Every length in the layout is in inches from the top left of the page, and every text is fitted to its room
before it is drawn, so that nothing overlaps whatever the tasks are called. No pyplot, no global state.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.ndimage import gaussian_filter1d

from ..metrics import quantiles
from .curves import Curve
from .style import (
    BAND_LEVELS,
    BAND_OPACITY,
    BAND_SMOOTHING,
    FAILURE,
    HAIRLINE,
    INK,
    MUTED,
    POSITIVE,
    RC,
    SUCCESS,
    color_of,
    fit_lines,
    outcome_text,
)

DPI = 200
WIDTH = 8.0  # 1600 pixels: sharp at the 800 or so that a README gives to a picture
COLUMNS = 3
LEFT, RIGHT, GUTTER = 0.50, 0.54, 0.42
TOP, BOTTOM, ROW_GAP = 0.14, 0.16, 0.26
TITLE_LINE, SUBTITLE = 0.155, 0.20
PLOT = 1.12
POSITIVE_STRIP = 0.07  # height of the strip of positive frames, as a share of the value range
STRIP_GAP, THUMBNAIL = 0.07, 0.60  # the largest height of a thumbnail
TICKS = 0.19
SIZES = {"title": 11.5, "legend": 7.2, "task": 8.0, "outcome": 7.2, "tick": 6.6}  # points


def plot_curves(curves: Sequence[Curve], path, title: str | None = None) -> Path:
    """Draw value curves into one PNG, 1600 pixels wide: successes first, failures below, three a row.

    Each panel shows the predicted value over time, the middle 80% of the predicted distribution as a band
    that is darkest in the middle, the target as a dashed line, frames that are labelled positive as a strip,
    and thumbnails under their times; values on the left, and on the right seconds to success: of successes,
    where the scale is known.

    Args:
        curves: any number of episodes, at least one.
        path: where the PNG goes; written under a temporary name first.
        title: heading of the picture.

    Returns:
        The path.
    """
    if not curves:
        raise ValueError("plot_curves needs at least one curve.")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(RC):
        figure = draw_curves(curves, title)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            figure.savefig(temporary, format="png", dpi=DPI)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def draw_curves(curves: Sequence[Curve], title: str | None = None) -> Figure:
    """The figure itself; call it inside `matplotlib.rc_context(style.RC)`."""
    rows = _arrange(curves)
    columns = max(len(row) for row in rows)
    panel_width = (WIDTH - LEFT - RIGHT - GUTTER * (columns - 1)) / columns
    figure = Figure(figsize=(WIDTH, 1.0), dpi=DPI)
    FigureCanvasAgg(figure)
    tasks = {id(c): _fit(figure, c.task, panel_width, "task", bold=True, lines=2) for c in curves}
    header = _Header(
        figure,
        title,
        with_band=any(c.probabilities is not None for c in curves),
        with_labels=any(c.positive is not None for c in curves),
    )
    heights = [_RowHeights(row, panel_width, max(len(tasks[id(c)]) for c in row)) for row in rows]
    total = TOP + header.height + sum(h.total for h in heights) + ROW_GAP * (len(rows) - 1) + BOTTOM
    figure.set_size_inches(WIDTH, np.ceil(total * DPI) / DPI)
    header.draw()
    y = TOP + header.height
    for row, height in zip(rows, heights, strict=True):
        for column, curve in enumerate(row):
            box = _Box(figure, LEFT + column * (panel_width + GUTTER), y, panel_width)
            _draw_panel(box, curve, tasks[id(curve)], height, first=column == 0, last=column == len(row) - 1)
        y += height.total + ROW_GAP
    return figure


def _arrange(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Rows of at most three: the successes, then the failures, each in the order given."""
    rows = []
    for outcome in (True, False):
        of = [curve for curve in curves if bool(curve.success) == outcome]
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
class _Box:
    """Places on the page, in inches from the box's left edge and from the page's top."""

    figure: Figure
    x: float
    y: float
    width: float

    def axes(self, dx: float, dy: float, width: float, height: float, **options) -> Axes:
        page_width, page_height = self.figure.get_size_inches()
        bottom = page_height - self.y - dy - height
        rectangle = (
            (self.x + dx) / page_width,
            bottom / page_height,
            width / page_width,
            height / page_height,
        )
        return self.figure.add_axes(rectangle, **options)

    def text(self, dx: float, dy: float, text: str, **options) -> None:
        page_width, page_height = self.figure.get_size_inches()
        x, y = (self.x + dx) / page_width, 1 - (self.y + dy) / page_height
        self.figure.text(x, y, text, **options)

    def line(self, start: tuple[float, float], end: tuple[float, float], **options) -> None:
        page_width, page_height = self.figure.get_size_inches()
        x = [(self.x + dx) / page_width for dx, _ in (start, end)]
        y = [1 - (self.y + dy) / page_height for _, dy in (start, end)]
        self.figure.add_artist(Line2D(x, y, **options))


# --- one panel ---------------------------------------------------------------------------------------


def _draw_panel(
    box: _Box, curve: Curve, task: list[str], height: _RowHeights, first: bool, last: bool
) -> None:
    for i, line in enumerate(task):
        dy = height.title - TITLE_LINE * (len(task) - 1 - i) - 0.035
        box.text(0, dy, line, fontsize=SIZES["task"], weight="bold", va="baseline")
    outcome = _fit(box.figure, outcome_text(curve), box.width, "outcome", bold=True)[0]
    y = height.title + SUBTITLE
    box.text(
        0, y - 0.075, outcome, fontsize=SIZES["outcome"], color=color_of(curve), weight="bold", va="baseline"
    )
    axes = box.axes(0, y, box.width, PLOT)
    draw_target(axes, curve)
    draw_value(axes, curve)
    axes.plot(curve.times[-1], curve.value[-1], "o", markersize=4.4, color=color_of(curve),
              markeredgecolor="white", clip_on=False, zorder=5)  # fmt: skip
    _style_values(axes, curve, first)
    if curve.has_seconds:
        _seconds_axis(axes, curve, last)
    _style_times(axes, pad=3 + 72 * (STRIP_GAP + height.strip if height.strip else 0))
    if len(curve.thumbnails):
        _draw_thumbnails(box, axes, curve, y + PLOT + STRIP_GAP, height.strip)


def draw_target(axes: Axes, curve: Curve, linewidth: float = 0.9) -> None:
    """The target as a dashed line, if it is known, into axes whose x is seconds and y value units."""
    if curve.target is not None:
        axes.plot(curve.times, curve.target, color=MUTED, linewidth=linewidth, dashes=(3.2, 2.2),
                  clip_on=False, zorder=3)  # fmt: skip
    end = curve.times[-1] if len(curve) > 1 else 1 / curve.fps
    pad = 0.02 * (curve.v_max - curve.v_min)
    room = 0 if curve.positive is None else POSITIVE_STRIP * (curve.v_max - curve.v_min)
    axes.set(xlim=(0, end), ylim=(curve.v_min - pad - room, curve.v_max + pad))


def draw_value(axes: Axes, curve: Curve, linewidth: float = 1.7) -> None:
    """The band, the value and the positive spans into the same axes; `linewidth` in points."""
    _draw_band(axes, curve)
    _draw_positive(axes, curve)
    axes.plot(curve.times, curve.value, color=color_of(curve), linewidth=linewidth,
              solid_capstyle="round", solid_joinstyle="round", clip_on=False, zorder=4)  # fmt: skip


def _draw_band(axes: Axes, curve: Curve) -> None:
    if curve.probabilities is None:
        return
    levels = [level for pair in BAND_LEVELS for level in pair]
    drawn = quantiles(curve.probabilities, levels, curve.v_min, curve.v_max)
    drawn = gaussian_filter1d(drawn, BAND_SMOOTHING * curve.fps, axis=1, mode="nearest")
    for low, high in zip(drawn[::2], drawn[1::2], strict=True):
        axes.fill_between(curve.times, low, high, color=color_of(curve), alpha=BAND_OPACITY, linewidth=0)


def _draw_positive(axes: Axes, curve: Curve) -> None:
    """Frames that are labelled positive, as a strip under the lowest value; each lasts until the next."""
    if curve.positive is None:
        return
    low, high = axes.get_ylim()[0], curve.v_min - 0.25 * POSITIVE_STRIP * (curve.v_max - curve.v_min)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], curve.positive, [False]]).astype(np.int8)))
    end = axes.get_xlim()[1]
    spans = [(a, min(b, end) - a) for a, b in edges.reshape(-1, 2) / curve.fps if a < end]
    axes.broken_barh(spans, (low, high - low), facecolor=POSITIVE, linewidth=0, zorder=2)


def _style_values(axes: Axes, curve: Curve, labelled: bool) -> None:
    """The left axis, its numbers in the first panel of a row only."""
    axes.set_yticks([curve.v_min, (curve.v_min + curve.v_max) / 2, curve.v_max])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}".replace("-", "−") if labelled else ""))
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=3, labelsize=SIZES["tick"])
    if labelled:
        axes.set_ylabel("value", fontsize=SIZES["legend"], labelpad=2)


def _style_times(axes: Axes, pad: float) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 3, 4, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} s"))
    axes.tick_params(axis="x", length=0, pad=pad, labelsize=SIZES["tick"])


def _seconds_axis(axes: Axes, curve: Curve, labelled: bool) -> None:
    """The right axis: the same heights in seconds to success."""
    assert curve.scale_seconds is not None
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    whole = curve.scale_seconds * (curve.v_max - curve.v_min)
    seconds = np.array(MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]).tick_values(0, whole))
    seconds = seconds[(seconds >= 0) & (seconds <= whole * 1.001)]
    right.set_yticks(curve.v_max - seconds / curve.scale_seconds, [f"{s:g} s" for s in seconds])
    right.spines[:].set_visible(False)
    right.tick_params(axis="y", length=2.5, pad=2, labelsize=SIZES["tick"])
    if labelled:
        right.set_ylabel("time to success", fontsize=SIZES["legend"], labelpad=3)


def _draw_thumbnails(box: _Box, axes: Axes, curve: Curve, y: float, height: float) -> None:
    """The strip of frames, each as near under its own time as its neighbours and the panel's ends allow."""
    pixel_height, pixel_width = curve.thumbnails.shape[2:]
    width = height * pixel_width / pixel_height
    end = axes.get_xlim()[1]
    wanted = curve.thumbnail_frames / curve.fps / end * box.width
    centers = _spread(wanted, width + 0.012, width / 2, box.width - width / 2)
    for image, frame, want, center in zip(
        curve.thumbnails, curve.thumbnail_frames, wanted, centers, strict=True
    ):
        strip = box.axes(center - width / 2, y, width, height)
        strip.imshow(image.transpose(1, 2, 0), interpolation="lanczos", aspect="auto")
        strip.set(xticks=[], yticks=[])
        strip.spines[:].set(color=HAIRLINE, linewidth=0.5)
        time, value = frame / curve.fps, curve.value[frame]
        axes.plot(time, value, "o", markersize=2.6, color="white", markeredgecolor=color_of(curve),
                  markeredgewidth=0.8, clip_on=False, zorder=5)  # fmt: skip
        box.line((want, y - STRIP_GAP), (center, y), color=MUTED, linewidth=0.6)


def _spread(wanted: np.ndarray, distance: float, low: float, high: float) -> np.ndarray:
    """Places near those wanted (ascending), `distance` apart where there is room, between low and high."""
    places = np.clip(wanted, low, high)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + distance)
    places[-1] = min(places[-1], high)
    for i in range(len(places) - 2, -1, -1):
        places[i] = min(places[i], places[i + 1] - distance)
    return places


# --- the heading -------------------------------------------------------------------------------------


class _Header:
    """Title and legend over the panels; `height` in inches is known before the page is."""

    EXPLANATION = "How close is the robot to success?  0: there now.  −1: farthest away, or a failure."

    def __init__(self, figure: Figure, title: str | None, with_band: bool, with_labels: bool) -> None:
        self.figure, self.with_band, self.with_labels = figure, with_band, with_labels
        self.lines = _fit(figure, title, WIDTH - LEFT - RIGHT, "title", bold=True) if title else []
        self.height = 0.26 * len(self.lines) + 0.49

    def draw(self) -> None:
        box = _Box(self.figure, LEFT, TOP, WIDTH - LEFT - RIGHT)
        y = 0.26 * len(self.lines)
        for line in self.lines:
            box.text(0, 0.16, line, fontsize=SIZES["title"], weight="bold", va="baseline")
        box.text(0, y + 0.07, self.EXPLANATION, fontsize=SIZES["legend"], color=MUTED, va="baseline")
        page_width, page_height = self.figure.get_size_inches()
        anchor = (LEFT / page_width, 1 - (TOP + y + 0.15) / page_height)
        self.figure.legend(
            handles=self._handles(), loc="upper left", bbox_to_anchor=anchor, ncols=5, frameon=False,
            fontsize=SIZES["legend"], labelcolor=MUTED, handlelength=1.9, columnspacing=1.6,
            handletextpad=0.5, borderpad=0, borderaxespad=0,
        )  # fmt: skip

    def _handles(self) -> list:
        handles: list = [
            Line2D([], [], color=SUCCESS, linewidth=1.7, label="predicted value, success"),
            Line2D([], [], color=FAILURE, linewidth=1.7, label="predicted value, failure"),
        ]
        if self.with_band:
            handles.append(Patch(color=INK, alpha=0.2, linewidth=0, label="10–90% of the prediction"))
        handles.append(Line2D([], [], color=MUTED, linewidth=0.9, dashes=(3.2, 2.2), label="true value"))
        if self.with_labels:
            handles.append(Patch(color=POSITIVE, linewidth=0, label="labelled positive"))
        return handles


def _fit(figure: Figure, text: str, width: float, kind: str, bold: bool = False, lines: int = 1) -> list[str]:
    """Text broken and shortened to `width` inches in the size of its kind."""
    font = FontProperties(family="DejaVu Sans", size=SIZES[kind], weight="bold" if bold else "normal")
    renderer = FigureCanvasAgg(figure).get_renderer()
    measure = lambda line: renderer.get_text_width_height_descent(line, font, False)[0] / DPI  # noqa: E731
    return fit_lines(text, width, measure, lines)
