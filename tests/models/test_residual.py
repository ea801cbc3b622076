"""The reports' residual CNN."""

from itertools import pairwise

import pytest
import torch

from cifarlab.models.residual import ResidualBlock, ResidualCNN


def parameters_by_hand(blocks: int, kernel_size: int, width: int = 64, classes: int = 10, repeats: int = 1) -> int:
    def convolution(channels_in: int, channels_out: int, side: int) -> int:
        return channels_in * channels_out * side**2 + 2 * channels_out  # batch norm's weight and bias

    widths = [width] + [width * 2 ** min(index, 3) for index in range(blocks) for _ in range(repeats)]
    total = convolution(3, width, 3) + widths[-1] * classes + classes
    for before, after in pairwise(widths):
        total += convolution(before, after, kernel_size) + convolution(after, after, kernel_size)
        total += convolution(before, after, 1) if before != after else 0
    return total


def count(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_default_is_64_128_256_with_1227594_parameters() -> None:
    assert count(ResidualCNN(10)) == parameters_by_hand(3, 3) == 1_227_594


@pytest.mark.parametrize("downsample", ["stride", "pool"])
@pytest.mark.parametrize("blocks", [1, 3, 5])
@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
def test_the_grid_of_report_5(blocks: int, kernel_size: int, downsample: str) -> None:
    net = ResidualCNN(10, blocks=blocks, kernel_size=kernel_size, width=8, downsample=downsample)
    assert count(net) == parameters_by_hand(blocks, kernel_size, width=8)
    maps = net.blocks(net.stem(torch.zeros(1, 3, 32, 32)))
    assert maps.shape == {1: (1, 8, 32, 32), 3: (1, 32, 8, 8), 5: (1, 64, 4, 4)}[blocks]


@pytest.mark.parametrize(("blocks", "repeats"), [(1, 5), (3, 2)])
@pytest.mark.parametrize("downsample", ["stride", "pool"])
def test_repeats_deepen_and_change_neither_width_nor_size(blocks: int, repeats: int, downsample: str) -> None:
    net = ResidualCNN(10, blocks=blocks, repeats=repeats, width=8, downsample=downsample)
    assert count(net) == parameters_by_hand(blocks, 3, width=8, repeats=repeats)
    assert sum(isinstance(module, ResidualBlock) for module in net.modules()) == blocks * repeats
    maps = net.blocks(net.stem(torch.zeros(1, 3, 32, 32)))
    assert maps.shape == {1: (1, 8, 32, 32), 3: (1, 32, 8, 8)}[blocks]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 48)])
def test_strides_take_any_size(size: tuple[int, int]) -> None:
    assert ResidualCNN(7, width=4).eval()(torch.zeros(2, 3, *size)).shape == (2, 7)


def test_block_is_the_written_out_sum() -> None:
    block = ResidualBlock(4, 4, 3, 1, 0.0, "relu").eval()
    images = torch.randn(2, 4, 6, 6)
    first, norm1, _, second, norm2 = block.branch
    expected = torch.relu(norm2(second(torch.relu(norm1(first(images))))) + images)
    torch.testing.assert_close(block(images), expected)


def test_dropout_ends_each_block_and_only_in_training() -> None:
    torch.manual_seed(0)
    net = ResidualCNN(10, width=8, dropout=0.5, activation="silu")  # silu gives no exact zeros of its own
    images = torch.randn(4, 3, 32, 32)
    maps = net.stem(images)
    for block in net.blocks:
        maps = block(maps)
        # Widest deviation: 4 x 32 x 8 x 8 = 8,192 values, 0.5 +- 0.0055; 0.03 is five of these.
        assert (maps == 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    net.eval()
    torch.testing.assert_close(net(images), net(images), rtol=0, atol=0)
