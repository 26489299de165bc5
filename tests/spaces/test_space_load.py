"""The load benchmark, small: several visitors at once each get the curve of their own video."""

from pathlib import Path

from programs import load_program

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "space_load.py"


def test_visitors_at_once_all_get_their_own_curve(space_url, tmp_path, capsys):
    program = load_program(PROGRAM)
    page = tmp_path / "results.md"
    asked = ["--url", space_url, "--visitors", "4", "--rounds", "1", "--frames", "8", "--results", str(page)]
    assert program.main(asked) == 0
    text = page.read_text()
    assert "4 visitors at once, 1 episode each" in text and "0 errors" in text
    assert "| upload → curve | 3 |" in text and "| example → curve | 1 |" in text
    assert text.split("-->")[1].strip().split("<!--")[0].strip() in capsys.readouterr().out


def test_an_answer_that_is_not_right_is_an_error():
    program = load_program(PROGRAM)
    tally = program.Tally()
    tally.time(program.UPLOAD, lambda: (_ for _ in ()).throw(ValueError("a video of 8 frames …")))
    assert tally.errors == ["upload → curve: ValueError: a video of 8 frames …"] and not tally.seconds
