"""VGG-19 for CIFAR against torchvision."""

import pytest
import torch
from torch import nn
from torchvision.models import vgg as torchvision_vgg

from cifarlab.models.vgg import VGG


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("batch_norm", [True, False])
def test_features_equal_torchvision_with_copied_weights(batch_norm: bool) -> None:
    torch.manual_seed(0)
    theirs = torchvision_vgg.make_layers(torchvision_vgg.cfgs["E"], batch_norm=batch_norm).eval()
    for buffer in theirs.buffers():
        if buffer.dtype.is_floating_point:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    ours = VGG(10, batch_norm=batch_norm).eval()
    ours.features.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(ours.features(images), expected, rtol=0, atol=0)
        torch.testing.assert_close(ours(images), ours.head(expected.flatten(1)))


@pytest.mark.parametrize(("batch_norm", "parameters"), [(True, 20_040_522), (False, 20_029_514)])
def test_parameters(batch_norm: bool, parameters: int) -> None:
    net = VGG(10, batch_norm=batch_norm)
    assert count(net) == parameters
    assert sum(isinstance(layer, nn.Conv2d) for layer in net.modules()) == 16


def test_without_batch_norm_he_keeps_the_signal_and_glorot_loses_it() -> None:
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    scale = {}
    for scheme in ("he", "glorot"):
        torch.manual_seed(0)
        net = VGG(10, batch_norm=False, scheme=scheme).eval()
        with torch.no_grad():
            scale[scheme] = net.features(images).std().item()
    assert 0.1 < scale["he"] < 10
    assert scale["glorot"] < scale["he"] / 50


def test_stages_are_one_to_five() -> None:
    with pytest.raises(ValueError, match="has 6 entries; one to five"):
        VGG(10, stages=(1,) * 6)
    assert count(VGG(10, stages=(1, 1, 2, 2, 2))) == 9_231_114  # VGG-11 with batch norm, as kuangliu's
