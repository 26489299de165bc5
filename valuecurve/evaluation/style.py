"""Colours, type and text fitting that the figures and the videos share.

Success, failure and positive labels are blue, vermilion and green of Okabe & Ito's palette, which people
with any common colour vision tell apart; a sign, a word or a place say the same. The only typeface is DejaVu
Sans, which comes with matplotlib, so that pictures look alike on every machine.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
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

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "text.parse_math": False,  # a task may hold "$"
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


def color_of(curve: Curve) -> str:
    return SUCCESS if curve.success else FAILURE


def outcome_text(curve: Curve) -> str:
    """ "✓ Success, episode 3" or "✗ Failure: what went wrong, episode 4"."""
    return f"{'✓' if curve.success else '✗'} {clean_text(curve.outcome)}, episode {curve.episode_index}"


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
