"""Visits the metric's page as a person would, in a real Chromium; a process of its own, started by a test.

python visit_page.py URL CHROMIUM GOOD.csv BAD.csv > seen.json
"""

import json
import sys

from playwright.sync_api import Page, sync_playwright

PATIENCE = 120_000  # milliseconds that anything may take: the machine may stall, the page must not


def upload(page: Page, path: str, until: str) -> str:
    """The text of the result once it shows `until`."""
    page.locator("input[type=file]").set_input_files(path)
    result = page.locator(".vm", has_text=until)
    result.wait_for()
    text = result.inner_text()
    page.get_by_role("button", name="Clear").click()
    page.locator(".vm", has_text="Example:").wait_for()
    return text


def main(url: str, chromium: str, good: str, bad: str) -> dict:
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        page.locator(".vm table").first.wait_for()
        seen = {
            "example": page.locator(".vm").inner_text(),
            "curves": page.locator(".vm svg").count(),
            "bad": upload(page, bad, "is not"),
            "good": upload(page, good, "2 episodes"),
            "title": page.title(),
        }
        page.set_viewport_size({"width": 360, "height": 740})
        seen["too wide"] = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        browser.close()
    return seen | {"problems": problems}


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
