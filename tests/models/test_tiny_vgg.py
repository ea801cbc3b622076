"""Tiny VGG of report 4."""

import pytest
import torch
from torch import nn

from cifarlab.models.tiny_vgg import TinyVGG


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_default_has_591274_parameters() -> None:
    convolutions = sum(9 * a * b + b for a, b in [(3, 32), (32, 32), (32, 64), (64, 64)])
    dense = 64 * 8 * 8 * 128 + 128 + 128 * 10 + 10
    assert count(TinyVGG(10)) == convolutions + dense == 591_274


def test_batch_norm_replaces_each_bias_by_scale_and_shift() -> None:
    plain, normed = TinyVGG(10), TinyVGG(10, batch_norm=True)
    assert count(normed) - count(plain) == 32 + 32 + 64 + 64
    kinds = [type(layer) for layer in normed.blocks[:3]]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]


@pytest.mark.parametrize(("blocks", "shape"), [(1, (32, 16)), (2, (64, 8)), (3, (128, 4)), (4, (256, 2))])
def test_blocks_double_the_filters_and_halve_the_size(blocks: int, shape: tuple[int, int]) -> None:
    net = TinyVGG(10, blocks=blocks)
    channels, side = shape
    assert net.blocks(torch.zeros(1, 3, 32, 32)).shape == (1, channels, side, side)
    assert net.dense[0].in_features == channels * side**2


def test_grid_changes_nothing_at_32_pixels_and_averages_at_others() -> None:
    net = TinyVGG(10)
    maps = torch.randn(2, 64, 8, 8)
    torch.testing.assert_close(net.grid(maps), maps, rtol=0, atol=0)
    assert net(torch.zeros(2, 3, 48, 64)).shape == (2, 10)


def test_equals_the_written_out_network() -> None:
    torch.manual_seed(0)
    net = TinyVGG(10, activation="tanh").eval()
    weights = list(net.parameters())
    maps = images = torch.randn(2, 3, 32, 32)
    for index in range(4):
        maps = torch.tanh(nn.functional.conv2d(maps, weights[2 * index], weights[2 * index + 1], padding=1))
        if index % 2:
            maps = nn.functional.max_pool2d(maps, 2)
    hidden = torch.tanh(maps.flatten(1) @ weights[8].T + weights[9])
    torch.testing.assert_close(net(images), hidden @ weights[10].T + weights[11])
