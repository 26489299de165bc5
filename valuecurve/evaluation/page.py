"""A page to draw on: places in inches from its top left, texts that know their width, and saving.

Every text is fitted to its room before it is drawn, so that nothing overlaps whatever the tasks are called.
No pyplot, no global state. Call all of it inside `matplotlib.rc_context(style.rc(theme))`; `drawing` does.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from .style import LIGHT, Theme, fit_lines, rc, theme_of

DPI = 200
FORMATS = ("png", "svg", "pdf")
DASHES = (3.2, 2.2)  # of targets
SIGN, SIGN_GAP, ENTRY_GAP, KEY_LINE = 0.24, 0.07, 0.19, 0.165  # inches: of a legend
UNDATED = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


class Page:
    """An empty page, width x height inches; all places are inches from its top left."""

    def __init__(self, width: float, height: float, theme: Theme = LIGHT):
        self.width, self.height, self.theme = width, np.ceil(height * DPI) / DPI, theme
        self.figure = Figure(figsize=(self.width, self.height), dpi=DPI)
        FigureCanvasAgg(self.figure)

    def axes(self, x: float, y: float, width: float, height: float, **options) -> Axes:
        """Axes whose top left corner is at (x, y)."""
        bottom = self.height - y - height
        place = (x / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(place, **options)

    def text(
        self, x: float, y: float, text: str, size: float, color: str | None = None, weight: str = "normal"
    ) -> None:
        """A text whose baseline is at y."""
        place = x / self.width, 1 - y / self.height
        color = color or self.theme.ink
        self.figure.text(*place, text, fontsize=size, va="baseline", color=color, weight=weight)

    def line(self, start: tuple[float, float], end: tuple[float, float], **options) -> None:
        x = [place[0] / self.width for place in (start, end)]
        y = [1 - place[1] / self.height for place in (start, end)]
        self.figure.add_artist(Line2D(x, y, **options))

    def box(self, x: float, y: float, width: float, height: float, color: str, alpha: float = 1.0) -> None:
        place = (x / self.width, 1 - (y + height) / self.height)
        size = (width / self.width, height / self.height)
        self.figure.add_artist(Rectangle(place, *size, color=color, alpha=alpha, linewidth=0))

    def key(self, x: float, y: float, width: float, entries: Sequence["Entry"], size: float) -> None:
        """A legend in lines of at most `width`, the first one's baseline at y."""
        for entry, (dx, line) in zip(entries, key_places(entries, width, size), strict=True):
            left, baseline = x + dx, y + KEY_LINE * line
            middle = baseline - 0.033
            if entry.boxes:
                wide = (SIGN - 0.02 * (len(entry.boxes) - 1)) / len(entry.boxes)
                for i, (color, alpha) in enumerate(entry.boxes):
                    self.box(left + i * (wide + 0.02), middle - 0.04, wide, 0.08, color, alpha)
            else:
                dashes = {"dashes": DASHES} if entry.dashed else {}
                ends = (left, middle), (left + SIGN, middle)
                self.line(*ends, color=entry.line, linewidth=entry.width, **dashes)
            self.text(left + SIGN + SIGN_GAP, baseline, entry.text, size, color=self.theme.muted)


@dataclass
class Entry:
    """A line of a legend: a text, and a line or boxes (colour, opacity) before it."""

    text: str
    line: str | None = None
    width: float = 1.7
    dashed: bool = False
    boxes: tuple[tuple[str, float], ...] = ()


def key_places(entries: Sequence[Entry], width: float, size: float) -> list[tuple[float, int]]:
    """(inches from the left, line) of each entry of a legend."""
    places, x, line = [], 0.0, 0
    for entry in entries:
        wide = entry_width(entry, size)
        if x and x + wide - ENTRY_GAP > width:
            x, line = 0.0, line + 1
        places.append((x, line))
        x += wide
    return places


def entry_width(entry: Entry, size: float) -> float:
    """Inches that an entry of a legend takes, with the gap after it."""
    return SIGN + SIGN_GAP + text_width(entry.text, size) + ENTRY_GAP


def key_height(entries: Sequence[Entry], width: float, size: float) -> float:
    """Inches that a legend takes."""
    return KEY_LINE * (1 + max((line for _, line in key_places(entries, width, size)), default=-1))


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Inches that a text of `size` points takes."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    return _renderer().get_text_width_height_descent(text, font, False)[0] / DPI


def fit(text: str, width: float, size: float, bold: bool = False, lines: int = 1) -> list[str]:
    """Text broken and shortened to `width` inches."""
    return fit_lines(text, width, lambda line: text_width(line, size, bold), lines)


@cache
def _renderer():
    return FigureCanvasAgg(Figure(figsize=(1, 1), dpi=DPI)).get_renderer()


@contextmanager
def drawing(dark: bool = False) -> Iterator[Theme]:
    """The theme, while matplotlib's settings are those of it."""
    theme = theme_of(dark)
    with matplotlib.rc_context(rc(theme)):
        yield theme


def save(figure: Figure, path: str | Path, title: str | None = None) -> Path:
    """Write a figure as PNG, SVG or PDF, by the suffix of `path`, whole or not at all.

    The same figure gives the same bytes.

    Args:
        title: what the picture shows, for those who cannot see an SVG or PDF.

    Returns:
        The path. Missing folders are made.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ValueError(f"{path}: a picture is {', '.join('.' + name for name in FORMATS)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    metadata = {**UNDATED[kind], **({"Title": title} if title and kind != "png" else {})}
    try:
        figure.savefig(temporary, format=kind, dpi=DPI, metadata=metadata)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
