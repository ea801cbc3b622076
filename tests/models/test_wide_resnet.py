"""Wide ResNets: sizes of the paper's tables, and the shape of a block."""

import pytest
import torch
from torch import nn

from cifarlab.models.wide_resnet import PreActivationBlock, WideResNet


def by_formula(depth: int, widen: int, classes: int) -> int:
    """Convolutions without biases, two numbers a channel for a norm, a 1x1 shortcut where the filters change."""
    total, before = 3 * 9 * 16, 16
    for filters in (16 * widen, 32 * widen, 64 * widen):
        for _ in range((depth - 4) // 6):
            total += 2 * before + 9 * before * filters + 2 * filters + 9 * filters * filters
            total += before * filters if before != filters else 0
            before = filters
    return total + 2 * before + (before + 1) * classes


# Millions: tables 4 and 5 of the paper, for CIFAR-10.
@pytest.mark.parametrize(
    ("depth", "widen", "exact", "millions"),
    [
        (16, 4, 2_748_890, 2.7),
        (28, 5, 9_132_634, 9.1),
        (28, 10, 36_479_194, 36.5),
        (40, 1, 563_930, 0.6),
        (40, 2, 2_243_546, 2.2),
        (40, 4, 8_949_210, 8.9),
        (16, 8, 10_961_370, 11.0),
        (22, 8, 17_158_106, 17.2),
    ],
)
def test_sizes_of_the_paper(depth: int, widen: int, exact: int, millions: float) -> None:
    with torch.device("meta"):
        net = WideResNet(10, depth=depth, widen=widen)
    found = sum(parameter.numel() for parameter in net.parameters())
    assert found == exact == by_formula(depth, widen, 10)
    assert round(found / 1e6, 1) == millions
    along = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    assert len(along) == depth - 3  # with the three 1x1 shortcuts, which the name counts: depth - 1, and the head


def test_a_depth_in_between_is_refused() -> None:
    with pytest.raises(ValueError, match=r"depth=29: allowed is 6 n \+ 4, .* nearest is 28"):
        WideResNet(10, depth=29)


def test_a_block_adds_to_the_picture_as_it_came() -> None:
    """Its branch sees norm and activation first, its identity neither."""
    block = PreActivationBlock(4, 4, 1, 0.0, "relu").eval()
    nn.init.zeros_(block.branch[-1].weight)
    images = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(images), images)
    wider = PreActivationBlock(4, 8, 2, 0.0, "relu").eval()
    nn.init.zeros_(wider.branch[-1].weight)
    nn.init.ones_(wider.shortcut.weight)
    wanted = images.div((1 + 1e-5) ** 0.5).relu()[:, :, ::2, ::2].sum(1, keepdim=True).expand(-1, 8, -1, -1)
    torch.testing.assert_close(wider(images), wanted)


def test_dropout_sits_between_the_convolutions() -> None:
    net = WideResNet(10, depth=10, widen=1, dropout=0.3)
    kinds = [[type(layer).__name__ for layer in block.branch] for block in net.blocks]
    assert kinds == [["SameConv2d", "BatchNorm2d", "ReLU", "Dropout", "SameConv2d"]] * 3
    assert {layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)} == {0.3}
