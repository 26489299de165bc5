"""What the tests of pictures look at: the texts of a page and their places."""

import itertools

from valuecurve.evaluation.page import DPI


def texts_of(figure):
    """(text, box in pixels) of all texts, of the page and of its axes."""
    figure.canvas.draw()
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += axes.texts
        for axis in (axes.xaxis, axes.yaxis):
            texts += [axis.label, *axis.get_ticklabels()] if axis.get_visible() else []
    shown = [text for text in texts if text.get_text() and text.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


def overlap(a, b) -> bool:
    """Whether two boxes share more than a pixel in both directions."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return width > 1 and height > 1


def check_texts(figure) -> None:
    """No text leaves the page, and none touches another."""
    texts = texts_of(figure)
    assert len(texts) > 5
    width, height = figure.get_size_inches() * DPI
    for text, box in texts:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for (text, box), (other, other_box) in itertools.combinations(texts, 2):
        assert not overlap(box, other_box), f"{text!r} touches {other!r}"
