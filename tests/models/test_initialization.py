"""The scale of random weights and what it does to signals."""

import math

import pytest
import torch
from torch import nn

from cifarlab.models.initialization import initialize, output_layer
from cifarlab.models.residual import ResidualCNN


def plain_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(16, 64, 3), nn.BatchNorm2d(64), nn.Linear(300, 200), nn.Linear(200, 50))


@pytest.mark.parametrize(("activation", "gain"), [("relu", math.sqrt(2)), ("gelu", math.sqrt(2)), ("tanh", 5 / 3)])
def test_he_deviations(activation: str, gain: float) -> None:
    torch.manual_seed(0)
    net = plain_net()
    initialize(net, activation)
    # n weights estimate a deviation within 1 / sqrt(2 n): 0.7 % of 9,216, so 3 % is four of these.
    assert net[0].weight.std().item() == pytest.approx(gain / math.sqrt(16 * 9), rel=0.03)
    assert net[2].weight.std().item() == pytest.approx(gain / math.sqrt(300), rel=0.03)
    assert net[3].weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert all(bool((layer.bias == 0).all()) for layer in net)


def test_glorot_is_uniform_within_its_bound() -> None:
    torch.manual_seed(0)
    net = plain_net()
    initialize(net, scheme="glorot")
    bound = math.sqrt(6 / (200 + 50))
    assert net[3].weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert net[3].weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_first_loss_is_that_of_a_uniform_guess() -> None:
    torch.manual_seed(0)
    logits = ResidualCNN(10)(torch.randn(16, 3, 32, 32))
    loss = nn.functional.cross_entropy(logits, torch.arange(16) % 10)
    assert loss.item() == pytest.approx(math.log(10), abs=0.1)


def test_output_layer_is_the_last_linear_one() -> None:
    net = plain_net()
    assert output_layer(net) is net[3]
    with pytest.raises(ValueError, match="Sequential has no linear layer"):
        output_layer(nn.Sequential(nn.Conv2d(3, 3, 1)))
