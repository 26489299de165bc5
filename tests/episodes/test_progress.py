"""What is said of work on many frames where no terminal shows a bar."""

import re

import pytest

from valuecurve.episodes import progress
from valuecurve.episodes.progress import frame_bar


def test_a_log_gets_lines_now_and_then_and_no_bar(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with frame_bar("scoring", 1000, shown=True) as advance:
        for _ in range(10):
            clock[0] += 10
            advance(100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "scoring: 300 of 1,000 frames, 10 frames/s, 0:01:10 left",
        "scoring: 600 of 1,000 frames, 10 frames/s, 0:00:40 left",
        "scoring: 900 of 1,000 frames, 10 frames/s, 0:00:10 left",
    ]


def test_nothing_is_said_where_nothing_was_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    for total, shown in ((100, False), (0, True)):
        with frame_bar("scoring", total, shown=shown) as advance:
            advance(total)
    assert not re.sub(r"\s", "", capsys.readouterr().err)


@pytest.mark.parametrize(("done", "left"), [(0, False), (5, True)])
def test_a_bar_stays_above_an_error_only_where_something_was_done(capsys, monkeypatch, done, left):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    with pytest.raises(ValueError), frame_bar("frames", 10, shown=True) as advance:
        advance(done)
        raise ValueError
    screen = capsys.readouterr().err
    last = screen[screen.rindex("frames/s") :]
    assert ("\x1b[2K" not in last) == left  # the line is wiped
