"""The ConvNet of report 2."""

import pytest
import torch
from torch import nn

from cifarlab.models.convnet import ConvNet


def test_parameters_by_hand() -> None:
    convolutions = sum(9 * a * b + b + 2 * b for a, b in [(3, 32), (32, 32), (32, 64), (64, 64)])
    dense = 64 * 8 * 8 * 512 + 512 + 2 * 512 + 512 * 10 + 10
    assert sum(parameter.numel() for parameter in ConvNet(10).parameters()) == convolutions + dense == 2_169_770


@pytest.mark.parametrize(("activation", "kind"), [("leaky_relu", "LeakyReLU"), ("tanh", "Tanh")])
def test_layers_in_the_order_of_the_report(activation: str, kind: str) -> None:
    net = ConvNet(10, activation=activation)
    convolution = ["Conv2d", "BatchNorm2d", kind]
    block = [*convolution, *convolution, "MaxPool2d", "Dropout"]
    assert [type(layer).__name__ for layer in net.features] == block + block
    assert [type(layer).__name__ for layer in net.dense] == ["Linear", "BatchNorm1d", kind, "Dropout"]
    rates = [layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)]
    assert rates == [0.25, 0.25, 0.5]


def test_activation_changes_the_function() -> None:
    leaky, tanh = ConvNet(10).eval(), ConvNet(10, activation="tanh").eval()
    tanh.load_state_dict(leaky.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(leaky(images), tanh(images))
    assert tanh.dense(torch.full((1, 4096), 1e3)).abs().max().item() == pytest.approx(1)
