"""Colours, type and text fitting that the figures and the videos share.

Success, failure and positive labels are blue, vermilion and green of Okabe & Ito's palette, which people
with any common colour vision tell apart; a sign, a word or a place say the same. The only typeface is DejaVu
Sans, which comes with matplotlib, so that pictures look alike on every machine.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.ft2font import FT2Font

from .curves import Curve

SUCCESS = "#0072B2"
FAILURE = "#D55E00"
POSITIVE = "#009E73"
INK = "#1b1f24"  # text
MUTED = "#656d76"  # ticks, second lines, targets
HAIRLINE = "#d8dee4"  # grid, frames
PAPER = "#ffffff"
BAND_LEVELS = tuple((0.10 + 0.05 * i, 0.90 - 0.05 * i) for i in range(8))  # nested: soft edges, dark middle
BAND_OPACITY = 0.055  # of each; eight over each other let 64% of the paper through
BAND_SMOOTHING = 0.15  # seconds, of the drawn quantiles: a forecast with two peaks makes them jump


@dataclass(frozen=True)
class Theme:
    """The colours of a picture. Success, failure and positive keep their hues on dark paper, lighter."""

    paper: str
    ink: str  # text, and curves of episodes whose outcome is not known
    muted: str  # ticks, second lines, targets
    hairline: str  # grid, frames
    success: str
    failure: str
    positive: str
    negative: str  # advantages below zero
    ramp: tuple[str, ...]  # of densities, from none to most


LIGHT = Theme(
    paper=PAPER,
    ink=INK,
    muted=MUTED,
    hairline=HAIRLINE,
    success=SUCCESS,
    failure=FAILURE,
    positive=POSITIVE,
    negative="#8c959f",
    ramp=("#ffffff", "#dcebf5", "#a3cae6", "#4f9bcd", "#0072B2", "#004a75", "#00263d"),
)
DARK = Theme(
    paper="#0d1117",
    ink="#e6edf3",
    muted="#9198a1",
    hairline="#30363d",
    success="#56B4E9",
    failure="#F0883E",
    positive="#2EBD90",
    negative="#6e7681",
    ramp=("#0d1117", "#0f2a3f", "#134a70", "#1f76ad", "#56B4E9", "#a8dcf7", "#f4fbff"),
)


def theme_of(dark: bool) -> Theme:
    return DARK if dark else LIGHT


def rc(theme: Theme) -> dict[Any, Any]:
    """The settings under which everything is drawn, for `matplotlib.rc_context`."""
    return {
        "font.family": "DejaVu Sans",
        "text.color": theme.ink,
        "text.parse_math": False,  # a task may hold "$"
        "axes.edgecolor": theme.muted,
        "axes.facecolor": theme.paper,
        "axes.labelcolor": theme.muted,
        "axes.linewidth": 0.6,
        "axes.unicode_minus": True,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "svg.hashsalt": "valuecurve",  # the same file every time
    }


RC = rc(LIGHT)


def color_of(curve: Curve, theme: Theme = LIGHT) -> str:
    """Of its outcome; ink where that is not known."""
    return theme.ink if curve.success is None else theme.success if curve.success else theme.failure


def outcome_text(curve: Curve) -> str:
    """ "✓ Success, episode 3", "✗ Failure: what went wrong, episode 4" or "Outcome not known, episode 5"."""
    sign = "" if curve.success is None else "✓ " if curve.success else "✗ "
    number = "" if curve.episode_index is None else f", episode {curve.episode_index}"
    return f"{sign}{clean_text(curve.outcome)}{number}"


def font_file(bold: bool = False) -> Path:
    """DejaVu Sans as a file, for PIL."""
    return Path(matplotlib.get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' if bold else ''}.ttf")


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(FT2Font(str(font_file())).get_charmap())


def clean_text(text: str) -> str:
    """One line with single spaces; a character that the typeface lacks (an emoji) becomes a small square."""
    line = " ".join(text.split())
    return "".join(c if ord(c) in _glyphs() else "▫" for c in line if c not in "\u200d\ufe0e\ufe0f")


def fit_lines(text: str, width: float, measure: Callable[[str], float], lines: int = 1) -> list[str]:
    """Break text at spaces into at most `lines` lines no wider than `width`; what is too much ends in "…".

    Args:
        measure: the width of a string, in the unit of `width`.
    """
    words, result = clean_text(text).split(" "), []
    while words and len(result) < lines:
        count = max(1, _longest(words, lambda part: measure(" ".join(part)) <= width))
        result.append(" ".join(words[:count]))
        words = words[count:]
    if words:
        result[-1] += " " + words[0]
    last = len(result) - 1
    return [_shorten(line, width, measure, cut=bool(words) and i == last) for i, line in enumerate(result)]


def _shorten(line: str, width: float, measure: Callable[[str], float], cut: bool) -> str:
    if not cut and measure(line) <= width:
        return line
    return line[: _longest(line, lambda part: measure(f"{part}…") <= width)].rstrip() + "…"


def _longest(sequence: Sequence, fits: Callable[[Sequence], bool]) -> int:
    """The largest n for which the first n items fit, by bisection; 0 if not even one does."""
    return bisect_right(range(1, len(sequence) + 1), 0, key=lambda n: not fits(sequence[:n]))
