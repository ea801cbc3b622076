"""Tiny ResNet, R4.9 to the letter."""

import torch
from torch import nn

from cifarlab.models.tiny_resnet import TinyResNet


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_parameters_by_hand() -> None:
    stem = 3 * 32 * 49 + 2 * 32
    blocks = sum(9 * a * b + b for a, b in [(32, 32), (32, 32), (32, 64), (64, 64)]) + 32 * 64
    dense = 64 * 4 * 4 * 128 + 128 + 128 * 10 + 10
    assert count(TinyResNet(10)) == stem + blocks + dense == 213_226
    assert count(TinyResNet(10, batch_norm=True)) == 213_226 + 32 + 32 + 64 + 64


def test_stem_as_the_report_says_and_no_pooling_in_the_blocks() -> None:
    net = TinyResNet(10)
    assert [type(layer).__name__ for layer in net.stem] == ["SameConv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    assert net.stem[0].kernel_size == (7, 7)
    maps = net.stem(torch.randn(2, 3, 32, 32))
    assert maps.shape == (2, 32, 16, 16)
    assert net.blocks(maps).shape == (2, 64, 16, 16)


def test_average_pool_of_size_4_at_32_pixels() -> None:
    maps = torch.randn(2, 64, 16, 16)
    torch.testing.assert_close(TinyResNet(10).pool(maps), nn.functional.avg_pool2d(maps, 4))


def test_last_activation_follows_the_addition() -> None:
    torch.manual_seed(0)
    block = TinyResNet(10).blocks[0]
    images = torch.randn(2, 32, 8, 8)
    first, _, second = block.branch
    expected = torch.relu(second(torch.relu(first(images))) + images)
    torch.testing.assert_close(block(images), expected)
