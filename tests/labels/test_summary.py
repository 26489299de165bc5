"""summary.py: the figures of the table, by hand and against those of open-value."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tiny_scores import write_scores

from valuecurve.episodes import open_dataset
from valuecurve.labels.making import make_labels
from valuecurve.labels.settings import LabelSettings
from valuecurve.labels.summary import print_summary, summarise
from valuecurve.scoring import read_scores

CASES = json.loads((Path(__file__).parents[1] / "conformance" / "seed1_open_value.json").read_text())["cases"]


def labelled(make, relative, **settings):
    """Six episodes of pairs of frames, whose advantages are given: one of four frames, five of one."""
    dataset = open_dataset(make(cameras={}, lengths=[4, 1, 1, 1, 1, 1]))
    columns = {"relative": relative, "absolute_value": relative, "absolute_advantage": relative}
    write_scores(dataset, "t", np.zeros(9), columns)
    chosen = LabelSettings(mode="progress", progress="relative", **settings)
    return summarise(make_labels(dataset, read_scores(dataset, "t"), chosen))


@pytest.mark.parametrize("case", [case for case in CASES if case["kind"] == "stats"], ids=lambda c: c["id"])
def test_the_distribution_is_that_of_open_value(make, case):
    dataset = make(cameras={}, lengths=[2, 1, 1], tasks=["only one"], episode_tasks=[0, 0, 0])
    opened = open_dataset(dataset)
    given = np.array(case["input"]["advantages"], float)
    write_scores(opened, "t", np.zeros(4), {name: given for name in ("relative", "absolute_value")})
    settings = LabelSettings(mode="progress", progress="relative")
    row = summarise(make_labels(opened, read_scores(opened, "t"), settings))["tasks"][0]
    expected, found = case["expected"], row["advantage"]
    ours = {"min": found["min"], "max": found["max"], "mean": found["mean"], "std_population": found["std"]}
    ours |= {"count": row["frames"], "q25": found["25%"], "q50": found["median"]}
    assert ours == pytest.approx(expected, abs=case["atol"])


def test_shares_by_hand(make):
    """Task 0 has episodes 0, 2 (a failure) and 4; task 1 has episodes 1, 3 and 5 (a failure)."""
    summary = labelled(make, np.array([4, 3, 2, 1, 50, 5, 40, 0, 30.0]), positive_fraction=0.4)
    first, second = summary["tasks"]
    assert first["threshold"] == 3.0 and second["threshold"] == pytest.approx(42.0)
    assert first["positive"] == pytest.approx(3 / 6)  # 5, 4 and 3: the tie at the threshold
    assert first["positive_in_successes"] == pytest.approx(2 / 5) and first["positive_in_failures"] == 1.0
    assert second["positive_in_successes"] == 0.5 and second["positive_in_failures"] == 0.0
    assert summary["all"]["frames"] == 9 and summary["all"]["positive"] == pytest.approx(4 / 9)


def test_stages_have_rows_of_their_own(make):
    summary = labelled(make, np.arange(9.0), stages=2)
    assert [(row["task"], row["stage"], row["frames"]) for row in summary["tasks"]] == [
        ("push the puck", 0, 4),
        ("push the puck", 1, 2),
        ("open the drawer", 0, 3),
    ]


@pytest.mark.parametrize("stages", [None, 2])
def test_a_terminal_of_80_columns_shows_the_whole_distribution(make, stages):
    summary = labelled(make, np.array([-4, 3, 2, 1, 50, 5, 40, 0, 30.0]) / 60, stages=stages)
    summary["tasks"][0]["task"] = "push the puck to the goal that is marked by the red cross on the table"
    console = Console(file=io.StringIO(), width=80, markup=False, emoji=False, highlight=False)
    print_summary(summary, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in printed and "in failures" in printed
    last = printed.splitlines()[-1].split()
    levels = [summary["all"]["advantage"][name] for name in ("5%", "25%", "median", "75%", "95%")]
    assert last == ["all", *(f"{level:+.3f}" for level in levels)]
    assert all(f"{row['threshold']:+.4f}" in printed for row in summary["tasks"])


@pytest.mark.parametrize(("horizon", "noted"), [(10, False), (11, True)])
def test_a_horizon_above_a_third_of_the_median_episode_is_noted(make, horizon, noted):
    dataset = open_dataset(make(cameras={}, lengths=[30, 30, 30, 30, 30, 60]))
    write_scores(dataset, "t", np.linspace(-1, 0, 210))
    found = summarise(make_labels(dataset, read_scores(dataset, "t"), LabelSettings(horizon=horizon)))
    assert any("more than a third" in text and "--horizon 5" in text for text in found["warnings"]) == noted
