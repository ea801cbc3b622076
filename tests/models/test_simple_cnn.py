"""The simple CNN of report 5."""

import pytest
import torch
from torch import nn

from cifarlab.models.simple_cnn import SimpleCNN


def test_three_convolutions_and_three_dense_layers() -> None:
    net = SimpleCNN(10)
    convolutions = sum(9 * a * b + b for a, b in [(3, 32), (32, 64), (64, 128)])
    dense = sum(a * b + b for a, b in [(128 * 4 * 4, 256), (256, 128), (128, 10)])
    assert sum(parameter.numel() for parameter in net.parameters()) == convolutions + dense == 651_978
    kinds = [type(layer) for layer in net.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.MaxPool2d), kinds.count(nn.Linear)) == (3, 3, 3)


def test_equals_the_written_out_network() -> None:
    torch.manual_seed(0)
    net = SimpleCNN(10, dropout=0.5).eval()
    weights = list(net.parameters())
    maps = images = torch.randn(2, 3, 32, 32)
    for weight, bias in zip(weights[0:6:2], weights[1:6:2], strict=True):
        maps = nn.functional.max_pool2d(torch.relu(nn.functional.conv2d(maps, weight, bias, padding=1)), 2)
    maps = maps.flatten(1)
    for weight, bias in zip(weights[6:10:2], weights[7:10:2], strict=True):
        maps = torch.relu(maps @ weight.T + bias)
    torch.testing.assert_close(net(images), maps @ weights[10].T + weights[11])


def test_odd_hidden_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden=255 is odd"):
        SimpleCNN(10, hidden=255)
