"""Pictures of curves: the right size, every text in its room, and odd episodes drawn too."""

import matplotlib
import numpy as np
import pytest
from made_up import curve, frames
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from page_checks import check_texts
from PIL import Image

from valuecurve.evaluation import Curve, pick_thumbnails, plot_curves, quantiles
from valuecurve.evaluation.figures import draw_curves
from valuecurve.evaluation.style import FAILURE, POSITIVE, RC, SUCCESS, clean_text, fit_lines

LONG = (
    "Pick up the small red cube 🟥 for $5, then \n put it into the second drawer from the top; close it " * 3
)


def test_six_curves_make_one_picture_1600_pixels_wide(tmp_path):
    curves = [curve(success=i % 2 == 0) for i in range(6)]
    path = plot_curves(curves, tmp_path / "new folder" / "curves.png", title="Six episodes")
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG" and image.width == 1600 and 900 < image.height < 1300
        pixels = np.asarray(image.convert("RGB"))
    for color in (SUCCESS, FAILURE):
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(axis=2).sum() > 1000
    assert [p.name for p in path.parent.iterdir()] == ["curves.png"]  # no temporary file is left


def test_positive_frames_are_a_strip_under_the_values():
    """Frames 4 to 9 and the last of 24, at 10 frames a second."""
    positive = np.isin(np.arange(24), [4, 5, 6, 7, 8, 9, 23])
    with matplotlib.rc_context(RC):
        figure = draw_curves([curve(positive=positive)]).figure
        plain = draw_curves([curve()]).figure
    axes = figure.axes[0]
    (strip,) = [c for c in axes.collections if isinstance(c, PolyCollection) and same_color(c, POSITIVE)]
    spans = [path.get_extents() for path in strip.get_paths()]
    assert [(round(box.x0, 3), round(box.x1, 3)) for box in spans] == [
        (0.4, 1.0)
    ]  # the axis ends at frame 23
    assert all(box.y1 < -1 and box.y0 >= axes.get_ylim()[0] for box in spans)
    assert "labelled positive" in [text.get_text() for text in figure.texts]
    assert "target" in [text.get_text() for text in figure.texts]
    assert "labelled positive" not in [text.get_text() for text in plain.texts]


def same_color(collection, color: str) -> bool:
    return to_hex(collection.get_facecolor()[0]).lower() == color.lower()


@pytest.mark.parametrize("task", ["Open the drawer", LONG, "W" * 200], ids=["short", "long", "one word"])
def test_no_text_leaves_the_page_or_touches_another(task):
    curves = [curve(task=task, success=i < 3, failure_kind="something_" * 9, length=60) for i in range(6)]
    with matplotlib.rc_context(RC):
        figure = draw_curves(curves, title="A title " * 40).figure
        check_texts(figure)


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams)
    plot_curves([curve()], tmp_path / "one.png")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "changes",
    [
        dict(probabilities=None, target=None, scale_seconds=None),
        dict(thumbnails=np.zeros((0, 3, 8, 8), np.uint8), thumbnail_frames=[]),
        dict(length=1),
        dict(length=2),
        dict(scale_seconds=0.4),
        dict(length=900, scale_seconds=9000.0),
        dict(v_min=-1.0, v_max=1.0, value=np.linspace(-1, 1, 24)),
    ],
    ids=["value alone", "no thumbnails", "one frame", "two frames", "tiny scale", "long", "other support"],
)
def test_odd_curves_are_drawn(changes, tmp_path):
    with Image.open(plot_curves([curve(**changes), curve(success=False)], tmp_path / "odd.png")) as image:
        assert image.width == 1600


def test_no_curves_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one curve"):
        plot_curves([], tmp_path / "none.png")


def test_quantiles_move_smoothly_and_stay_in_range():
    p = np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    low, middle, high = quantiles(p, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(middle[0], -0.5)
    np.testing.assert_allclose([low[0], high[0]], [-0.625, -0.375])  # the bin is half a unit wide
    np.testing.assert_allclose([low[1], high[1]], [-1.0, 0.0])
    assert low[2] == -1 and high[2] == pytest.approx(-0.875)


def test_curve_says_what_is_wrong_with_it():
    with pytest.raises(ValueError, match=r"episode 3: target of shape \[2\]"):
        curve(target=np.zeros(2))
    with pytest.raises(ValueError, match=r"value\[1\] is not finite"):
        Curve(0, "task", True, 10, np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="thumbnail_frames"):
        curve(thumbnail_frames=[0])


def test_curve_knows_its_outcome_and_seconds():
    assert curve(success=False).outcome == "Failure: missed grasp"
    assert curve().outcome == "Success"
    seconds = curve(value=np.full(24, -0.5)).seconds_to_success()
    assert seconds is not None and np.allclose(seconds, 6.0)


def test_thumbnails_come_from_the_middle_of_their_share():
    thumbnails, indices = pick_thumbnails(frames(10), 5)
    assert indices.tolist() == [1, 3, 5, 7, 9] and thumbnails.shape == (5, 3, 32, 32)
    assert pick_thumbnails(frames(2), 5)[1].tolist() == [0, 1]


def test_text_is_cleaned_and_fitted():
    assert clean_text("a\n b\t🤖️") == "a b ▫"
    assert fit_lines("one two three", 7, len, lines=2) == ["one two", "three"]
    assert fit_lines("one two three", 7, len) == ["one tw…"]
    assert fit_lines("", 7, len) == [""]


def test_only_successes_have_an_axis_in_seconds():
    with matplotlib.rc_context(RC):
        shown = [len(draw_curves([curve(success=ok)]).figure.axes) for ok in (True, False)]
    assert shown[0] == shown[1] + 1  # the second axis of the panel
