"""What is drawn into the axes of one episode: x is seconds, y value units. Figures and videos share it.

Long episodes are thinned to what a picture can show: about a thousand columns.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from scipy.ndimage import gaussian_filter1d

from ..metrics import quantiles
from .curves import Curve
from .style import BAND_LEVELS, BAND_OPACITY, BAND_SMOOTHING, LIGHT, Theme, color_of

POSITIVE_STRIP = 0.07  # height of the strip of positive frames, as a share of the value range
COLUMNS = 1000  # of areas; lines are thinned by matplotlib
INTERVAL_OPACITY = 0.20
ADVANTAGE_OPACITY = (0.75, 0.55)  # above, below zero
FLAT = 0.02  # share of the value range: what is this near to the lowest value is said to stay there
LONG = 180  # seconds from which an axis is in minutes
MINUTES = (30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)  # steps between ticks, seconds


def draw_target(axes: Axes, curve: Curve, linewidth: float = 0.9, theme: Theme = LIGHT) -> None:
    """The target as a dashed line, if it is known; sets the limits of both axes."""
    if curve.target is not None:
        axes.plot(curve.times, curve.target, color=theme.muted, linewidth=linewidth, dashes=(3.2, 2.2),
                  clip_on=False, zorder=3)  # fmt: skip
    pad = 0.02 * (curve.v_max - curve.v_min)
    room = 0 if curve.positive is None else POSITIVE_STRIP * (curve.v_max - curve.v_min)
    axes.set(xlim=(0, curve.seconds), ylim=(curve.v_min - pad - room, curve.v_max + pad))


def draw_value(axes: Axes, curve: Curve, linewidth: float = 1.7, theme: Theme = LIGHT) -> None:
    """The band, the value and the positive spans into the same axes; `linewidth` in points."""
    draw_band(axes, curve, theme)
    _draw_positive(axes, curve, theme)
    axes.plot(curve.times, curve.value, color=color_of(curve, theme), linewidth=linewidth,
              solid_capstyle="round", solid_joinstyle="round", clip_on=False, zorder=4)  # fmt: skip


def draw_band(axes: Axes, curve: Curve, theme: Theme = LIGHT) -> None:
    """The middle 80% of the distributions, darkest in the middle; or the interval."""
    starts = _columns(len(curve))
    times = _thin_times(curve, starts)
    color = color_of(curve, theme)
    if curve.probabilities is not None:
        levels = [level for pair in BAND_LEVELS for level in pair]
        drawn = quantiles(thin(curve.probabilities, starts), levels, curve.v_min, curve.v_max)
        smoothing = BAND_SMOOTHING * curve.fps * len(starts) / len(curve)
        drawn = gaussian_filter1d(drawn, smoothing, axis=1, mode="nearest")
        for low, high in zip(drawn[::2], drawn[1::2], strict=True):
            axes.fill_between(times, low, high, color=color, alpha=BAND_OPACITY, linewidth=0)
    elif curve.interval is not None:
        low, high = (thin(np.clip(side, curve.v_min, curve.v_max), starts) for side in curve.interval)
        axes.fill_between(times, low, high, color=color, alpha=INTERVAL_OPACITY, linewidth=0)


def _draw_positive(axes: Axes, curve: Curve, theme: Theme) -> None:
    """Frames that are labelled positive, as a strip under the lowest value; each lasts until the next."""
    if curve.positive is None:
        return
    low, high = axes.get_ylim()[0], curve.v_min - 0.25 * POSITIVE_STRIP * (curve.v_max - curve.v_min)
    axes.broken_barh(
        positive_spans(curve), (low, high - low), facecolor=theme.positive, linewidth=0, zorder=2
    )


def positive_spans(curve: Curve) -> list[tuple[float, float]]:
    """(start, duration) in seconds of each run of positive frames, inside the time axis.

    Of a long episode each column counts as most of its frames do.
    """
    if curve.positive is None:
        return []
    starts = _columns(len(curve))
    positive = thin(curve.positive, starts) >= 0.5
    edges = np.flatnonzero(np.diff(np.concatenate([[False], positive, [False]]).astype(np.int8)))
    times, end = np.append(starts, len(curve)) / curve.fps, curve.seconds
    return [(a, min(b, end) - a) for a, b in times[edges].reshape(-1, 2).tolist() if a < end]


def shade_positive(axes: Axes, curve: Curve, theme: Theme = LIGHT) -> None:
    """The positive spans as a shade over the whole height."""
    axes.broken_barh(positive_spans(curve), (0, 1), transform=axes.get_xaxis_transform(),
                     facecolor=theme.positive, alpha=0.09, linewidth=0, zorder=0)  # fmt: skip


def draw_advantage(axes: Axes, curve: Curve, theme: Theme = LIGHT) -> None:
    """The advantage as an area around zero: above it green, below it grey; the threshold as a line."""
    assert curve.advantage is not None
    starts = _columns(len(curve))
    times = _thin_times(curve, starts)
    above = thin(np.maximum(curve.advantage, 0), starts)
    below = thin(np.minimum(curve.advantage, 0), starts)
    axes.fill_between(times, 0, above, color=theme.positive, alpha=ADVANTAGE_OPACITY[0], linewidth=0)
    axes.fill_between(times, 0, below, color=theme.negative, alpha=ADVANTAGE_OPACITY[1], linewidth=0)
    axes.axhline(0, color=theme.muted, linewidth=0.6)
    low, high = float(below.min()), float(above.max())
    if curve.threshold is not None:
        axes.plot(
            curve.times, curve.threshold, color=theme.ink, linewidth=0.8, drawstyle="steps-post", zorder=3
        )
        low, high = min(low, float(curve.threshold.min())), max(high, float(curve.threshold.max()))
    pad = 0.06 * (max(high, 0) - min(low, 0)) or 0.05
    axes.set(xlim=(0, curve.seconds), ylim=(min(low, 0) - pad, max(high, 0) + pad))


# --- thinning --------------------------------------------------------------------------------------------


def _columns(count: int) -> np.ndarray:
    """First frame of each column: of every frame its own, of many about a thousand."""
    return np.unique(np.linspace(0, count, min(count, COLUMNS), endpoint=False).astype(np.int64))


def thin(array: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Means of [T, …] over the columns."""
    if len(starts) == len(array):
        return np.asarray(array)
    sizes = np.diff(np.append(starts, len(array)))
    sums = np.add.reduceat(array, starts, axis=0, dtype=np.float64)
    return sums / sizes.reshape(-1, *[1] * (sums.ndim - 1))


def _thin_times(curve: Curve, starts: np.ndarray) -> np.ndarray:
    """Seconds of the columns; the outer ones reach the ends of the axis."""
    if len(starts) == len(curve):
        return curve.times
    times = thin(curve.times, starts)
    times[0], times[-1] = 0, curve.seconds
    return times


# --- axes of time ----------------------------------------------------------------------------------------


def time_text(seconds: float, whole: float) -> str:
    """ "4 s" on an axis of `whole` seconds; "1:30" (minutes) or "2:05:00" (hours) on a long one."""
    if whole <= LONG:
        return f"{seconds:g} s"
    seconds = round(seconds)
    hours = f"{seconds // 3600}:{seconds // 60 % 60:02d}" if whole >= 3600 else f"{seconds // 60}"
    return f"{hours}:{seconds % 60:02d}"


def time_ticks(whole: float, most: int, steps: tuple[float, ...] = (1, 2, 5, 10)) -> list[float]:
    """At most about `most` round numbers of seconds in 0 … whole."""
    if whole > LONG:
        step = next(
            (step for step in MINUTES if whole / step <= most), MINUTES[-1] * -(-whole // (most * 86400))
        )
        return np.arange(0, whole * 1.0001, step).tolist()
    ticks = MaxNLocator(most, steps=steps).tick_values(0, whole)
    return [tick for tick in np.asarray(ticks).tolist() if -1e-9 <= tick <= whole * 1.001]


def style_times(axes: Axes, whole: float, most: int, steps: tuple[float, ...] = (1, 2, 5, 10)) -> None:
    """Ticks of the x axis."""
    axes.xaxis.set_major_locator(FixedLocator(time_ticks(whole, most, steps)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: time_text(v, whole)))


def style_values(axes: Axes, curve: Curve, theme: Theme = LIGHT) -> None:
    """Ticks and grid of the y axis: both ends of the values and their middle."""
    axes.set_yticks([curve.v_min, (curve.v_min + curve.v_max) / 2, curve.v_max])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number_text(v)))
    axes.grid(axis="y", color=theme.hairline, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def flat_text(curve: Curve) -> str | None:
    """What is seen where the value never leaves its lowest end, in words; None where it does."""
    near = curve.v_min + FLAT * (curve.v_max - curve.v_min)
    if curve.value.max() > near:
        return None
    target = "" if curve.target is None or curve.target.max() > near else ", as the target does"
    means = ": no success is expected" if curve.has_usual_range else ""
    return f"The value stays at {number_text(curve.v_min)}{target}{means}."


def number_text(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def seconds_ticks(curve: Curve, most: int = 3) -> list[tuple[float, str]]:
    """Places, in value units, and texts of an axis of seconds to success."""
    assert curve.scale_seconds is not None
    whole = curve.scale_seconds * (curve.v_max - curve.v_min)
    ticks = time_ticks(whole, most, (1, 2, 2.5, 5, 10))
    return [(curve.v_max - tick / curve.scale_seconds, time_text(tick, whole)) for tick in ticks]


def seconds_axis(axes: Axes, curve: Curve, most: int = 3) -> Axes:
    """The right axis: the same heights in seconds to success."""
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    places, texts = zip(*seconds_ticks(curve, most), strict=True)
    right.set_yticks(places, texts)
    right.spines[:].set_visible(False)
    right.tick_params(axis="y", length=2.5, pad=2)
    return right
