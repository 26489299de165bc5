"""Pictures of the Space, taken of the real page with the demo checkpoint: outputs/space/*.png.

    .venv/bin/python scripts/screenshots.py [--checkpoint outputs/demo/model] [--example 0] [--docs]

`--docs` writes the picture of the README, docs/space.webp, too. Needs Chromium (apt-get install chromium).
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
WAIT = 180  # seconds that anything may take
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}, "device_scale_factor": 2}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
PICTURES = {
    "light": DESKTOP | {"color_scheme": "light"},
    "dark": DESKTOP | {"color_scheme": "dark"},
    "phone": PHONE | {"color_scheme": "light"},
    "phone_dark": PHONE | {"color_scheme": "dark"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", action="append", help="folder; twice to compare (outputs/demo/model)")
    parser.add_argument("--example", default=None, help="id of the example; by default the first")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "space")
    parser.add_argument("--docs", action="store_true", help="write docs/space.webp")
    arguments = parser.parse_args()
    places = [Path(place) for place in arguments.checkpoint or [ROOT / "outputs" / "demo" / "model"]]
    missing = [place for place in places if not (place / "config.json").is_file()]
    if missing:
        sys.exit(f"error: {missing[0]} holds no checkpoint; make demo trains one")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("error: no Chromium was found; apt-get install chromium")
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        process, url = start_app(places, Path(temporary))
        try:
            take_all(url, chromium, arguments.output, arguments.example, len(places) > 1)
        finally:
            process.terminate()
            process.wait(60)
    if arguments.docs:
        write_docs(arguments.output / "light.png", ROOT / "docs" / "space.webp")


def start_app(places: list[Path], temporary: Path) -> tuple[subprocess.Popen, str]:
    """The app in a process of its own, answering; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = [f"value-{i}" if i else "value-tiny" for i in range(len(places))]
    environment = os.environ | {
        "VALUECURVE_CHECKPOINTS": ", ".join(f"{n}={p.resolve()}" for n, p in zip(names, places, strict=True)),
        "PORT": str(port),
        "TMPDIR": str(temporary),
        "HF_HUB_OFFLINE": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT / "spaces" / "value_curves", env=environment
    )
    url, end = f"http://127.0.0.1:{port}/", time.monotonic() + WAIT
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"error: the app ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=30).close()
            return process, url
        except OSError:
            time.sleep(0.5)
    process.kill()
    sys.exit(f"error: the app did not answer within {WAIT} s")


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
    page.goto(f"{url}?example={example}&model=value-tiny" + ("&compare=value-1" if compare else ""))
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
