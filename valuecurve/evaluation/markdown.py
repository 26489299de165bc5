"""Pieces of Markdown: tables, figures, numbers, and texts that may hold anything."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard


def figure(figures: Mapping[str, Mapping[str, str]], name: str, width: int | None = None) -> str:
    """A figure with its caption and a link to its SVG; nothing where there is no such figure.

    With `width` (pixels) it is an HTML tag, for Markdown has no widths.
    """
    if name not in figures:
        return ""
    found = figures[name]
    caption = escaped(found["caption"])
    vector = f" ([SVG]({found['svg']}))" if "svg" in found else ""
    image = f"![{caption}]({found['png']})"
    if width is not None:
        alt, source = html.escape(found["caption"]), html.escape(found["png"])
        image = f'<img src="{source}" width="{width}" alt="{alt}">'
    return f"{image}\n\n*{caption}*{vector}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """A table; columns after the first are on the right. A first cell that begins with spaces is indented."""
    lines = ["| " + " | ".join(headings) + " |"]
    lines.append("|---|" + ("---:|" if numbers else "---|") * (len(headings) - 1))
    for first, *others in rows:
        indented = f"&emsp;{first.lstrip()}" if first.startswith(" ") else first
        lines.append("| " + " | ".join([indented, *others]) + " |")
    return "\n".join(lines)


def cell(value: float | None, decimals: int) -> str:
    return number(value, decimals) if is_known(value) else "–"


def number(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def percent(share: float | None) -> str:
    return f"{share:.1%}" if is_known(share) else "–"


def is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def arrow(direction: int) -> str:
    return {1: "↑", -1: "↓"}.get(direction, "")


def counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def shortened(number: int) -> str:
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{letter}"
    return str(number)


def escaped(text: str) -> str:
    """Plain text for Markdown: one line, nothing of it is markup, a table's column or HTML."""
    line = " ".join(str(text).split())
    for character in "\\`*[]|<>":
        line = line.replace(character, f"\\{character}")
    return line
