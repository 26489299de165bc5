"""How good a value function is, as pictures of a whole dataset: calibration, detection, error."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from .page import Page, drawing, fit, save
from .panel import number_text
from .style import Theme

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 4.4, 0.62, 0.26, 0.16, 0.12
TITLE, LINE, LABELS = 0.22, 0.165, 0.47
SIDE = WIDTH - LEFT - RIGHT
SIZES = {"title": 10.5, "small": 7.4}  # points
DOTS = 300  # frames up to which each is a dot
CELLS = 60  # of the histogram of predictions and targets, a side
GROUPS = 20  # of targets, in which the predictions' quantiles are drawn
FEWEST = 20  # frames of a group that is drawn


def plot_reliability(levels, observed, path: str | Path, dark: bool = False) -> Path:
    """Draw how often targets lie below the predicted quantiles, against how often they should.

    Args:
        levels: [n] in 0 … 1, ascending: the quantiles' levels, as `metrics.CALIBRATION_LEVELS`.
        observed: [n] in 0 … 1: `metrics.calibration_curve` of them. Calibrated is `levels` itself.
        path: .png, .svg or .pdf; written under a temporary name first.
        dark: on dark paper.

    Returns:
        The path.
    """
    levels, observed = _paired("levels", levels, "observed", observed)
    with drawing(dark) as theme:
        error = float(np.mean(np.abs(observed - levels)))
        lines = ["How often is the target below the predicted quantile?",
                 f"Mean gap to the diagonal: {error:.3f}"]  # fmt: skip
        page, axes = _page("Reliability", lines, SIDE, theme)
        x, y = np.concatenate([[0], levels, [1]]), np.concatenate([[0], observed, [1]])
        axes.fill_between(x, x, y, color=theme.success, alpha=0.14, linewidth=0)
        axes.plot([0, 1], [0, 1], color=theme.muted, linewidth=0.9, dashes=(3.2, 2.2))
        axes.plot(x, y, color=theme.success, linewidth=1.8, solid_joinstyle="round")
        axes.plot(levels, observed, "o", markersize=3.6, color=theme.success, markeredgecolor=theme.paper,
                  markeredgewidth=0.7)  # fmt: skip
        _square(axes, "level of the quantile", "share of targets below it", theme)
        for x, y, side, hint in ((0.04, 0.93, "left", "high"), (0.96, 0.05, "right", "low")):
            axes.text(x, y, f"predictions too {hint}", fontsize=SIZES["small"], color=theme.muted, ha=side)
        return save(page.figure, path, f"Reliability: mean gap {error:.3f}")


def plot_auroc_over_elapsed(
    shares, auroc, path: str | Path, dark: bool = False, interval: tuple | None = None
) -> Path:
    """Draw how well the value tells successes from failures, from the first frame to the last.

    Args:
        shares: [n] in 0 … 1, ascending: shares of the episode that have passed.
        auroc: [n] in 0 … 1: area under the ROC curve there; NaN where it is not defined (left out).
        path: .png, .svg or .pdf; written under a temporary name first.
        dark: on dark paper.
        interval: ([n], [n]) lower and upper ends of a confidence interval.

    Returns:
        The path.
    """
    shares, auroc = _paired("shares", shares, "auroc", auroc, nan=True)
    with drawing(dark) as theme:
        line = "Does the value tell success from failure?"
        last = next((a for a in auroc[::-1] if np.isfinite(a)), None)
        end = "not defined, one outcome only" if last is None else f"{last:.2f} at the end"
        shade = "; shade: its interval" if interval is not None else ""
        lines = [line, f"Area under the ROC curve: {end}{shade}"]
        page, axes = _page("AUROC over the episode", lines, 2.6, theme)
        if interval is not None:
            low, high = (np.asarray(side, float) for side in interval)
            axes.fill_between(shares, low, high, color=theme.success, alpha=0.18, linewidth=0)
        axes.plot(shares, auroc, color=theme.success, linewidth=2.0, clip_on=False, zorder=3,
                  marker="o" if len(shares) <= 25 else None, markersize=3.4,
                  markeredgecolor=theme.paper, markeredgewidth=0.7)  # fmt: skip
        axes.axhline(0.5, color=theme.muted, linewidth=0.9, dashes=(3.2, 2.2), zorder=2)
        axes.text(0.01, 0.485, "chance", fontsize=SIZES["small"], color=theme.muted, va="top")
        lowest = np.nanmin(np.concatenate([[0.5], auroc, *(interval or ())]))
        bottom = 0.4 if lowest >= 0.4 else max(0.0, np.floor(10 * lowest) / 10)
        axes.set(xlim=(0, 1), ylim=(bottom, 1.0))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.1f}"))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _style(axes, "share of the episode that has passed", "AUROC", theme)
        return save(page.figure, path, f"AUROC over the episode: {end}")


def plot_predicted_against_target(values, targets, path: str | Path, dark: bool = False) -> Path:
    """Draw the frames of a dataset by target and predicted value, as a density.

    A line and two thin ones are the median and the 10% and 90% quantiles of the predictions among targets
    that are about equal.

    Args:
        values: [n] predicted values, in value units.
        targets: [n] of the same frames.
        path: .png, .svg or .pdf; written under a temporary name first.
        dark: on dark paper.

    Returns:
        The path.
    """
    values, targets = _paired("values", values, "targets", targets)
    with drawing(dark) as theme:
        error = float(np.mean(np.abs(values - targets)))
        frames = f"{len(values):,} frame{'s' if len(values) > 1 else ''}"
        lines = [f"{frames}, mean absolute error {error:.3f}",
                 "Line: median prediction; thin: 10% and 90%"]  # fmt: skip
        page, axes = _page("Predicted against target", lines, SIDE, theme)
        low, high = min(values.min(), targets.min(), -1.0), max(values.max(), targets.max(), 0.0)
        if len(values) > DOTS:
            _draw_density(axes, values, targets, low, high, theme)
        else:
            axes.plot(targets, values, "o", color=theme.success, markersize=3.5, alpha=0.6, clip_on=False,
                      markeredgewidth=0)  # fmt: skip
        axes.plot([low, high], [low, high], color=theme.ink, linewidth=0.9, dashes=(3.2, 2.2), zorder=2)
        _draw_quantiles(axes, values, targets, low, high, theme)
        axes.set(xlim=(low, high), ylim=(low, high))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(lambda v, _: number_text(round(v, 6) + 0.0)))
        _style(axes, "target", "predicted value", theme)
        axes.grid(visible=False)
        return save(page.figure, path, f"Predicted against target: mean absolute error {error:.3f}")


def _draw_density(axes: Axes, values, targets, low: float, high: float, theme: Theme) -> None:
    counts, _, _ = np.histogram2d(targets, values, CELLS, [[low, high]] * 2)
    colors = LinearSegmentedColormap.from_list("density", theme.ramp[1:], bad=theme.paper)
    shown = np.ma.masked_equal(counts.T, 0)
    axes.imshow(shown, origin="lower", extent=(low, high, low, high), cmap=colors, aspect="auto",
                norm=LogNorm(1, max(counts.max(), 2)), interpolation="nearest", zorder=0)  # fmt: skip


def _draw_quantiles(axes: Axes, values, targets, low: float, high: float, theme: Theme) -> None:
    """Quantiles of the predictions over the targets; of the many at the lowest target as a dot and a bar."""
    atom = targets <= low + 1e-6 * (high - low)
    if atom.sum() >= FEWEST:
        bottom, middle, top = np.quantile(values[atom], [0.1, 0.5, 0.9])
        axes.plot([low, low], [bottom, top], color=theme.failure, linewidth=2.4, clip_on=False, zorder=3)
        axes.plot(low, middle, "o", color=theme.failure, markersize=5.5, clip_on=False, zorder=4,
                  markeredgecolor=theme.paper, markeredgewidth=0.8)  # fmt: skip
    group = np.where(atom, -1, np.clip((targets - low) / (high - low) * GROUPS, 0, GROUPS - 1).astype(int))
    drawn = np.full((GROUPS, 4), np.nan)  # target, then the quantiles; gaps where there are few frames
    for number in range(GROUPS):
        chosen = group == number
        if chosen.sum() >= FEWEST:
            drawn[number] = targets[chosen].mean(), *np.quantile(values[chosen], [0.1, 0.5, 0.9])
    for line, width in zip(drawn.T[1:], (0.9, 2.0, 0.9), strict=True):
        axes.plot(drawn[:, 0], line, color=theme.failure, linewidth=width, solid_joinstyle="round", zorder=3)


# --- the page --------------------------------------------------------------------------------------------


def _page(title: str, lines: list[str], height: float, theme: Theme) -> tuple[Page, Axes]:
    """A page with a heading and axes of this height."""
    top = TOP + TITLE + LINE * len(lines) + 0.12
    page = Page(WIDTH, top + height + LABELS + BOTTOM, theme)
    page.text(LEFT, TOP + TITLE - 0.06, title, SIZES["title"], weight="bold")
    for i, line in enumerate(lines):
        shown = fit(line, SIDE, SIZES["small"])[0]
        page.text(LEFT, TOP + TITLE + LINE * (i + 1) - 0.03, shown, SIZES["small"], color=theme.muted)
    return page, page.axes(LEFT, top, SIDE, height)


def _style(axes: Axes, x: str, y: str, theme: Theme) -> None:
    axes.set_xlabel(x, fontsize=SIZES["small"], labelpad=3)
    axes.set_ylabel(y, fontsize=SIZES["small"], labelpad=3)
    axes.grid(color=theme.hairline, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, pad=6, labelsize=SIZES["small"])


def _square(axes: Axes, x: str, y: str, theme: Theme) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    _style(axes, x, y, theme)


def _paired(name: str, first, other: str, second, nan: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 [n]. Raises ValueError where they are not alike, empty, or not finite."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise ValueError(f"{name} {list(first.shape)} and {other} {list(second.shape)} must be alike: [n].")
    for label, array in ((name, first), (other, second)):
        if not (np.isfinite(array) | (nan and label == other)).all():
            raise ValueError(f"{label}[{int(np.flatnonzero(~np.isfinite(array))[0])}] is not finite.")
    return first, second
