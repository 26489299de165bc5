"""Looks of the page: its theme and style sheet. No font and no script comes from elsewhere."""

from pathlib import Path
from typing import Any

import gradio as gr

PAPER, INK, MUTED, LINE, SOFT = "#ffffff", "#1b1f24", "#5b636c", "#d8dee4", "#f3f5f7"
DARK_PAPER, DARK_INK, DARK_MUTED, DARK_LINE, DARK_SOFT = "#0d1117", "#e6edf3", "#9aa7b4", "#30363d", "#161b22"
ACCENT, DARK_ACCENT = "#0072b2", "#56b4e9"  # blue of the curves: Okabe & Ito's palette
SHADES = gr.themes.Color(
    c50="#eef6fb",
    c100="#d6eaf6",
    c200="#aed5ed",
    c300="#7bbae0",
    c400=DARK_ACCENT,
    c500=ACCENT,
    c600="#00669f",
    c700="#005483",
    c800="#004266",
    c900="#00304b",
    c950="#00202f",
)
SANS = (gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif")
MONO = (gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace")


def launch_options() -> dict[str, Any]:
    """Options of `Blocks.launch` that make the page look as it does."""
    theme = gr.themes.Base(primary_hue=SHADES, neutral_hue="slate", font=SANS, font_mono=MONO).set(
        body_background_fill=PAPER,
        body_background_fill_dark=DARK_PAPER,
        body_text_color=INK,
        body_text_color_dark=DARK_INK,
        body_text_color_subdued=MUTED,
        body_text_color_subdued_dark=DARK_MUTED,
        background_fill_primary=PAPER,
        background_fill_primary_dark=DARK_PAPER,
        background_fill_secondary=SOFT,
        background_fill_secondary_dark=DARK_SOFT,
        border_color_primary=LINE,
        border_color_primary_dark=DARK_LINE,
        block_background_fill=PAPER,
        block_background_fill_dark=DARK_PAPER,
        block_border_color_dark=DARK_LINE,
        block_label_text_color=MUTED,
        block_label_text_color_dark=DARK_MUTED,
        block_label_background_fill_dark=DARK_PAPER,
        block_title_text_color_dark=DARK_INK,
        input_background_fill=SOFT,
        input_background_fill_dark=DARK_SOFT,
        color_accent=ACCENT,
        button_primary_background_fill_dark=ACCENT,
        button_primary_background_fill_hover_dark="#00669f",
    )
    style = Path(__file__).with_name("page.css").read_text()
    return {"theme": theme, "css": style, "footer_links": ["api"]}
