"""A page to draw on: places in inches from its top left, texts that know their width, and saving.

Every text is fitted to its room before it is drawn, so that nothing overlaps whatever the tasks are called.
No pyplot, no global state. Call all of it inside `matplotlib.rc_context(style.rc(theme))`; `drawing` does.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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

    def text(self, x: float, y: float, text: str, size: float, **options) -> None:
        """A text whose baseline is at y."""
        options = {"va": "baseline", "color": self.theme.ink} | options
        self.figure.text(x / self.width, 1 - y / self.height, text, fontsize=size, **options)

    def line(self, start: tuple[float, float], end: tuple[float, float], **options) -> None:
        x = [place[0] / self.width for place in (start, end)]
        y = [1 - place[1] / self.height for place in (start, end)]
        self.figure.add_artist(Line2D(x, y, **options))

    def box(self, x: float, y: float, width: float, height: float, color: str, alpha: float = 1.0) -> None:
        place = (x / self.width, 1 - (y + height) / self.height)
        size = (width / self.width, height / self.height)
        self.figure.add_artist(Rectangle(place, *size, color=color, alpha=alpha, linewidth=0))

    def key(self, x: float, y: float, width: float, entries: list[tuple[str, dict]], size: float) -> float:
        """A legend in lines of at most `width`, the first one's baseline at y; the last one's is returned.

        Each entry is a text and how its sign looks: `line` or `box` with a colour, alpha, dashes or width.
        """
        sign, gap, after, line_height = 0.24, 0.07, 0.24, 0.165
        place = x
        for text, look in entries:
            wide = sign + gap + text_width(text, size)
            if place > x and place + wide > x + width:
                place, y = x, y + line_height
            middle = y - 0.033
            if "box" in look:
                self.box(place, middle - 0.04, sign, 0.08, look["box"], look.get("alpha", 1.0))
            else:
                dashes = {"dashes": look["dashes"]} if "dashes" in look else {}
                self.line((place, middle), (place + sign, middle), color=look["line"],
                          linewidth=look.get("width", 1.7), **dashes)  # fmt: skip
            self.text(place + sign + gap, y, text, size, color=self.theme.muted)
            place += wide + after
        return y


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
