"""The whole Space as people use it: real Chromium, the real app, real files."""

import io
import shutil
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from browsing import PHONE
from PIL import Image
from player_page import write_numbered_video
from playwright.sync_api import Page, expect
from tiny_datasets import make_dataset

FRAMES = 24  # of the uploaded video
READY = '.vc[data-state="ready"]'


def open_example(page: Page, example: str = "0") -> None:
    page.click(f'#examples button[data-example="{example}"]')
    page.wait_for_selector(READY)
    wait_for_videos(page)


def wait_for_videos(page: Page) -> None:
    page.wait_for_function(
        "(v => v.length && v.every(v => v.readyState >= 2))([...document.querySelectorAll('.vc video')])"
    )


def upload(page: Page, files: list[Path], task: str | None = "push the puck") -> None:
    """Fills the form of the tab "Upload", and presses its button."""
    page.get_by_role("tab", name="Upload").click()
    page.set_input_files("#upload input[type=file]", files)
    for file in files:
        expect(page.locator("#upload")).to_contain_text(file.stem)
    if task is not None:
        page.fill("#task input", task)
        page.keyboard.press("Enter")
    page.click("#analyse-upload")


def cursor(page: Page) -> int:
    return int(page.get_attribute(".vc-chart", "aria-valuenow") or -1)


def click_curve(page: Page, share: float) -> None:
    """A click on the curve at a share of its width, which lies between the cursor's first and last place."""
    chart = page.locator(".vc-chart")
    chart.scroll_into_view_if_needed()
    chart.focus()
    places = []
    for key in ("Home", "End"):
        page.keyboard.press(key)
        places.append(page.evaluate("parseFloat(document.querySelector('.vc-cursor').style.left)"))
    box = chart.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + places[0] + share * (places[1] - places[0]), box["y"] + 100)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_numbered_video(tmp_path_factory.mktemp("video") / "overhead.mp4", frames=FRAMES)


def test_an_example_gives_a_curve_whose_cursor_and_video_move_each_other(visit, space_url):
    page = visit(space_url)
    page.wait_for_selector('.vc[data-state="empty"]')
    assert "−1 is far away or failing" in page.inner_text(".vc")
    open_example(page)
    frames = int(page.get_attribute(".vc", "data-frames") or 0)
    assert frames > 20 and page.locator(".vc video").count() == 2
    fps = frames / page.evaluate("document.querySelector('.vc video').duration")
    for share in (0.5, 0.9, 0.1):
        click_curve(page, share)
        frame = cursor(page)
        assert abs(frame - share * (frames - 1)) <= 1
        page.wait_for_function(
            "([from, to]) => [...document.querySelectorAll('.vc video')].every("
            "v => !v.seeking && v.currentTime >= from && v.currentTime < to)",
            arg=[frame / fps, (frame + 1) / fps],
        )
    page.evaluate("""() => {  // at every picture: its time, and where the cursor is a moment later
        window.samples = [];
        const video = document.querySelector(".vc video"), chart = document.querySelector(".vc-chart");
        const cursor = () => Number(chart.getAttribute("aria-valuenow"));
        const hear = (_, {mediaTime}) => {
            requestAnimationFrame(() => samples.push([mediaTime, cursor()]));
            video.requestVideoFrameCallback(hear);
        };
        video.requestVideoFrameCallback(hear);
    }""")
    started = cursor(page)
    page.click(".vc-play")
    page.wait_for_function(
        f"document.querySelector('.vc-chart').getAttribute('aria-valuenow') > {started + 12}"
    )
    page.click(".vc-play")
    samples = np.array(page.evaluate("samples"))
    shown = np.round(samples[:, 0] * fps)
    assert np.all(np.abs(samples[:, 1] - shown) <= 1), samples
    assert len(np.unique(samples[:, 1])) >= 4
    page.wait_for_function(
        """fps => {
            const video = document.querySelector(".vc video"), chart = document.querySelector(".vc-chart");
            const frame = Math.floor(video.currentTime * fps + 1e-3);
            return !video.seeking && frame === Number(chart.getAttribute("aria-valuenow"));
        }""",
        arg=fps,
    )


def test_sliders_redraw_spans_without_asking_the_server(visit, space_url):
    page = visit(f"{space_url}?example=1")
    page.wait_for_selector(READY)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "heartbeat" not in request.url else None)
    seen = {page.get_attribute(".vc", "data-positive")}
    for name, keys in (("horizon", "ArrowRight"), ("positive_fraction", "ArrowRight")):
        page.locator(f".vc input[name={name}]").focus()
        for _ in range(12):
            page.keyboard.press(keys)
        seen.add(page.get_attribute(".vc", "data-positive"))
    assert len(seen) == 3
    assert not [url for url in asked if "/results/" not in url]


def test_an_uploaded_video_gives_a_curve_bound_to_exactly_its_frames(visit, space_url, video):
    page = visit(space_url)
    upload(page, [video])
    page.wait_for_selector(READY)
    wait_for_videos(page)
    assert page.get_attribute(".vc", "data-frames") == str(FRAMES)
    assert "Outcome not known" in page.inner_text(".vc-head")
    for frame in (17, 5, 23):
        page.locator(".vc-chart").focus()
        page.keyboard.press("Home")
        for _ in range(frame):
            page.keyboard.press("ArrowRight")
        page.wait_for_function(
            """frame => {
                const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
                [canvas.width, canvas.height] = [128, 64];
                context.drawImage(document.querySelector(".vc video"), 0, 0, 128, 64);
                let number = 0;
                for (let bit = 0; bit < 8; bit++)
                    number += (context.getImageData((bit + 0.5) * 16, 32, 1, 1).data[0] > 127) << bit;
                return number === frame;
            }""",
            arg=frame,
        )


def test_a_zipped_dataset_is_read_with_its_episode_and_its_task(visit, space_url, tmp_path):
    folder = make_dataset(tmp_path / "arm", lengths=(9, 13), files=1, state_size=3)
    archive = Path(shutil.make_archive(str(tmp_path / "arm"), "zip", folder.parent, folder.name))
    page = visit(space_url)
    page.get_by_role("tab", name="Upload").click()
    page.get_by_role("button", name="More").click()
    page.fill("#episode input", "1")
    upload(page, [archive], task=None)
    page.wait_for_selector(READY)
    assert page.get_attribute(".vc", "data-frames") == "13"
    assert page.inner_text(".vc-task") == "open the drawer"
    assert "Success" in page.inner_text(".vc-head")
    assert page.locator(".vc video").count() == 2


def test_every_download_is_a_valid_file(visit, space_url):
    page = visit(f"{space_url}?example=2")
    page.wait_for_selector(READY)
    frames = int(page.get_attribute(".vc", "data-frames") or 0)
    files = {}
    for kind in ("csv", "parquet", "png", "svg", "mp4"):
        with page.expect_download() as download:
            page.click(f"#downloads a[data-kind={kind}]")
        files[kind] = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename.endswith(f".{kind}")
    tables = [pd.read_csv(io.BytesIO(files["csv"])), pd.read_parquet(io.BytesIO(files["parquet"]))]
    for table in tables:
        assert len(table) == frames and np.isfinite(table["value"]).all()
        assert table["frame_index"].tolist() == list(range(frames))
    np.testing.assert_allclose(tables[0]["value"], tables[1]["value"], atol=1e-6)
    picture = Image.open(io.BytesIO(files["png"]))
    picture.load()
    assert min(picture.size) > 300
    assert ElementTree.fromstring(files["svg"]).tag.endswith("svg")
    with av.open(io.BytesIO(files["mp4"]), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == frames


def test_each_bad_upload_says_what_is_wrong_and_the_next_good_one_works(visit, space_url, video, tmp_path):
    (tmp_path / "notes.mp4").write_text("this is no video")
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:600])
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with zipfile.ZipFile(tmp_path / "outside.zip", "w") as archive:
        archive.writestr("../../outside.mp4", video.read_bytes())
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("video.mp4", bytes(60_000_000))
    page = visit(space_url)
    page.get_by_role("tab", name="Upload").click()
    page.click("#analyse-upload")
    message = page.locator("#message [role=alert]")
    expect(message).to_contain_text("Nothing was uploaded")
    for name, words in (
        ("notes.mp4", "notes.mp4"),
        ("cut.mp4", "cut.mp4"),
        ("empty.zip", "neither a LeRobot dataset"),
        ("outside.zip", "outside of its folder"),
        ("bomb.zip", "is not unpacked"),
    ):
        page = visit(space_url)
        upload(page, [tmp_path / name])
        expect(page.locator("#message [role=alert]")).to_contain_text(words)
        assert page.locator(READY).count() == 0
    upload_again = visit(space_url)
    upload(upload_again, [video])
    upload_again.wait_for_selector(READY)
    page.get_by_role("tab", name="Examples").click()  # the page that has just shown an error goes on
    open_example(page)
    expect(page.locator("#message [role=alert]")).to_have_count(0)


def test_a_task_is_text_and_never_html(visit, space_url, video):
    evil = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> {{7*7}} ${7*7}'
    page = visit(space_url)
    upload(page, [video], task=evil)
    page.wait_for_selector(READY)
    assert page.inner_text(".vc-task") == evil
    assert page.evaluate("window.hacked") is None
    assert page.locator("#stage script, .vc img").count() == 0


def test_two_visitors_at_once_do_not_see_each_other(visit, space_url, video):
    one, two = visit(space_url), visit(space_url)
    upload(one, [video], task="a secret of the first visitor")
    open_example(two, "3")
    one.wait_for_selector(READY)
    wait_for_videos(one)
    assert one.get_attribute(".vc", "data-frames") == str(FRAMES)
    assert "Failure" in two.inner_text(".vc-head")
    assert "secret" not in two.content()
    source = one.get_attribute(".vc video", "src") or ""
    token = source.strip("/").split("/")[-2]
    assert token not in two.content()
    assert len(token) >= 20, "an address that nobody guesses"
    for address in ("results/", f"results/{token}/", f"results/{token}/..%2f..", "results/x/scores.csv"):
        assert two.request.get(space_url + address).status in (403, 404), address
    assert two.locator(".vc video").first.get_attribute("src") != source


def test_a_link_reopens_the_same_example_with_the_same_models(visit, space_url):
    page = visit(f"{space_url}?example=1&model=tiny&compare=tiny-state")
    page.wait_for_selector(READY)
    legend = page.inner_text(".vc-legend")
    assert "tiny-state" in legend and legend.count("tiny") == 2
    again = visit(page.locator("#share a").evaluate("a => a.href"))
    again.wait_for_selector(READY)
    assert again.inner_text(".vc-legend") == legend
    assert again.get_attribute(".vc", "data-positive") == page.get_attribute(".vc", "data-positive")
    page.click(".vc-under button:has-text('Heat map · tiny-state')")
    expect(page.locator(".vc-legend-heat")).to_be_visible()


def test_on_a_phone_everything_fits_and_a_finger_seeks(visit, space_url):
    page = visit(space_url, **PHONE)
    page.wait_for_selector('.vc[data-state="empty"]')
    width = PHONE["viewport"]["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator('#examples button[data-example="0"]').tap()
    page.wait_for_selector(READY)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    chart = page.locator(".vc-chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None and box["width"] <= width
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + 90)
    page.wait_for_function("document.querySelector('.vc-chart').getAttribute('aria-valuenow') > 10")


def test_the_keyboard_alone_opens_an_example_and_moves_through_it(visit, space_url):
    page = visit(space_url)
    page.wait_for_selector("#examples button[data-example]")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.example") == "0":
            break
    assert page.evaluate("document.activeElement.dataset.example") == "0"
    page.keyboard.press("Enter")
    page.wait_for_selector(READY)
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('vc-chart')"):
            break
    page.keyboard.press("End")
    assert cursor(page) == int(page.get_attribute(".vc", "data-frames") or 0) - 1
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert cursor(page) == 1
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('.vc-chart').getAttribute('aria-valuenow') > 3")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_in_dark(visit, space_url, scheme):
    page = visit(f"{space_url}?example=0", color_scheme=scheme)
    page.wait_for_selector(READY)
    background = page.evaluate(
        "getComputedStyle(document.querySelector('.vc')).getPropertyValue('--vc-paper')"
    )
    assert background.strip() == {"light": "#ffffff", "dark": "#0d1117"}[scheme]
    for selector in ("#head h1", "#head p", ".vc-task", ".vc-explain", ".vc-legend li", "#downloads a"):
        ratio = page.evaluate(CONTRAST, selector)
        assert ratio >= 4.5, f"{selector}: contrast {ratio:.1f}"


# WCAG 2.1: (L1 + 0.05) / (L2 + 0.05) of the relative luminances of the text and of the page behind it
CONTRAST = """selector => {
    const luminance = color => {
        const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(Number).map(c => c / 255)
            .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const element = document.querySelector(selector);
    let behind = element;
    const opaque = e => !/^rgba\\(.*, 0\\)$|transparent/.test(getComputedStyle(e).backgroundColor);
    while (behind.parentElement && !opaque(behind)) behind = behind.parentElement;
    const pair = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(luminance);
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""
