"""Anyone can compute the advantages of labels.parquet from the scores, as docs/labels.md says:
its program and its table."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_scores import noisy_values, write_scores

from valuecurve.episodes import open_dataset
from valuecurve.labels.label_set import write_labels
from valuecurve.labels.making import make_labels
from valuecurve.labels.settings import LabelSettings
from valuecurve.scoring import read_scores

PAGE = Path(__file__).parents[2] / "docs" / "labels.md"
SUCCESS = np.array([True, True, False, True, True, False])  # as `make` makes them
CASES = {
    "floor": LabelSettings(fail="floor"),
    "penalty": LabelSettings(fail="penalty", fail_penalty=4.0),
    "column, floor": LabelSettings(fail="floor", reward_column="cost"),
    "column, penalty": LabelSettings(fail="penalty", fail_penalty=4.0, reward_column="cost"),
}


@pytest.fixture(params=["n_step over 3", "n_step over 8", "full"])
def mode(request):
    """Settings of the mode; the episodes have 7 to 12 frames."""
    name = request.param.split()
    return {"mode": name[0], "horizon": int(name[-1]) if len(name) > 1 else None}


@pytest.fixture(params=CASES)
def written(request, make, mode):
    """What lies on the disk: (tables of scores and labels, the manifest, cells of the column, lengths)."""
    cost = np.random.default_rng(3).normal(-1, 0.3, 57)
    dataset = open_dataset(make(cameras={}, columns={"cost": cost.tolist()}, fps=10))
    folder = write_scores(dataset, "t", noisy_values(dataset, SUCCESS), fps=5.0)
    settings = LabelSettings(**(vars(CASES[request.param]) | mode))
    made = make_labels(dataset, read_scores(dataset, "t"), settings)
    write_labels(dataset, "t", made.table, made.settings)
    scores, labels = pq.read_table(folder / "scores"), pq.read_table(folder / "labels.parquet")
    task = np.array(dataset.tasks)[dataset.episode_tasks]
    return scores, labels, json.loads((folder / "manifest.json").read_text()), cost, dataset.lengths, task


def arguments(written):
    """value, lengths, success, scale, N, penalty and column of the page's program."""
    scores, _, manifest, cost, lengths, task = written
    about, model = manifest["labels"], manifest["scores"]
    rate = 10 / model["fps"]
    scale = np.array([model["scales"][name] for name in task]) * rate
    penalty = about["fail_penalty"] * rate if about["fail"] == "penalty" else None
    column = cost if about["reward_column"] else None
    return scores["value"].to_numpy(), lengths, SUCCESS, scale, about["horizon"], penalty, column


def test_the_program_of_the_page_gives_labels_parquet(written):
    page = PAGE.read_text()
    program = next(part for part in page.split("```python\n") if "def advantage(" in part).split("```")[0]
    names: dict = {}
    exec(program, names)
    found = names["advantage"](*arguments(written))
    np.testing.assert_allclose(found, written[1]["advantage"].to_numpy(), rtol=0, atol=1e-6)


def test_the_table_of_the_page_gives_labels_parquet(written):
    """Frame by frame, by the closed forms."""
    value, lengths, success, scale, horizon, penalty, column = arguments(written)
    found, start = [], 0
    for length, s, won in zip(lengths.tolist(), scale.tolist(), success.tolist(), strict=True):
        v, last = value[start : start + length].astype(float), length - 1
        x = [-1.0] * last + [0.0] if column is None else column[start : start + length].tolist()
        for t in range(length):
            if horizon is not None and t + horizon <= last:
                gain = sum(x[t : t + horizon]) / s + v[t + horizon]
            elif won:
                gain = sum(x[t:]) / s
            elif column is not None:
                gain = sum(x[t:last]) / s - 1 if penalty is None else sum(x[t:]) / s
            elif penalty is not None:
                gain = -(last - t) / s - penalty / s
            else:
                gain = -(last - t if horizon is None else horizon) / s - 1
            found.append(gain - v[t])
        start += length
    np.testing.assert_allclose(found, written[1]["advantage"].to_numpy(), rtol=0, atol=1e-6)
