"""Visitors in real browsers: what one sends is gone when the page is closed, and was never another's."""

import time
import urllib.error
import urllib.request

import pytest
from tiny_datasets import bars, write_video

pytestmark = pytest.mark.slow
SECONDS = 120  # that tidying up may take on a machine that is busy


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def upload(page, path) -> str:
    """Address of the video that the player shows after an upload."""
    page.get_by_role("tab", name="Upload").click()
    page.set_input_files("#upload input[type=file]", [str(path)])
    page.fill("#task input", "push the puck to the goal")
    page.get_by_text(path.name.removesuffix(".mp4")).first.wait_for()
    page.click("#analyse-upload")
    page.wait_for_selector("#downloads a, #message .error")
    assert page.locator("#message .error").all_inner_texts() == []
    return page.locator("#player video").first.evaluate("video => video.src || video.currentSrc")


def test_an_upload_is_gone_when_its_page_is_closed_and_others_stay(space, visit, tmp_path):
    urls, pages = [], []
    for number, name in enumerate(("leaver", "stayer")):
        path = tmp_path / f"{name}.mp4"
        write_video(path, [bars(number, frame, 48, 64) for frame in range(12)], fps=10)
        pages.append(visit(space.url))
        urls.append(upload(pages[-1], path))
    assert urls[0] != urls[1]
    assert [status(url) for url in urls] == [200, 200]
    for page, own, other in ((pages[0], "leaver", "stayer"), (pages[1], "stayer", "leaver")):
        assert own in page.inner_text("body") and other not in page.inner_text("body")
    pages[0].close()
    end = time.monotonic() + SECONDS
    while status(urls[0]) == 200 and time.monotonic() < end:
        time.sleep(0.5)
    assert [status(url) for url in urls] == [404, 200]
    (root,) = space.temporary.glob("valuecurve-*")
    assert [path.name for path in (root / "uploads").rglob("*er.mp4")] == ["stayer.mp4"]


def test_a_link_reopens_the_same_example_with_the_same_models(space, visit):
    page = visit(f"{space.url}?example=3&model=tiny-state&compare=tiny")
    page.wait_for_selector("#downloads a")
    assert "Open the drawer" in page.inner_text("#examples button[aria-pressed=true]")
    assert page.locator("#models input").evaluate_all("inputs => inputs.map(i => i.value)") == [
        "tiny-state",
        "tiny",
    ]
    assert page.get_attribute("#share a", "href") == "?example=3&model=tiny-state&compare=tiny"
    page.goto(f"{space.url}?example=<b>no</b>")
    page.wait_for_selector("#message .error")
    assert "<b>no</b>" in page.inner_text("#message .error")


def test_another_model_shows_the_same_episode_again(space, visit):
    page = visit(f"{space.url}?example=0")
    page.wait_for_selector("#downloads a")
    before = page.get_attribute(".vc", "data-id")
    page.locator("#models input").first.click()
    page.get_by_role("option", name="tiny-state").click()
    page.wait_for_function("id => document.querySelector('.vc').dataset.id !== id", arg=before)
    page.wait_for_selector("#share a[href='?example=0&model=tiny-state']")
