"""label_figure.py: what is drawn is what is labelled; any number of tasks, with and without outcomes."""

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from valuecurve.evaluation.label_figure import MOST, Panel, draw_labels, plot_labels
from valuecurve.evaluation.style import FAILURE, INK, RC, SUCCESS


def panel(seed=0, n=400, title="push the puck", outcomes=True, threshold=0.1) -> Panel:
    generator = np.random.default_rng(seed)
    advantage = generator.normal(0, 0.3, n)
    success = generator.random(n) < 0.6 if outcomes else None
    return Panel(title, advantage, advantage >= threshold, success, threshold)


def bars(axes) -> list:
    """(colour, opacity, left, width, signed height) of every bar with a height."""
    found = []
    for patch in axes.patches:
        values, edges, baseline = patch.get_data()
        look = to_hex(patch.get_facecolor()), patch.get_alpha()
        heights = np.round(values - baseline, 12)
        found += [(*look, x, w, h) for x, w, h in zip(edges[:-1], np.diff(edges), heights, strict=True) if h]
    return found


def area(axes, color: str, solid: bool) -> float:
    chosen = [b for b in bars(axes) if b[0] == color.lower() and (b[1] == 1.0) == solid]
    return sum(width * height for _, _, _, width, height in chosen)


def test_areas_are_the_shares_of_frames():
    shown = panel()
    with matplotlib.rc_context(RC):
        (axes,) = draw_labels([shown], "title", "how").axes
    assert shown.success is not None
    for color, mask, sign in ((SUCCESS, shown.success, 1), (FAILURE, ~shown.success, -1)):
        for solid in (True, False):
            share = (mask & (shown.positive == solid)).mean()
            assert area(axes, color, solid) == pytest.approx(sign * share, abs=1e-9)
    solid = [bar for bar in bars(axes) if bar[1] == 1.0]
    assert min(bar[2] for bar in solid) == pytest.approx(shown.threshold)  # the threshold is a border of bins


def test_frames_that_are_positive_below_the_threshold_are_solid_too():
    shown = panel()
    shown.positive = np.ones(400, bool)  # an SFT stage
    with matplotlib.rc_context(RC):
        (axes,) = draw_labels([shown], "title", "how").axes
    assert area(axes, SUCCESS, solid=False) == 0


def test_without_outcomes_there_is_one_side():
    with matplotlib.rc_context(RC):
        (axes,) = draw_labels([panel(outcomes=False)], "title", "how").axes
    assert {bar[0] for bar in bars(axes)} == {INK}
    assert all(bar[4] > 0 for bar in bars(axes))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, MOST + 3])
def test_any_number_of_tasks_and_no_text_runs_out_of_the_page(count, tmp_path):
    panels = [
        panel(i, 50 + i, f"task {i} " + "with a very long instruction " * (i % 4)) for i in range(count)
    ]
    with matplotlib.rc_context(RC):
        figure = draw_labels(panels, "a long title " * 20, "how " * 80)
        assert len(figure.axes) == min(count, MOST)
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        page = figure.bbox
        for text in figure.texts:
            box = text.get_window_extent(renderer)
            assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    image = Image.open(plot_labels(panels, tmp_path / "labels.png", "title", "how"))
    assert image.size[0] == 1600
    assert [path.name for path in tmp_path.iterdir()] == ["labels.png"]


def test_dark_labels_are_on_dark_paper_and_an_svg_can_be_made(tmp_path):
    with Image.open(plot_labels([panel()], tmp_path / "dark.png", "t", "h", dark=True)) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (13, 17, 23)
    assert b"<svg" in plot_labels([panel()], tmp_path / "labels.svg", "t", "h").read_bytes()


def test_advantages_that_are_all_equal_can_be_drawn(tmp_path):
    same = Panel("t", np.zeros(9), np.ones(9, bool), np.ones(9, bool), 0.0)
    plot_labels([same, Panel("u", np.full(1, 0.5), np.ones(1, bool), None, 0.5)], tmp_path / "x.png", "", "")


def test_the_same_labels_give_the_same_bytes(tmp_path):
    first, second = (
        plot_labels([panel()], tmp_path / name, "t", "h").read_bytes() for name in ("a.png", "b.png")
    )
    assert first == second


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one panel"):
        plot_labels([], tmp_path / "x.png", "", "")
