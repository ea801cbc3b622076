"""What is measured has its output layer in float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cifarlab.training.step.head import head_in_float32


class Net(nn.Module):
    """A hidden layer and a head that is scaled, for 40 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(12, 64)
        self.head = nn.Linear(64, 40)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(images.flatten(1)).relu()) / 4


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def ties(logits: torch.Tensor) -> int:
    """Equal neighbours in the sorted rows."""
    ordered = logits.float().sort(dim=1).values
    return int((ordered.diff(dim=1) == 0).sum())


def test_the_head_alone_is_in_float32(net: Net) -> None:
    images = torch.randn(50, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = net(images)
        with head_in_float32(net):
            exact = net(images)
        hidden = net.hidden(images.flatten(1)).relu()
    assert (plain.dtype, exact.dtype, hidden.dtype) == (torch.bfloat16, torch.float32, torch.bfloat16)
    expected = (hidden.float() @ net.head.weight.T + net.head.bias) / 4
    torch.testing.assert_close(exact, expected)
    assert ties(plain) > 20
    assert ties(exact) == 0
    assert not net.head._forward_hooks


def test_in_float32_nothing_changes(net: Net) -> None:
    images = torch.randn(5, 3, 2, 2)
    with head_in_float32(net):
        inside = net(images)
    assert torch.equal(inside, net(images))


def test_weights_in_half_precision_are_multiplied_in_float32(net: Net) -> None:
    half = net.to(torch.bfloat16)
    with head_in_float32(half):
        assert half(torch.randn(5, 3, 2, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_a_net_without_a_linear_head_is_left_as_it_is() -> None:
    net = nn.Sequential(nn.Conv2d(3, 10, 2), nn.Flatten())
    with head_in_float32(net):
        assert net(torch.zeros(1, 3, 2, 2)).shape == (1, 10)
    net.get_classifier = lambda: net[0]  # timm's word for it: here a convolution
    with head_in_float32(net):
        assert not net[0]._forward_hooks
