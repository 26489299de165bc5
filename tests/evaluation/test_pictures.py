"""Pictures for reports: valid files in both themes, the same bytes each time, and what they show."""

import xml.etree.ElementTree as ElementTree
from typing import Any

import matplotlib
import numpy as np
import pytest
from made_up import curve, frames
from matplotlib.colors import to_hex, to_rgb
from page_checks import check_texts, texts_of
from PIL import Image

from valuecurve.evaluation import curve_picture, pick_thumbnails, pictures, quality_pictures, small_multiples
from valuecurve.evaluation.page import drawing
from valuecurve.evaluation.panel import flat_text, positive_spans, thin, time_text, time_ticks
from valuecurve.evaluation.style import DARK, LIGHT, outcome_text

LONG = "Put the red cube 🟥 for $5 and $x^2$ into \n the second drawer from the top, then close it " * 3
LEVELS = np.linspace(0.05, 0.95, 19)
T = 30


def full_curve(**changes):
    """A curve that has everything."""
    length = changes.get("length", T)
    thumbnails, at = pick_thumbnails(frames(length), 7)
    fields: dict[str, Any] = dict(
        length=length,
        thumbnails=thumbnails,
        thumbnail_frames=at,
        positive=np.arange(length) % 10 > 6,
        advantage=np.sin(np.arange(length) / 3) / 5,
    )
    return curve(**(fields | changes))


def values_and_targets(count=2000):
    generator = np.random.default_rng(0)
    targets = np.where(generator.random(count) < 0.3, -1.0, -generator.random(count))
    return np.clip(targets + generator.normal(0, 0.1, count), -1, 0), targets


ALL = {
    "curve": lambda path, dark: pictures.plot_curve(full_curve(), path, dark),
    "heat_map": lambda path, dark: pictures.plot_heat_map(full_curve(), path, dark),
    "reliability": lambda path, dark: pictures.plot_reliability(LEVELS, LEVELS**2, path, dark),
    "auroc": lambda path, dark: pictures.plot_auroc_over_elapsed(
        [0, 0.5, 1], [0.6, 0.7, 0.9], path, dark, interval=([0.5, 0.6, 0.8], [0.7, 0.8, 1.0])
    ),
    "predicted": lambda path, dark: pictures.plot_predicted_against_target(*values_and_targets(), path, dark),
    "small_multiples": lambda path, dark: pictures.plot_small_multiples(
        [curve(success=i % 2 == 0, task=f"task {i % 3}") for i in range(9)], path, dark
    ),
}


@pytest.mark.parametrize("name", ALL)
def test_a_picture_is_on_white_or_dark_paper_and_leaves_nothing_beside_it(name, tmp_path):
    for dark, paper in ((False, (255, 255, 255)), (True, (13, 17, 23))):
        path = tmp_path / "new folder" / f"{name}_{dark}.png"
        assert ALL[name](path, dark) == path
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert pixels.shape[1] in (880, 1600)
        assert tuple(pixels[0, 0]) == tuple(pixels[-1, -1]) == paper
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize("name", ALL)
def test_an_svg_is_the_same_every_time_and_says_what_it_shows(name, tmp_path):
    first, second = (ALL[name](tmp_path / f"{i}.svg", True).read_bytes() for i in range(2))
    assert first == second and b"<dc:date>" not in first
    root = ElementTree.fromstring(first)
    assert root.tag.endswith("svg")
    title = next(element.text for element in root.iter() if element.tag.endswith("title"))
    assert title and len(title) > 10


def test_a_pdf_is_made_and_another_kind_of_file_refused(tmp_path):
    path = pictures.plot_reliability(LEVELS, LEVELS, tmp_path / "reliability.pdf")
    assert path.read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match=r"a picture is \.png, \.svg, \.pdf"):
        pictures.plot_reliability(LEVELS, LEVELS, tmp_path / "reliability.gif")
    assert [p.name for p in tmp_path.iterdir()] == ["reliability.pdf"]


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams)
    for name, draw in ALL.items():
        draw(tmp_path / f"{name}.png", True)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(length=1),
        dict(task=LONG, success=False, failure_kind="something_" * 20),
        dict(task="W" * 300, success=None, scale_seconds=2.5e5),
        dict(probabilities=None, target=None, positive=None, scale_seconds=None),
        dict(v_min=-1.0, v_max=1.0, value=np.linspace(-1, 1, T), advantage=np.full(T, -1e-4)),
        dict(thumbnails=np.zeros((3, 3, 9, 160), np.uint8), thumbnail_frames=[0, 14, 29]),
        dict(value=np.full(T, -1.0), success=False),
    ],
    ids=[
        "full", "one frame", "long texts", "one word, days", "value alone", "other ends", "wide frames",
        "all at the bottom",
    ],
)  # fmt: skip
def test_no_text_leaves_the_page_or_touches_another(changes):
    it = full_curve(**changes)
    with drawing(False):
        check_texts(curve_picture._curve_page(it, False).figure)
        if it.probabilities is not None:
            check_texts(curve_picture._heat_page(it, False).figure)


def test_no_text_of_many_tasks_touches_another():
    outcomes = [True, False, None]
    many = [curve(success=outcomes[i // 30 % 3], task=f"{i % 30} {LONG}") for i in range(300)]
    with drawing(False) as theme:
        figure = small_multiples._draw(many, theme).figure
        check_texts(figure)
    texts = [text.get_text() for text in figure.texts]
    assert "Values, task by task: the 24 largest of 30 tasks" in texts
    assert [texts.count(count) for count in ("4 successes", "3 failures", "3 unknown")] == [24, 24, 24]


def lane_of(page):
    return next(axes for axes in page.figure.axes if axes.get_ylabel() == "advantage")


def test_the_advantage_is_green_above_zero_and_grey_below():
    advantage = np.where(np.arange(T) < 10, 0.2, -0.1)
    with drawing(False):
        lane = lane_of(curve_picture._curve_page(full_curve(advantage=advantage), False))
    above, below = (
        np.concatenate([path.vertices for path in lane.collections[i].get_paths()]) for i in range(2)
    )
    assert [to_hex(np.asarray(lane.collections[i].get_facecolor())[0]) for i in range(2)] == [
        LIGHT.positive.lower(),
        LIGHT.negative.lower(),
    ]
    assert above[:, 1].max() == pytest.approx(0.2) and below[:, 1].min() == pytest.approx(-0.1)
    assert above[above[:, 1] > 0.01, 0].max() <= 1.0  # frame 10, at 10 frames a second
    with drawing(False):
        page = curve_picture._curve_page(full_curve(advantage=None), False)
    assert "advantage" not in [axes.get_ylabel() for axes in page.figure.axes]


def seconds_shown(it) -> bool:
    with drawing(False):
        page = curve_picture._curve_page(it, False)
    return "expected time to success" in [axes.get_ylabel() for axes in page.figure.axes]


def test_seconds_are_told_where_the_scale_is_known_but_not_of_failures():
    assert seconds_shown(full_curve()) and seconds_shown(full_curve(success=None))
    assert not seconds_shown(full_curve(success=False))
    assert not seconds_shown(full_curve(scale_seconds=None))


def test_an_unknown_outcome_is_told_in_words_and_drawn_in_ink():
    it = full_curve(success=None, episode_index=None)
    assert outcome_text(it) == "Outcome not known"
    with drawing(True):
        figure = curve_picture._curve_page(it, True).figure
    assert any(
        line.get_color() == DARK.ink and np.size(line.get_xdata()) == T for line in figure.axes[0].lines
    )


def test_the_heat_map_shows_each_frames_distribution():
    """All in bin 0, then all in bin 200, then even: lowest row, highest row, and a third of the colours."""
    p = np.zeros((3, 201))
    p[0, 0] = p[1, 200] = 1
    p[2] = 1 / 201
    it = curve(3, probabilities=p, value=np.array([-1, 0, -0.5]), target=None)
    with drawing(False):
        image = curve_picture._heat_page(it, False).figure.axes[0].images[0]
    shown = np.asarray(image.get_array())
    assert shown.shape == (67, 3)
    np.testing.assert_allclose(shown.sum(axis=0), 1)
    assert shown[0, 0] == shown[66, 1] == 1
    np.testing.assert_allclose(shown[:, 2], 1 / 67)
    assert image.norm.vmax == pytest.approx(3 / 67)  # not more colour than an even forecast deserves
    with pytest.raises(ValueError, match="has no probabilities"):
        pictures.plot_heat_map(curve(probabilities=None), "never.png")


def test_a_value_that_stays_at_the_bottom_is_said_and_its_probability_seen_below_the_line():
    p = np.zeros((T, 201))
    p[:, 0] = 1
    it = curve(T, success=False, probabilities=p, value=np.full(T, -1.0))
    with drawing(False):
        pages = curve_picture._curve_page(it, False), curve_picture._heat_page(it, False)
        rising = texts_of(curve_picture._curve_page(curve(T), False).figure)
    for page in pages:
        (text,) = [text for text, _ in texts_of(page.figure) if "stays" in text]
        assert text == "The value stays at −1, as the target does: no success is expected."
        assert page.figure.axes[0].get_ylim()[0] < -1.015
    assert not any("stays" in text for text, _ in rising)
    drawn = np.asarray(pages[1].figure.canvas.buffer_rgba())  # type: ignore[attr-defined]
    axes = pages[1].figure.axes[0]
    x, y = axes.transData.transform((it.seconds / 2, -1.022)).astype(int)
    assert drawn[len(drawn) - y, x, :3].tolist() == [0, 0x26, 0x3D]  # the darkest of the ramp
    other = curve(T, value=np.full(T, -0.99), target=None, v_min=-1.0, v_max=1.0, probabilities=None)
    assert flat_text(other) == "The value stays at −1."


def test_twenty_thousand_frames_make_a_small_file(tmp_path):
    length, generator = 20_000, np.random.default_rng(0)
    it = curve(
        length,
        value=np.linspace(-0.9, -0.1, length),
        probabilities=None,
        interval=np.stack([np.linspace(-1, -0.2, length), np.linspace(-0.8, 0, length)]),
        positive=generator.random(length) > 0.5,
        advantage=generator.normal(0, 0.1, length),
        thumbnails=frames(3),
        thumbnail_frames=[0, 9_999, 19_999],
    )
    assert pictures.plot_curve(it, tmp_path / "long.svg").stat().st_size < 1.5e6
    assert len(positive_spans(it)) <= 1000


def test_thinning_keeps_means_and_positive_frames_keep_their_places():
    array = np.arange(12.0)
    np.testing.assert_allclose(thin(array, np.array([0, 4, 8])), [1.5, 5.5, 9.5])
    assert thin(array, np.arange(12)) is array
    positive = np.zeros(5000, bool)
    positive[1000:2000] = True
    ((start, duration),) = positive_spans(curve(5000, positive=positive))
    assert (start, duration) == (pytest.approx(100), pytest.approx(100))


def test_long_axes_are_in_minutes_or_hours():
    assert time_text(4.0, 60) == "4 s" and time_text(90, 600) == "1:30" and time_text(7500, 9000) == "2:05:00"
    assert time_ticks(600, 6) == [0, 120, 240, 360, 480, 600]
    assert time_ticks(12, 6) == [0, 2, 4, 6, 8, 10, 12]
    assert len(time_ticks(40 * 86400, 6)) <= 8


def test_bands_without_distributions_are_what_the_caller_knows():
    value = np.linspace(-0.5, -0.1, 24)
    it = curve(probabilities=None, interval=np.stack([value - 0.1, value + 0.05]))
    low, high = it.band() or pytest.fail("no band")
    np.testing.assert_allclose([low, high], [value - 0.1, value + 0.05])
    assert it.band_name == "± one standard deviation"
    assert curve().band_name == "10–90% of the prediction" and curve(probabilities=None).band_name is None
    with pytest.raises(ValueError, match="lower end first"):
        curve(probabilities=None, interval=np.stack([value + 0.1, value]))


# --- pictures of a dataset -------------------------------------------------------------------------------


def test_the_thick_line_of_a_task_is_the_median_of_its_outcome():
    values = (-0.9, -0.2, -0.1)
    group = [curve(value=np.full(24, v)) for v in values] + [curve(success=False)]
    with drawing(False) as theme:
        axes = small_multiples._draw(group, theme).figure.axes[0]
    (median,) = [line for line in axes.lines if line.get_color() == LIGHT.success]
    np.testing.assert_allclose(np.asarray(median.get_ydata()), -0.2)
    thin_lines = [len(collection.get_paths()) for collection in axes.collections]
    assert thin_lines == [3, 1]


def test_few_frames_are_dots_and_many_a_density_without_the_failures_in_the_line(monkeypatch):
    drawn = []
    monkeypatch.setattr(quality_pictures, "save", lambda figure, *_: drawn.append(figure.axes[0]))
    pictures.plot_predicted_against_target([-0.5, -0.1], [-0.4, -0.2], "x.png")
    pictures.plot_predicted_against_target(*values_and_targets(), "x.png")
    few, many = drawn
    assert not few.images and len(many.images) == 1
    assert np.asarray(many.images[0].get_array().filled(0)).sum() == 2000
    thick = max(many.lines, key=lambda line: line.get_linewidth() if len(line.get_xdata()) == 20 else 0)
    assert np.nanmin(np.asarray(thick.get_xdata(), float)) > -1  # the lowest target has a bar of its own


def test_auroc_of_one_outcome_is_said_to_be_undefined(monkeypatch):
    drawn = []
    monkeypatch.setattr(quality_pictures, "save", lambda figure, *_: drawn.append(figure))
    pictures.plot_auroc_over_elapsed([0, 1], [np.nan, np.nan], "x.png")
    pictures.plot_auroc_over_elapsed([0, 0.5, 1], [0.1, np.nan, 0.8], "x.png")
    assert "Area under the ROC curve: not defined, one outcome only" in [t.get_text() for t in drawn[0].texts]
    assert drawn[1].axes[0].get_ylim() == (pytest.approx(0.1), 1.0)
    for figure in drawn:
        check_texts(figure)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: pictures.plot_reliability([0.1, 0.2], [0.1], "x.png"), r"levels \[2\] and observed \[1\]"),
        (lambda: pictures.plot_reliability([0.1], [np.nan], "x.png"), r"observed\[0\] is not finite"),
        (lambda: pictures.plot_auroc_over_elapsed([np.nan], [0.5], "x.png"), r"shares\[0\] is not finite"),
        (lambda: pictures.plot_predicted_against_target([], [], "x.png"), "must be alike"),
        (lambda: pictures.plot_small_multiples([], "x.png"), "at least one curve"),
    ],
)
def test_wrong_input_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


# --- colours ---------------------------------------------------------------------------------------------

# Machado, Oliveira & Fernandes 2009, severity 1.0, for linear RGB: rows of R, G, B.
BLINDNESS = {
    "none": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    "protanopia": [0.1523, 1.0526, -0.2049, 0.1145, 0.7863, 0.0992, -0.0039, -0.0481, 1.0520],
    "deuteranopia": [0.3673, 0.8606, -0.2280, 0.2801, 0.6725, 0.0474, -0.0118, 0.0429, 0.9689],
    "tritanopia": [1.2555, -0.0767, -0.1788, -0.0784, 0.9308, 0.1476, 0.0047, 0.6914, 0.3039],
}


def linear(color: str) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB (D65)."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(matrix) @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("blindness", BLINDNESS)
def test_outcomes_and_labels_differ_for_people_with_any_colour_vision(theme, blindness):
    seen = [
        lab(np.reshape(BLINDNESS[blindness], (3, 3)) @ linear(color))
        for color in (theme.success, theme.failure, theme.positive)
    ]
    for a, b in ((0, 1), (1, 2)):
        assert np.linalg.norm(seen[a] - seen[b]) > 20
    assert np.linalg.norm(seen[0] - seen[2]) > 10  # blue and green also differ by where they are


def contrast(a: str, b: str) -> float:
    """WCAG 2."""
    light, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_can_be_read_on_their_paper(theme):
    for color in (theme.ink, theme.muted):
        assert contrast(color, theme.paper) > 4.5
    for color in (theme.success, theme.failure, theme.positive):
        assert contrast(color, theme.paper) > 3.0  # bold or large
