"""Highway network: gated shortcut with a bias towards carrying."""

import math

import pytest
import torch
from torch import nn

from cifarlab.models.highway import Highway, HighwayLayer


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_parameters_by_hand() -> None:
    total = 64 * 10 + 10
    for before, width in [(3, 16), (16, 32), (32, 64)]:
        entry = 9 * before * width + 2 * width
        layer = (9 * width * width + 2 * width) + (9 * width * width + width)
        total += entry + 10 * layer
    assert count(Highway(10)) == total == 995_386
    # Without batch norm each convolution has a bias instead of a scale and a shift: one less a channel.
    assert count(Highway(10, batch_norm=False)) == total - 11 * (16 + 32 + 64)


def test_layer_is_the_papers_equation() -> None:
    torch.manual_seed(0)
    layer = HighwayLayer(4, False, "tanh")
    images = torch.randn(2, 4, 6, 6)
    gate = torch.sigmoid(layer.gate(images))
    expected = torch.tanh(layer.transform[0](images)) * gate + images * (1 - gate)
    torch.testing.assert_close(layer(images), expected)


@pytest.mark.parametrize("carry_bias", [-3.0, -1.0])
def test_gates_start_at_their_bias(carry_bias: float) -> None:
    net = Highway(10, layers=2, carry_bias=carry_bias)
    layers = [module for module in net.modules() if isinstance(module, HighwayLayer)]
    assert len(layers) == 6
    for layer in layers:
        gate = torch.sigmoid(layer.gate(torch.zeros(1, layer.gate.in_channels, 4, 4)))
        torch.testing.assert_close(gate, torch.full_like(gate, 1 / (1 + math.exp(-carry_bias))))


def test_a_strong_carry_bias_makes_a_deep_stage_nearly_an_identity() -> None:
    torch.manual_seed(0)
    net = Highway(10, layers=10, batch_norm=False, carry_bias=-10.0).eval()
    images = torch.rand(2, 16, 8, 8)
    carried = images
    for layer in net.stages[0]:
        if isinstance(layer, HighwayLayer):
            carried = layer(carried)
    # sigmoid(-10) = 5e-5 in each of 10 layers, some of it multiplied by what the gate's weights add.
    assert (carried - images).abs().max().item() < 0.02
