"""The player alone, in a Gradio page and a real Chromium; the pictures of its videos are frame numbers."""

import numpy as np
import pytest
from browsing import PHONE
from player import episode_advantages
from player_page import BITS, CELL, FPS, FRAMES, launch, make_page, make_payloads
from playwright.sync_api import Page, expect

# window.shown(i): the frame number in the picture that camera i shows now
READ_PICTURE = """([BITS, CELL]) => {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d", {willReadFrequently: true});
    [canvas.width, canvas.height] = [BITS * CELL, 64];
    window.shown = camera => {
        context.drawImage(document.querySelectorAll(".vc video")[camera], 0, 0);
        let number = 0;
        for (let bit = 0; bit < BITS; bit++) {
            number += (context.getImageData((bit + 0.5) * CELL, 32, 1, 1).data[0] > 127) << bit;
        }
        return number;
    };
    window.cursor = () => Number(document.querySelector(".vc-chart").getAttribute("aria-valuenow"));
}"""


@pytest.fixture(scope="module")
def payloads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("player")
    return folder, make_payloads(folder)


@pytest.fixture(scope="module")
def player_url(payloads):
    folder, by_name = payloads
    page = make_page(by_name)
    try:
        yield launch(page, folder)
    finally:
        page.close(verbose=False)


@pytest.fixture
def show(visit, player_url):
    """show(name, **options): a page with that payload, its videos ready."""

    def show(name: str, **options) -> Page:
        page = visit(f"{player_url}?payload={name}", **options)
        page.wait_for_selector(f'.vc[data-state="{"empty" if name == "empty" else "ready"}"]')
        page.wait_for_function(
            "[...document.querySelectorAll('.vc video')].every(v => v.readyState >= 2 || v.error)"
        )
        page.evaluate(READ_PICTURE, [BITS, CELL])
        return page

    return show


def point(page: Page, frame: int, frames: int = FRAMES) -> tuple[float, float]:
    """Where frame t lies on the curve, in pixels of the page: between the cursor's first and last place."""
    page.locator(".vc-chart").scroll_into_view_if_needed()
    left, width, top = page.evaluate("""() => {
        const chart = document.querySelector(".vc-chart"), box = chart.getBoundingClientRect();
        const before = cursor();
        const press = key => chart.dispatchEvent(new KeyboardEvent("keydown", {key}));
        const at = key => (press(key), parseFloat(document.querySelector(".vc-cursor").style.left));
        const first = at("Home"), last = at("End");
        press("Home");
        for (let i = 0; i < before; i++) press("ArrowRight");
        return [box.left + first, last - first, box.top];
    }""")
    return left + width * frame / (frames - 1), top + 120


def wait_for_picture(page: Page, frame: int, camera: int = 0) -> None:
    page.wait_for_function("([frame, camera]) => shown(camera) === frame", arg=[frame, camera])


def positive_of(page: Page) -> np.ndarray:
    frames = int(page.get_attribute(".vc", "data-frames") or 0)
    flags = np.zeros(frames, bool)
    for run in (page.get_attribute(".vc", "data-positive") or "").split():
        first, last = map(int, run.split("-"))
        flags[first : last + 1] = True
    return flags


def set_slider(page: Page, name: str, value: float) -> None:
    slider = page.locator(f".vc input[name={name}]")
    slider.evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


def test_before_anything_has_run_the_page_says_what_a_value_curve_is(show):
    page = show("empty")
    words = page.inner_text(".vc")
    assert "0 is success" in words and "−1 is far away or failing" in words
    assert page.locator(".vc svg path").count() >= 2
    assert page.locator(".vc canvas").count() == 0


def test_a_click_on_the_curve_seeks_all_cameras_to_that_frame(show):
    page = show("usual")
    for frame in (42, 7, FRAMES - 1, 0):
        page.mouse.click(*point(page, frame))
        assert page.evaluate("cursor()") == frame
        for camera in (0, 1):
            wait_for_picture(page, frame, camera)
        times = page.evaluate("[...document.querySelectorAll('.vc video')].map(v => v.currentTime)")
        assert times == pytest.approx([(frame + 0.5) / FPS] * 2, abs=0.01)


def test_while_the_video_plays_the_cursor_is_on_the_picture_that_is_shown(show):
    page = show("usual")
    page.evaluate("""() => {
        window.samples = [];
        const button = document.querySelector(".vc-play");
        let pressed = false;
        const sample = () => {
            const before = shown(0), at = cursor(), after = shown(0);
            samples.push([before, at, after]);
            if (at >= 25 && !pressed && button.getAttribute("aria-label") === "Pause") {
                pressed = true;  // here, at once: a click from outside may come when the film has ended
                button.click();
            }
            requestAnimationFrame(sample);
        };
        sample();
    }""")
    page.click(".vc-play")
    expect(page.locator(".vc-play")).to_have_attribute("aria-label", "Pause")
    page.wait_for_function("cursor() >= 25")
    expect(page.locator(".vc-play")).to_have_attribute("aria-label", "Play")
    samples = np.array(page.evaluate("samples"))
    # Between what was shown one sample before and one after it; the picture may change first, or the cursor.
    assert np.all(samples[1:, 1] >= samples[:-1, 0] - 1), samples
    assert np.all(samples[:-1, 1] <= samples[1:, 2] + 1), samples
    assert len(np.unique(samples[:, 1])) >= 4
    stopped = page.evaluate("cursor()")
    for camera in (0, 1):
        wait_for_picture(page, stopped, camera)
    assert page.evaluate("cursor()") == stopped


def test_at_the_end_playing_stops_and_the_next_play_starts_again(show):
    page = show("usual")
    page.click(".vc-segments button:has-text('2×')")
    page.mouse.click(*point(page, FRAMES - 8))
    page.click(".vc-play")
    page.wait_for_function(f"cursor() === {FRAMES - 1}")
    expect(page.locator(".vc-play")).to_have_attribute("aria-label", "Play")
    page.evaluate("""() => {
        window.least = Infinity;
        const seen = () => { least = Math.min(least, cursor()); };
        new MutationObserver(seen).observe(document.querySelector(".vc-chart"), {attributes: true});
    }""")
    page.click(".vc-play")  # a page that stalls may show no frame between the first and the last
    page.wait_for_function("least <= 2 && cursor() > least")


def test_dragging_seeks_and_hovering_only_tells(show, payloads):
    page = show("usual")
    model = payloads[1]["usual"]["models"][0]
    page.mouse.move(*point(page, 30))
    tip = page.locator(".vc-tip")
    expect(tip).to_be_visible()
    words = tip.inner_text()
    for number in (model["value"][30], model["lower"][30], model["upper"][30]):
        assert f"{number:.2f}".replace("-", "−") in words
    assert f"{-model['value'][30] * model['scale_seconds']:.1f} s" in words
    assert page.evaluate("cursor()") == 0
    page.mouse.down()
    page.mouse.move(*point(page, 50), steps=5)
    assert page.evaluate("cursor()") == 50
    page.mouse.up()
    page.mouse.move(*point(page, 10))
    assert page.evaluate("cursor()") == 50
    wait_for_picture(page, 50)
    page.mouse.move(5, 5)
    expect(tip).to_be_hidden()


def test_sliders_change_the_positive_spans_at_once_and_without_the_server(show, payloads):
    page = show("usual")
    payload = payloads[1]["usual"]
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    seen = set()
    for horizon, fraction in ((20, 0.3), (5, 0.3), (5, 0.6), (FRAMES, 0.1)):
        set_slider(page, "horizon", horizon)
        set_slider(page, "positive_fraction", fraction)
        _, level, positive = episode_advantages(
            np.array(payload["models"][0]["value"]),
            horizon,
            success=True,
            scale=120,
            positive_fraction=fraction,
        )
        np.testing.assert_array_equal(positive_of(page), positive)
        expect(page.locator(".vc-summary")).to_contain_text(f"{positive.mean():.0%}")
        seen.add(positive.tobytes())
    assert len(seen) == 4
    assert not requests


def test_outcome_and_scale_decide_the_advantages_of_failures_and_uploads(show, payloads):
    for name, success, scale in (("failure", False, 120), ("upload", None, None)):
        page = show(name)
        values = np.array(payloads[1][name]["models"][0]["value"])
        _, _, positive = episode_advantages(values, 20, success=success, scale=scale)
        np.testing.assert_array_equal(positive_of(page), positive)
        assert "To success" not in page.inner_text(".vc-stats"), "no time can be told"


def test_a_hopeless_failure_has_no_positive_moments(show):
    page = show("hopeless")
    assert not positive_of(page).any()
    expect(page.locator(".vc-summary")).to_contain_text(
        "hardly any difference between this episode's moments"
    )
    expect(page.locator(".vc-legend-block")).to_be_hidden()
    expect(show("usual").locator(".vc-legend-block")).to_be_visible()


def test_a_failure_alarm_is_marked_where_the_value_first_falls_below_its_level(show, payloads):
    payload = payloads[1]["usual"]
    first = int(np.argmax(np.array(payload["models"][0]["value"]) < payload["alarm"]))
    page = show("usual")
    expect(page.locator(".vc-summary")).to_contain_text(f"failure alarm at {first / FPS:.1f} s")
    expect(page.locator(".vc-legend")).to_contain_text("value below −0.70")
    x, _ = point(page, first)
    vermilion = page.locator(".vc-chart canvas").first.evaluate(
        """(canvas, x) => {
            const column = Math.round((x - canvas.getBoundingClientRect().left) * devicePixelRatio);
            const data = canvas.getContext("2d").getImageData(column, 0, 1, canvas.height).data;
            let count = 0;
            for (let i = 0; i < data.length; i += 4) {
                count += data[i] > 180 && data[i + 1] < 140 && data[i + 2] < 80;
            }
            return count;
        }""",
        x,
    )
    assert vermilion > 20
    assert "alarm" not in show("upload").inner_text(".vc"), "no alarm was asked for"


def test_below_the_alarm_no_time_to_success_is_told(show, payloads):
    payload = payloads[1]["usual"]
    values = np.array(payload["models"][0]["value"])
    page = show("usual")
    for frame, told in ((int(values.argmin()), False), (int(values.argmax()), True)):
        page.mouse.move(*point(page, frame))
        expect(page.locator(".vc-tip")).to_contain_text("value")
        assert ("to success" in page.inner_text(".vc-tip")) == told
        page.mouse.click(*point(page, frame))
        assert ("≈" in page.inner_text(".vc-stats")) == told


def test_everything_can_be_done_with_the_keyboard(show):
    page = show("usual")
    chart = page.get_by_role("slider", name="Moment of the episode")
    chart.focus()
    page.keyboard.press("ArrowRight")  # only a key shows the focus ring
    assert chart.evaluate("c => getComputedStyle(c).outlineStyle") == "solid"
    moves = {"ArrowRight": 2, "Shift+ArrowRight": 12, "ArrowLeft": 11, "PageUp": 17, "End": 59, "Home": 0}
    for key, frame in moves.items():
        page.keyboard.press(key)
        assert page.evaluate("cursor()") == frame, key
    page.keyboard.press("End")
    wait_for_picture(page, 59)
    assert "value −0.0" in (chart.get_attribute("aria-valuetext") or "")
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    page.wait_for_function("cursor() > 3")
    page.keyboard.press("Space")
    expect(page.locator(".vc-play")).to_have_attribute("aria-label", "Play")
    page.locator("input[name=horizon]").focus()
    before = page.get_attribute(".vc", "data-positive")
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert page.get_attribute(".vc", "data-positive") != before


def pixels(page: Page) -> str:
    return page.evaluate("document.querySelector('.vc-chart canvas').toDataURL()")


def test_two_models_are_compared_and_each_has_its_heat_map(show, payloads):
    page = show("two")
    models = payloads[1]["two"]["models"]
    page.mouse.click(*point(page, 20))
    words = page.inner_text(".vc-stats")
    for model in models:
        assert model["name"] in words and f"{model['value'][20]:.2f}".replace("-", "−") in words
    pictures = {pixels(page)}
    for model in models:
        page.click(f".vc-under button:has-text('Heat map · {model['name']}')")
        pictures.add(pixels(page))
    assert len(pictures) == 3
    assert page.locator(".vc-legend").inner_text().count("value-") == 2


def test_text_of_the_payload_is_never_read_as_html_and_a_video_that_does_not_play_is_told(show):
    page = show("evil")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".vc img, .vc script").count() == 0
    assert page.inner_text(".vc-task").startswith('<img src=x onerror="window.hacked=1"><script>')
    expect(page.locator(".vc-broken")).to_be_visible()
    page.mouse.click(*point(page, 30))
    page.click(".vc-play")  # a timer runs where no video can
    page.wait_for_function("cursor() > 32")


def test_an_episode_of_20000_frames_and_one_of_a_single_frame_are_shown(show):
    page = show("long")
    page.mouse.click(*point(page, 15_000, 20_000))
    assert abs(page.evaluate("cursor()") - 15_000) < 40  # a pixel holds some thirty frames
    page.click(".vc-under button:has-text('Heat map')")
    set_slider(page, "horizon", 700)
    assert abs(positive_of(page).mean() - 0.3) < 0.01
    page = show("one")
    page.locator(".vc-chart").focus()
    for key in ("End", "ArrowRight", "Home", "Space"):
        page.keyboard.press(key)
    page.wait_for_function("cursor() === 0")
    assert positive_of(page).tolist() == [False], "one moment differs from no other"


def test_the_next_episode_takes_the_place_of_the_one_before(show):
    page = show("usual")
    page.click(".vc-play")
    page.evaluate("window.old = [...document.querySelectorAll('.vc video')]")
    page.fill("#name textarea, #name input", "two")
    page.click("#next")
    page.wait_for_selector('.vc[data-id="b2"]')
    assert page.locator(".vc video").count() == 1
    assert page.evaluate("old.every(v => v.paused && !v.getAttribute('src'))")
    assert page.evaluate("document.querySelectorAll('.vc').length") == 1


def test_on_a_phone_nothing_is_wider_than_the_screen_and_a_finger_seeks(show):
    for name in ("two", "evil", "usual"):  # long names, wide videos
        page = show(name, **PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
    page.touchscreen.tap(*point(page, 33))
    page.wait_for_function("Math.abs(cursor() - 33) <= 1")
    canvas = page.locator(".vc-chart canvas").first
    real, css = canvas.evaluate("canvas => [canvas.width, canvas.getBoundingClientRect().width]")
    assert real == round(3 * css), "as many pixels as the screen has"


def test_the_player_follows_the_theme_of_the_page(show):
    page = show("usual", color_scheme="dark")
    dark = pixels(page)
    assert page.evaluate("getComputedStyle(document.querySelector('.vc')).color") == "rgb(230, 237, 243)"
    page.evaluate("document.querySelectorAll('.dark').forEach(e => e.classList.remove('dark'))")
    page.wait_for_function(
        "before => document.querySelector('.vc-chart canvas').toDataURL() !== before", arg=dark
    )
    assert page.evaluate("getComputedStyle(document.querySelector('.vc')).color") == "rgb(27, 31, 36)"


def test_a_narrower_window_draws_the_curve_anew(show):
    page = show("usual")
    before = page.evaluate("document.querySelector('.vc-chart canvas').width")
    page.set_viewport_size({"width": 620, "height": 900})
    page.wait_for_function("before => document.querySelector('.vc-chart canvas').width < before", arg=before)
    page.mouse.click(*point(page, 21))
    assert page.evaluate("cursor()") == 21
