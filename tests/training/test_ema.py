"""Averaged weights: float32 whatever the model is in, and the model's own weights come back."""

import pytest
import torch
from torch import nn

from valuecurve.training import EMA


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def test_the_average_follows_the_documented_formula(layer):
    ema = EMA(layer, decay=0.5)
    start = layer.weight.detach().clone()
    expected = start.clone()
    for step in range(4):
        with torch.no_grad():
            layer.weight += 1.0
        ema.update(layer)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
    torch.testing.assert_close(ema.averages["weight"], expected)


def test_small_steps_are_not_lost_under_bfloat16(layer):
    """In bfloat16 the average of 1.0 towards 1.0078 would not move at all; in float32 it does."""
    layer = layer.to(torch.bfloat16)
    nn.init.ones_(layer.weight)
    ema = EMA(layer, decay=0.999)
    ema.updates = 10**6  # past the warm-up
    nn.init.constant_(layer.weight, 1.0078125)
    for _ in range(100):
        ema.update(layer)
    moved = (ema.averages["weight"].mean() - 1) / 0.0078125
    assert ema.averages["weight"].dtype == torch.float32
    assert moved == pytest.approx(1 - 0.999**100, rel=1e-2)


def test_own_weights_come_back_even_after_an_error(layer):
    ema = EMA(layer, decay=0.9)
    before = ema.averages["weight"].clone()
    nn.init.zeros_(layer.weight)
    with pytest.raises(RuntimeError), ema.applied_to(layer):
        assert torch.equal(layer.weight, before)
        raise RuntimeError
    assert (layer.weight == 0).all()


def test_frozen_parameters_are_left_out_and_saving_keeps_everything(layer, tmp_path):
    layer.bias.requires_grad_(False)
    ema = EMA(layer, decay=0.9)
    ema.update(layer)
    assert set(ema.averages) == {"weight"}
    ema.save(tmp_path / "ema.safetensors")
    other = EMA(layer, decay=0.9)
    other.load(tmp_path / "ema.safetensors")
    assert other.updates == 1 and torch.equal(other.averages["weight"], ema.averages["weight"])


def test_averages_of_another_model_are_refused(layer, tmp_path):
    EMA(nn.Conv1d(1, 1, 1), 0.9).save(tmp_path / "other.safetensors")
    EMA(nn.Sequential(layer), 0.9).save(tmp_path / "nested.safetensors")
    with pytest.raises(ValueError, match="other parameters"):
        EMA(layer, 0.9).load(tmp_path / "nested.safetensors")
    with pytest.raises(ValueError, match="written without EMA"):
        EMA(layer, 0.9).load(tmp_path / "missing.safetensors")
