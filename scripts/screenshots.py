"""Pictures of the Space, taken of the real page with the demo checkpoint: outputs/space/*.png.

    .venv/bin/python scripts/screenshots.py [--checkpoint outputs/demo/model] [--example 0] [--docs]

`--docs` writes the picture of the README, docs/space.webp, too. Needs Chromium (apt-get install chromium).
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from space_app import DEMO, NAMES, ROOT, find_chromium, running_space

SUMMARY = "Pictures of the Space: outputs/space/*.png"
WAIT = 180  # seconds that anything may take
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}, "device_scale_factor": 2}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
PICTURES: dict[str, dict[str, Any]] = {
    "light": DESKTOP | {"color_scheme": "light"},
    "dark": DESKTOP | {"color_scheme": "dark"},
    "phone": PHONE | {"color_scheme": "light"},
    "phone_dark": PHONE | {"color_scheme": "dark"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=SUMMARY)
    parser.add_argument("--checkpoint", type=Path, action="append", help="folder; twice to compare two")
    parser.add_argument("--example", default=None, help="id of the example; by default the first")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "space")
    parser.add_argument("--docs", action="store_true", help="write docs/space.webp")
    arguments = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        sys.exit("error: no Chromium was found; apt-get install chromium")
    places = arguments.checkpoint or [DEMO]
    arguments.output.mkdir(parents=True, exist_ok=True)
    with running_space(places) as space:
        take_all(space.url, chromium, arguments.output, arguments.example, len(places) > 1)
    if arguments.docs:
        write_docs(arguments.output / "light.png", ROOT / "docs" / "space.webp")


def take_all(url: str, chromium: str, output: Path, example: str | None, compare: bool) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, options in PICTURES.items():
            context = browser.new_context(**options)
            context.set_default_timeout(1000 * WAIT)
            page = context.new_page()
            page.goto(url)
            page.wait_for_selector('.vc[data-state="empty"]')
            page.wait_for_selector("#examples button[data-example]")
            take(page, output / f"empty_{name}.png")
            show_example(page, url, example, compare)
            take(page, output / f"{name}.png")
            if name in ("light", "dark"):
                page.click(".vc-under .vc-segments button:nth-child(2)")
                take(page, output / f"heat_{name}.png")
            context.close()
        browser.close()


def show_example(page: Page, url: str, example: str | None, compare: bool) -> None:
    """The example's curve, its cursor at two thirds of the time."""
    example = example or page.get_attribute("#examples button[data-example]", "data-example")
    page.goto(f"{url}?example={example}&model={NAMES[0]}" + (f"&compare={NAMES[1]}" if compare else ""))
    page.wait_for_selector('.vc[data-state="ready"]')
    page.wait_for_function("[...document.querySelectorAll('.vc video')].every(v => v.readyState >= 2)")
    page.locator(".vc-chart").focus()
    frames = int(page.get_attribute(".vc", "data-frames") or 0)
    for _ in range(round(frames * 0.62)):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "[...document.querySelectorAll('.vc video')].every(v => !v.seeking && v.currentTime > 0.2)"
    )
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")


def take(page: Page, path: Path) -> None:
    page.evaluate("document.fonts.ready")
    page.screenshot(path=path, full_page=True, animations="disabled")
    print(f"{path}  {Image.open(path).size}")


def write_docs(picture: Path, path: Path) -> None:
    """The picture as WebP, 1600 pixels wide."""
    image = Image.open(picture).convert("RGB")
    image = image.resize((1600, round(image.height * 1600 / image.width)), Image.Resampling.LANCZOS)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    image.save(temporary, "WEBP", quality=88, method=6)
    temporary.replace(path)
    print(f"{path}  {image.size}, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
