"""The comparison of recipes: everybody is judged in the same units, and nothing is trained twice."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from programs import load_program
from tiny_models import write_recipe

from valuecurve import ValueConfig
from valuecurve.training import RobotData, load_config

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "compare_recipes.py"


@pytest.fixture(scope="module")
def program():
    return load_program(PROGRAM)


@pytest.fixture(scope="module")
def config(tiny_v30, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    return load_config(write_recipe(folder / "r.yaml", tiny_v30, folder / "run")).data


def spikes(values, v_min=-1.0, v_max=0.0, bins=201) -> np.ndarray:
    """All mass of each row on the bin nearest to its value."""
    centers = np.linspace(v_min, v_max, bins)
    return np.eye(bins)[np.abs(centers - np.asarray(values)[:, None]).argmin(1)]


def test_bins_on_the_same_support_stay_and_coarser_ones_are_spread_evenly(program):
    same = program.rebinning(np.linspace(-1, 0, 201))
    np.testing.assert_allclose(same, np.eye(201), atol=1e-9)
    wide = program.rebinning(np.linspace(-4, 0, 201))  # one bin covers four of the reference's
    np.testing.assert_allclose(wide.sum(1), 1)
    np.testing.assert_allclose(wide[199, 194:199], [0.125, 0.25, 0.25, 0.25, 0.125], atol=1e-9)
    assert (wide[:150, 0] == 1).all()  # longer than the reference knows: its lowest bin


def test_a_fixed_scale_is_read_in_steps(program, config):
    reference = program.reference_of(config)
    own = RobotData.prepare(replace(config, scale=200, fail="penalty", fail_penalty=100))
    rows = reference.rows("test")
    steps = np.arange(len(rows)) % 5.0
    scale = np.array(
        [reference.scales[reference.dataset.tasks[t]] for t in reference.dataset.task_index[rows]]
    )
    model = ValueConfig()
    values, distributions = program.to_reference(spikes(-steps / 200), rows, own, reference, model)
    np.testing.assert_allclose(values, -steps / scale, atol=1e-9)
    np.testing.assert_allclose(distributions.sum(1), 1)
    centers = np.linspace(-1, 0, 201)
    inside = (steps > 1) & (steps + 0.5 < scale)  # half a bin of 1 step on either side stays inside
    np.testing.assert_allclose((distributions @ centers)[inside], values[inside], atol=1e-3)


def test_a_perfect_recipe_scores_perfectly_whatever_its_scale(program, config):
    reference = program.reference_of(config)
    rows = reference.rows("test")
    for scale in ("task_max", 1600):
        own = RobotData.prepare(replace(config, scale=scale, fail="penalty", fail_penalty=1000))
        targets = own.targets[rows]
        values, distributions = program.to_reference(
            spikes(targets, bins=16001), rows, own, reference, ValueConfig(num_bins=16001)
        )
        found = program.judge(reference, rows, values, distributions, order_by=targets)
        assert found["mae"] < 0.002 and found["explained_variance"] > 0.999 and found["nll"] < 1.5, scale


def test_progress_and_pairs_have_values_but_no_distribution_over_time(program, config):
    reference = program.reference_of(config)
    rows = reference.rows("test")
    own = RobotData.prepare(replace(config, scale="episode"))
    probabilities = spikes(np.linspace(-1, 0, len(rows)))
    values, distributions = program.to_reference(probabilities, rows, own, reference, ValueConfig())
    assert distributions is None and values[-1] == 0
    tasks = own.dataset.task_index[rows]
    for task in np.unique(tasks):
        assert (np.diff(values[tasks == task]) > 0).all()
    pair = SimpleNamespace(v_min=-1.0, v_max=1.0, frames_per_sample=2)
    ahead = spikes(np.full(len(rows), 2.0), v_min=-1, v_max=1)  # further ahead than there is
    values, distributions = program.to_reference(ahead, rows, own, reference, pair)
    assert distributions is None and (values == 0).all()
    same = spikes(np.zeros(len(rows)), v_min=-1, v_max=1)  # no further than the first frame
    values, _ = program.to_reference(same, rows, own, reference, pair)
    assert len(np.unique(values.round(9))) <= len(np.unique(tasks)) and (values < -0.5).all()


def test_runs_are_trained_once_and_the_table_holds_them_all(program, tiny_v30, tmp_path, capsys):
    recipe = write_recipe(tmp_path / "small.yaml", tiny_v30, tmp_path / "unused")
    page, marker = tmp_path / "recipes.md", "compare_recipes model.config.target"
    page.write_text(f"# Recipes\n\n<!-- {marker} -->\nold\n<!-- /{marker} -->\n\nEnd.\n")
    call = ["--recipes", recipe, "--dataset", tiny_v30, "--steps", 2, "--batch-size", 4, "--docs", page]
    call += ["--output", tmp_path / "out", "--seeds", 0, "--vary", "model.config.target=two_hot,one_hot"]
    assert program.main([str(part) for part in call]) == 0
    text = page.read_text()
    assert text.startswith("# Recipes\n") and text.endswith("End.\n") and "old" not in text
    lines = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert lines == [
        "",
        "small",
        "small, target two_hot",
        "small, target one_hot",
        "*constant*",
        "*elapsed time*",
    ]
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("result.json")}
    assert len(done) == 3
    assert program.main([str(part) for part in [*call, "--seeds", 0, 1]]) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    runs = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert sorted((run["name"], run["seed"]) for run in runs) == sorted(
        (name, seed) for name in lines[1:4] for seed in (0, 1)
    )
    assert "2 seeds (mean ± standard deviation)" in page.read_text()


def test_what_cannot_be_compared_is_an_error(program, tiny_v30, tmp_path, capsys):
    recipe = write_recipe(tmp_path / "small.yaml", tiny_v30, tmp_path / "unused")
    call = ["--recipes", str(recipe), "--dataset", str(tiny_v30), "--output", str(tmp_path / "out")]
    call += ["--docs", str(tmp_path / "page.md"), "--steps", "1"]
    assert program.main([*call, "--vary", "model.config.target"]) == 1
    assert "cannot read --vary 'model.config.target'" in capsys.readouterr().err
    assert program.main([*call, "--model.config.targte", "one_hot"]) == 1
    assert "Did you mean model.config.target?" in capsys.readouterr().err
