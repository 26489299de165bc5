"""tests/conformance holds the figures that were given, under names of its own: none is missing or differs.

They were given in a folder beside the checkout, `../shared/conformance`; elsewhere nothing is compared.
"""

import json
from pathlib import Path

import numpy as np
import pytest

COPY = Path(__file__).parent / "conformance"
GIVEN = Path(__file__).parents[2] / "shared" / "conformance"

pytestmark = pytest.mark.skipif(
    not GIVEN.is_dir(),
    reason="no ../shared/conformance beside this checkout, which the copy is compared with",
)


def both(name: str) -> tuple[dict, dict]:
    """What was given and what the tests read."""
    given, copy = (json.loads((folder / f"{name}.json").read_text()) for folder in (GIVEN, COPY))
    return given, copy


def rekeyed(case: dict, names: dict) -> dict:
    """The case under other names; keys that `names` does not have stay, those it names None are left out."""
    return {names.get(key, key): case[key] for key in case if names.get(key, key) is not None}


def without_error(case: dict, **names) -> dict:
    assert case["error"] is None
    return rekeyed(case, names | {"error": None})


def tasks_of(lines: str) -> list[str]:
    """The texts of a tasks.jsonl, whose lines are numbered from 0."""
    rows = [json.loads(line) for line in lines.splitlines()]
    assert [row["task_index"] for row in rows] == list(range(len(rows)))
    return [row["task"] for row in rows]


def test_the_same_files_were_given():
    assert sorted(path.name for path in GIVEN.iterdir()) == sorted(path.name for path in COPY.iterdir())


def test_every_case_of_open_value_is_copied():
    given, copy = both("seed1_open_value")
    remarks = {"full_episode_sparse": ["note"], "thr_11_values_70": ["note", "float_sensitive"]}  # words
    cases = [rekeyed(case, dict.fromkeys(remarks.get(case["id"], []))) for case in given.pop("cases")]
    copied = copy.pop("cases")
    assert len(cases) == 26
    assert sorted(cases, key=lambda case: case["id"]) == sorted(copied, key=lambda case: case["id"])
    assert given == copy  # source and conventions


def test_every_case_of_kai0_is_copied():
    given, copy = both("seed3_kai0")
    assert "9d93078" in given["source"]["commit"] and "9d93078" in copy.pop("source")
    del given["about"], given["source"]
    episodes = {case["set"]: case["episodes"] for case in given["binary_one_stage"]["cases"]}
    binary = [
        without_error(
            {**case, "printed_threshold": case["printed_threshold"][0]},
            set="name",
            threshold_top_percent="top_percent",
            threshold_value="threshold",
            printed_threshold="printed",
        )
        for case in given["binary_one_stage"].pop("cases")
    ]
    slices = [
        without_error(case, set="name", n_slices="slices", boundaries="borders", tasks_jsonl_lines=None)
        | {"episodes": episodes[case["set"]]}
        for case in given["n_slices_one_stage"]["cases"]
    ]
    for case in given["n_slices_one_stage"].pop("cases"):
        assert case["tasks_jsonl_lines"] == case["n_slices"]
    staged, progress = given.pop("staged"), given.pop("progress_to_advantage_old_gt_label")
    expected = {
        "stages": given.pop("get_stage_index")["rows"],
        "pair_progress_target": given.pop("pair_progress_target")["rows"],
        "progress_difference": [rekeyed(case, {"dtype": None}) for case in progress.pop("cases")],
        "binary": binary,
        "slices": slices,
        "staged": {
            "episodes": staged["episodes"],
            "progress": staged["stage_progress_gt"],
            "cases": [without_error(case) for case in staged["cases"]],
        },
        "texts": {
            "binary": tasks_of(given.pop("binary_tasks_jsonl")),
            "slices": tasks_of(given.pop("n_slices3_tasks_jsonl")),
        },
    }
    tables = {"stages": "rows", "pair_progress_target": "rows"}
    tables |= dict.fromkeys(("progress_difference", "binary", "slices"), "cases")
    assert expected == {name: part[tables[name]] if name in tables else part for name, part in copy.items()}
    assert list(progress) == ["formula"]  # what is left are words
    assert {name: list(part) for name, part in given.items()} == {
        "binary_one_stage": ["percentile"],
        "n_slices_one_stage": [],
    }


def test_every_case_of_opentau_is_copied():
    given, copy = both("seed4_opentau")
    assert given["source"]["commit"][:7] in copy.pop("source")
    del given["about"], given["source"]
    script, weights = given.pop("advantage_script"), given.pop("awr_weight")
    returns = given.pop("return_bin")
    penalty = returns["columns"].index("c_neg")  # a negative reward there, a penalty above 0 in the copy
    assert returns["columns"].pop() == "py_type"  # of the Python number; not copied
    rows = [[*row[:penalty], -row[penalty], *row[penalty + 1 : -1]] for row in returns["rows"]]
    n_step = given.pop("n_step_return")
    assert n_step["columns"][penalty] == "c_neg"
    crash = script.pop("root_none_error")
    expected = {
        "returns": rows,
        "n_step_returns": [[*row[:penalty], -row[penalty], *row[penalty + 1 :]] for row in n_step["rows"]],
        "texts": given.pop("pi0_prompt"),
        "advantages": [advantages_of(case) for case in script.pop("cases")],
        "weights": {name: weights[name] for name in ("advantage", "weight")},
        "no_folder": {"error": crash["error"], "values_before": crash["value_predictions_before_crash"]},
        "discrete_state": given.pop("discrete_state"),
    }
    tables = dict.fromkeys(("returns", "n_step_returns"), "rows") | dict.fromkeys(
        ("texts", "advantages"), "cases"
    )
    assert expected == {name: part[tables[name]] if name in tables else part for name, part in copy.items()}
    assert (
        given == {} and list(script) == ["formula"] and sorted(weights) == ["advantage", "formula", "weight"]
    )


def advantages_of(case: dict) -> dict:
    """A run of OpenTau's script as it is copied; its keys, "episode,seconds" at 10 frames/s, are checked."""
    frames = [(e, t) for e, episode in enumerate(case["episodes"]) for t in range(len(episode["values"]))]
    kept = case["kept_rows"] or range(len(frames))
    keys = [f"{frames[row][0]},{float(np.float32(frames[row][1] / 10))}" for row in kept]
    assert list(case["advantages_json"]) == keys
    # how often it read a frame and ran the model: twice and once for each, no result
    assert case["dataset_getitem_calls"] == 2 * len(keys) and case["value_predictions"] == len(keys)
    names = {"N": "horizon", "reward_normalizer": "scale", "C_neg": "fail_penalty"}
    names |= {"advantages_json": "advantages", "dataset_getitem_calls": None, "value_predictions": None}
    advantages = [float(text) for text in case["advantages_json"].values()]
    return without_error({**case, "C_neg": -case["C_neg"], "advantages_json": advantages}, **names)
