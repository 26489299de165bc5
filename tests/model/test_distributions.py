"""Targets as distributions over the bins, by hand and against figures of a system that is replaced."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_config

from valuecurve import ValueModel
from valuecurve.modeling_value import hl_gauss, one_hot, support, target_distribution, two_hot

FILE = Path(__file__).parents[1] / "conformance" / "seed1_open_value.json"
EXPECTED_VALUE = [case for case in json.loads(FILE.read_text())["cases"] if case["kind"] == "expected_value"]
FIVE = torch.tensor([-1.0, -0.75, -0.5, -0.25, 0.0])
PLACES = ["below", "first", "between", "on", "tie", "last", "above"]
VALUES = torch.tensor([-7.0, -1.0, -0.7, -0.5, -0.375, 0.0, 0.3])


def table(rows: dict[str, list[float]]) -> torch.Tensor:
    return torch.tensor([rows[place] for place in PLACES], dtype=torch.float32)


def test_one_hot_by_hand():
    expected = table(
        {
            "below": [1, 0, 0, 0, 0],
            "first": [1, 0, 0, 0, 0],
            "between": [0, 1, 0, 0, 0],
            "on": [0, 0, 1, 0, 0],
            "tie": [0, 0, 0, 1, 0],  # the upper one
            "last": [0, 0, 0, 0, 1],
            "above": [0, 0, 0, 0, 1],
        }
    )
    assert torch.equal(one_hot(VALUES, FIVE), expected)


def test_two_hot_by_hand():
    expected = table(
        {
            "below": [1, 0, 0, 0, 0],
            "first": [1, 0, 0, 0, 0],
            "between": [0, 0.8, 0.2, 0, 0],
            "on": [0, 0, 1, 0, 0],
            "tie": [0, 0, 0.5, 0.5, 0],
            "last": [0, 0, 0, 0, 1],
            "above": [0, 0, 0, 0, 1],
        }
    )
    torch.testing.assert_close(two_hot(VALUES, FIVE), expected, atol=1e-6, rtol=0)


def test_the_two_hot_example_of_the_cross_attention_system():
    """-0.503 lies between the centres 99 (-0.505) and 100 (-0.5), two fifths from the left one.

    The document that shows it has the two weights the wrong way round: their mean would be -0.502.
    """
    row = two_hot(torch.tensor([-0.503]), torch.linspace(-1, 0, 201))[0]
    assert row[99].item() == pytest.approx(0.6, abs=1e-4) and row[100].item() == pytest.approx(0.4, abs=1e-4)
    assert row.sum() == 1


def test_hl_gauss_by_hand():
    """sigma is one bin width: what a table of the normal distribution gives for half widths, renormalised."""
    # cdf of the standard normal at 0.5, 1.5, … (and for "between", 0.2 widths above a centre, at 0.3, 0.7, …)
    half, one_half, two_half = 0.691462, 0.933193, 0.993790
    edge = [half - (1 - 0.691462), one_half - half, two_half - one_half, 0.999767 - two_half, 0.000230]
    edge_mass = 0.999997 - (1 - half)
    middle = [two_half - one_half, one_half - half, 2 * half - 1, one_half - half, two_half - one_half]
    between = [0.241964 - 0.044565, 0.617911 - 0.241964, 0.903200 - 0.617911]
    between += [0.989276 - 0.903200, 0.999517 - 0.989276]
    tie = [0.022750 - 0.001350, 0.158655 - 0.022750, 0.5 - 0.158655, 0.5 - 0.158655, 0.158655 - 0.022750]
    rows = {
        "below": [p / edge_mass for p in edge],
        "first": [p / edge_mass for p in edge],
        "between": [p / (0.999517 - 0.044565) for p in between],
        "on": [p / (2 * two_half - 1) for p in middle],
        "tie": [p / (0.977250 - 0.001350) for p in tie],
        "last": [p / edge_mass for p in reversed(edge)],
        "above": [p / edge_mass for p in reversed(edge)],
    }
    torch.testing.assert_close(hl_gauss(VALUES, FIVE, sigma=0.25), table(rows), atol=3e-6, rtol=0)


@pytest.mark.parametrize("support_of", [(-1.0, 0.0), (-1.0, 1.0)])
@pytest.mark.parametrize("target", ["hl_gauss", "two_hot", "one_hot"])
def test_every_target_is_a_distribution_whose_mean_is_the_value(tokenizer, target, support_of):
    config = make_config(tokenizer, target=target, v_min=support_of[0], v_max=support_of[1])
    centers = support(config)
    width = float(centers[1] - centers[0])
    values = torch.linspace(support_of[0], support_of[1], 977)
    rows = target_distribution(values, config)
    assert (rows >= 0).all()
    torch.testing.assert_close(rows.sum(-1), torch.ones(977), atol=1e-5, rtol=0)
    inside = (values > centers[3]) & (values < centers[-4])  # at the ends hl_gauss is cut off
    tolerance = {"one_hot": 0.501 * width, "two_hot": 1e-5, "hl_gauss": 0.05 * width}[target]
    torch.testing.assert_close((rows @ centers)[inside], values[inside], atol=tolerance, rtol=0)


def test_support_is_the_same_for_labels_and_readout(model):
    centers = support(model.config)
    assert centers[0] == -1 and centers[-1] == 0 and len(centers) == 201
    torch.testing.assert_close(centers[1:] - centers[:-1], torch.full((200,), 0.005), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", EXPECTED_VALUE, ids=lambda case: case["id"])
def test_expected_value_and_cross_entropy_are_those_of_open_value(tokenizer, batch, case):
    """Through the model itself: its last layer says the given logits for every row."""
    given, expected = case["input"], case["expected"]
    fields = {"num_bins": len(given["logits"]), "v_min": given["v_min"], "v_max": given["v_max"]}
    model = ValueModel(make_config(tokenizer, target="one_hot", **fields)).eval()
    with torch.no_grad():
        last: Any = model.value_head[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor(given["logits"]))
    target = given.get("target_value", 0.0)
    output = model(**batch, value_targets=torch.full((3,), target))
    assert output.value.tolist() == pytest.approx([expected["value"]] * 3, abs=case["atol"])
    if "cross_entropy" in expected:
        row = target_distribution(torch.tensor([target]), model.config)
        assert row.argmax() == expected["target_bin"]
        assert output.value_loss.item() == pytest.approx(expected["cross_entropy"], abs=case["atol"])
