"""A real Chromium for the tests of pages: one for the session, a context of its own for every visitor."""

import os
import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PATIENCE = 90_000  # milliseconds that anything may take: the machine may stall, the page must not


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Without one the test is skipped; in CI it fails."""
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """visit(url, **options of a context): a new visitor's page.

    When the test is over, no page may have logged an error or asked another host for anything.
    """
    contexts, problems = [], []

    def visit(url: str, **options) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        own = urlsplit(url).netloc
        page.on("console", lambda m: m.type == "error" and problems.append(f"console: {m.text} {m.location}"))
        page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
        page.on("request", lambda r: _foreign(r.url, own) and problems.append(f"other host: {r.url}"))
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not problems, "\n".join(problems)


def _foreign(url: str, own: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob") and parts.netloc != own
