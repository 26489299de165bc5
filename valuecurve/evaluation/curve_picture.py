"""One episode, large: its value over time with all that is known, or its distribution as a heat map."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.patheffects import Normal, Stroke

from .curves import Curve
from .figures import draw_frame, explanation, legend_entries, spread
from .page import DASHES, KEY_LINE, Entry, Page, drawing, fit, key_height, save, text_width
from .panel import (
    ADVANTAGE_OPACITY,
    draw_advantage,
    draw_target,
    draw_value,
    flat_text,
    number_text,
    positive_spans,
    seconds_axis,
    shade_positive,
    style_times,
    style_values,
    thin,
)
from .style import color_of, outcome_text

WIDTH = 8.0
LEFT, RIGHT, TOP, BOTTOM = 0.66, 0.74, 0.20, 0.12
TITLE_LINE, OUTCOME_LINE = 0.23, 0.21
FILM, FILM_GAP = 0.86, 0.16  # the largest height of a frame; between the frames and the curve
PLOT, LANE, LANE_GAP, TIMES = 2.45, 0.58, 0.13, 0.42
SIZES = {"title": 12.5, "outcome": 9.0, "small": 7.6}  # points
HEAT_COLUMNS = 1400  # of the heat map
HEAT_ROWS = 67  # three bins of 201 each: single ones are combed where few targets fall
LOWEST_ROW = 0.026  # how far it goes on below the lowest value, as a share of the value range
BRIGHTEST = 0.995  # share of the cells, outer rows aside, that the scale of colours tells apart
GAMMA = 0.6


def plot_curve(curve: Curve, path: str | Path, dark: bool = False) -> Path:
    """Draw one episode's value curve, 1600 pixels wide.

    From top to bottom: task and outcome, the film strip (the curve's thumbnails, each tied to its time), the
    value with its band, the target, and the positive spans as a strip and a shade; then the advantage around
    zero. Value units on the left, seconds to success on the right where they are known. What a curve lacks is
    left out.

    Args:
        curve: one frame or more; long episodes are thinned to what can be seen.
        path: .png, .svg or .pdf; written under a temporary name first.
        dark: on dark paper.

    Returns:
        The path.
    """
    with drawing(dark):
        return save(_curve_page(curve, dark).figure, path, f"Value curve: {_named(curve)}")


def plot_heat_map(curve: Curve, path: str | Path, dark: bool = False) -> Path:
    """Draw one episode's predicted distribution over time: darker (on dark paper brighter) is more probable.

    The mean, which is the value, and the target are lines over it. Arguments as of `plot_curve`.

    Raises:
        ValueError: a curve without `probabilities`.
    """
    if curve.probabilities is None:
        raise ValueError(f"plot_heat_map: the curve of {_named(curve)} has no probabilities.")
    with drawing(dark):
        return save(_heat_page(curve, dark).figure, path, f"Predicted distribution: {_named(curve)}")


def _named(curve: Curve) -> str:
    return f"{' '.join(curve.task.split())[:200]}, {outcome_text(curve)}"


# --- the curve -------------------------------------------------------------------------------------------


def _curve_page(curve: Curve, dark: bool) -> Page:
    with drawing(dark) as theme:
        film = film_height(curve, WIDTH - LEFT - RIGHT)
        entries = legend_entries([curve], theme)
        if curve.advantage is not None:
            both = (theme.positive, ADVANTAGE_OPACITY[0]), (theme.negative, ADVANTAGE_OPACITY[1])
            entries.append(Entry("advantage above and below zero", boxes=both))
            if curve.threshold is not None:
                entries.append(Entry("threshold: positive from here on", line=theme.ink, width=0.8))
        head = _Heading(curve, entries, explanation([curve]))
        lane = LANE_GAP + LANE if curve.advantage is not None else 0.0
        top = head.height + (film + FILM_GAP if film else 0.0)
        page = Page(WIDTH, top + PLOT + lane + TIMES + BOTTOM, theme)
        head.draw(page)
        axes = page.axes(LEFT, top, WIDTH - LEFT - RIGHT, PLOT)
        _draw_curve(axes, curve, page)
        lowest = axes
        if curve.advantage is not None:
            lowest = page.axes(LEFT, top + PLOT + LANE_GAP, WIDTH - LEFT - RIGHT, LANE)
            _draw_lane(lowest, curve, page)
            axes.tick_params(axis="x", labelbottom=False)
        lowest.tick_params(axis="x", length=2.5, pad=3, labelsize=SIZES["small"])
        lowest.set_xlabel("time since the start of the episode", fontsize=SIZES["small"], labelpad=3)
        if film:
            draw_film(page, curve, head.height, film, top, PLOT, axes)
        return page


class _Heading:
    """Task, outcome, explanation and key; `height` in inches is known before the page is."""

    def __init__(self, curve: Curve, entries: list[Entry], explanation: str):
        room = WIDTH - LEFT - RIGHT
        self.curve, self.entries, self.explanation = curve, entries, explanation
        self.explanation_y = 0.0  # known when drawn
        self.task = fit(curve.task, room, SIZES["title"], bold=True, lines=2)
        self.outcome = fit(outcome_text(curve), room, SIZES["outcome"], bold=True)[0]
        key = KEY_LINE + key_height(entries, room, SIZES["small"])
        self.height = TOP + TITLE_LINE * len(self.task) + OUTCOME_LINE + key + 0.20

    def draw(self, page: Page) -> None:
        y = TOP - 0.04
        for line in self.task:
            y += TITLE_LINE
            page.text(LEFT, y - 0.03, line, SIZES["title"], weight="bold")
        y += OUTCOME_LINE
        color = color_of(self.curve, page.theme)
        page.text(LEFT, y - 0.03, self.outcome, SIZES["outcome"], color=color, weight="bold")
        y += KEY_LINE + 0.03
        self.explanation_y = y - 0.03
        page.text(LEFT, y - 0.03, self.explanation, SIZES["small"], color=page.theme.muted)
        page.key(LEFT, y + KEY_LINE, WIDTH - LEFT - RIGHT, self.entries, SIZES["small"])


def _draw_curve(axes: Axes, curve: Curve, page: Page) -> None:
    theme = page.theme
    draw_target(axes, curve, linewidth=1.1, theme=theme)
    shade_positive(axes, curve, theme)
    draw_value(axes, curve, linewidth=2.0, theme=theme)
    if len(curve) == 1:
        axes.plot(0, curve.value[0], "o", color=color_of(curve, theme), clip_on=False)
    _style(axes, curve, page)
    _say_flat(axes, curve, page)


def _say_flat(axes: Axes, curve: Curve, page: Page) -> None:
    """Words above a value that stays at the bottom, where the picture is nearly empty."""
    if (text := flat_text(curve)) is not None:
        rim = [Stroke(linewidth=3, foreground=page.theme.paper), Normal()]
        axes.annotate(text, (0, curve.v_min), (4, 8), textcoords="offset points", fontsize=SIZES["outcome"],
                      color=page.theme.ink, path_effects=rim, zorder=6)  # fmt: skip


def _style(axes: Axes, curve: Curve, page: Page) -> None:
    style_values(axes, curve, page.theme)
    axes.tick_params(axis="y", pad=4, labelsize=SIZES["small"])
    axes.set_ylabel("value", fontsize=SIZES["small"], labelpad=3)
    style_times(axes, curve.seconds, 8)
    axes.tick_params(axis="x", length=2.5, pad=3, labelsize=SIZES["small"])
    if curve.has_seconds:
        right = seconds_axis(axes, curve, 6)
        right.tick_params(labelsize=SIZES["small"])
        right.set_ylabel("expected time to success", fontsize=SIZES["small"], labelpad=4)


def _draw_lane(axes: Axes, curve: Curve, page: Page) -> None:
    draw_advantage(axes, curve, page.theme)
    low, high = axes.get_ylim()
    shade_positive(axes, curve, page.theme)
    ends = [end for end in (float(f"{0.94 * low:.1g}"), float(f"{0.94 * high:.1g}")) if low <= end <= high]
    ticks = sorted({0.0, *(end for end in ends if abs(end) > 0.3 * max(-low, high))})
    axes.set_yticks(ticks, [f"+{number_text(tick)}" if tick > 0 else number_text(tick) for tick in ticks])
    axes.tick_params(axis="y", length=0, pad=4, labelsize=SIZES["small"])
    axes.set_ylabel("advantage", fontsize=SIZES["small"], labelpad=3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    style_times(axes, curve.seconds, 8)


# --- the film strip --------------------------------------------------------------------------------------


def film_height(curve: Curve, width: float) -> float:
    """As high as fits when the thumbnails stand side by side; 0 without any."""
    count = len(curve.thumbnails)
    if not count:
        return 0.0
    pixel_height, pixel_width = curve.thumbnails.shape[2:]
    return min(FILM, (width - 0.03 * (count - 1)) / count * pixel_height / pixel_width)


def draw_film(page: Page, curve: Curve, y: float, height: float, top: float, plot: float, axes: Axes) -> None:
    """Frames in a row at y, a line from each to its time at the panel's top, and a dot on the curve."""
    theme, room = page.theme, page.width - LEFT - RIGHT
    pixel_height, pixel_width = curve.thumbnails.shape[2:]
    width = height * pixel_width / pixel_height
    wanted = curve.thumbnail_frames / curve.fps / curve.seconds * room
    centers = spread(wanted, width + 0.03, width / 2, room - width / 2)
    for image, frame, want, center in zip(
        curve.thumbnails, curve.thumbnail_frames, wanted, centers, strict=True
    ):
        draw_frame(page, image, LEFT + center - width / 2, y, width, height)
        page.line((LEFT + center, y + height), (LEFT + want, top), color=theme.hairline, linewidth=0.8)
        time, value = frame / curve.fps, curve.value[frame]
        axes.vlines(time, value, axes.get_ylim()[1], color=theme.hairline, linewidth=0.8, zorder=1)
        axes.plot(time, value, "o", markersize=4.2, color=theme.paper, markeredgewidth=1.1,
                  markeredgecolor=color_of(curve, theme), clip_on=False, zorder=5)  # fmt: skip


# --- the heat map ----------------------------------------------------------------------------------------


def _heat_page(curve: Curve, dark: bool) -> Page:
    assert curve.probabilities is not None
    with drawing(dark) as theme:
        entries = [Entry("value (the mean)", line=theme.failure)]
        if curve.target is not None:
            entries.append(Entry("target", line=theme.ink, width=1.1, dashed=True))
        if curve.positive is not None:
            entries.append(Entry(curve.positive_name, boxes=((theme.positive, 1.0),)))
        head = _Heading(curve, entries, "Where does the model expect the value to be, at every moment?")
        page = Page(WIDTH, head.height + PLOT + TIMES + BOTTOM, theme)
        head.draw(page)
        axes = page.axes(LEFT, head.height, WIDTH - LEFT - RIGHT, PLOT)
        draw_target(axes, curve, linewidth=0)
        image = _draw_density(axes, curve, page)
        _draw_over(axes, curve, page)
        _style(axes, curve, page)
        axes.grid(visible=False)
        _say_flat(axes, curve, page)
        axes.set_xlabel("time since the start of the episode", fontsize=SIZES["small"], labelpad=3)
        row = (curve.v_max - curve.v_min) / min(curve.probabilities.shape[1], HEAT_ROWS)
        _draw_ramp(page, image, row, head.explanation_y)
        return page


def _draw_density(axes: Axes, curve: Curve, page: Page):
    """The probabilities as an image: some bins a row, each frame around its time.

    All of a failure may be in the lowest bin: the colours are scaled to the others, and end there; and the
    lowest row goes on below its place, so that the line of a value that lies there does not hide it.
    """
    assert curve.probabilities is not None
    count, bins = curve.probabilities.shape
    starts = np.unique(np.linspace(0, count, min(count, HEAT_COLUMNS), endpoint=False).astype(np.int64))
    rows = np.unique(np.linspace(0, bins, min(bins, HEAT_ROWS), endpoint=False).astype(np.int64))
    shown = np.add.reduceat(thin(curve.probabilities, starts), rows, axis=1).T
    inner = shown[1:-1] if len(shown) > 2 else shown
    largest = max(float(np.quantile(inner, BRIGHTEST)), 3 / len(shown))  # three times an even distribution
    half = (curve.v_max - curve.v_min) / (bins - 1) / 2
    colors = LinearSegmentedColormap.from_list("density", page.theme.ramp)
    step = 0.5 / curve.fps if count > 1 else 0.0
    ends, bottom, top = (-step, curve.seconds + step), curve.v_min - half, curve.v_max + half
    below = bottom - LOWEST_ROW * (curve.v_max - curve.v_min)
    limits = axes.get_xlim(), (min(axes.get_ylim()[0], below), axes.get_ylim()[1])
    norm = PowerNorm(GAMMA, 0, largest, clip=True)
    options: dict[str, Any] = dict(origin="lower", aspect="auto", cmap=colors, norm=norm, zorder=0,
                                   interpolation="nearest")  # fmt: skip
    image = axes.imshow(shown, extent=(*ends, bottom, top), **options)
    axes.imshow(shown[:1], extent=(*ends, below, bottom), **options)
    axes.set(xlim=limits[0], ylim=limits[1])
    return image


def _draw_over(axes: Axes, curve: Curve, page: Page) -> None:
    """The value and the target over the density, with a rim of paper so that they are seen everywhere."""
    theme = page.theme
    rim = [Stroke(linewidth=3.2, foreground=theme.paper, alpha=0.85), Normal()]
    axes.plot(curve.times, curve.value, color=theme.failure, linewidth=1.6, path_effects=rim, zorder=4)
    if curve.target is not None:
        rim = [Stroke(linewidth=2.6, foreground=theme.paper, alpha=0.85), Normal()]
        axes.plot(curve.times, curve.target, color=theme.ink, linewidth=1.1, dashes=DASHES, path_effects=rim,
                  zorder=3)  # fmt: skip
    if curve.positive is not None:
        low = axes.get_ylim()[0]
        axes.broken_barh(positive_spans(curve), (low, 0.05 * (curve.v_max - curve.v_min)),
                         facecolor=theme.positive, linewidth=0, zorder=2)  # fmt: skip


def _draw_ramp(page: Page, image, width: float, y: float) -> None:
    """The scale of colours at the right, beside the text at y; `width` of a row, in value units."""
    size = SIZES["small"] - 1
    x, largest = WIDTH - RIGHT - 1.0, image.norm.vmax
    axes = page.axes(x, y - 0.08, 1.0, 0.08)
    steps = np.linspace(0, largest, 256)
    axes.imshow(image.cmap(image.norm(steps))[None], aspect="auto", extent=(0, largest, 0, 1))
    axes.set_xticks([0, largest], ["0%", f"≥ {100 * largest:.2g}%"])
    axes.set_yticks([])
    axes.spines[:].set(color=page.theme.hairline, linewidth=0.5)
    axes.tick_params(length=0, pad=2, labelsize=size)
    label = f"probability of {width:.2g} of value"
    page.text(x - text_width(label, size) - 0.08, y, label, size, color=page.theme.muted)
