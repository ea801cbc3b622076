"""Grad-CAM and integrated gradients against nets whose answers are known, and captum's absence."""

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.models.resnet import ResNet
from cifarlab.probes.explanations import attribute, gradcam, mapping_layers


class Corners(nn.Module):
    """Logit 0 sums the maps of channel 0, logit 1 twice those of channel 1 less those of channel 0."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(3, 2, 1, bias=False)
        self.maps.weight.data = torch.eye(3)[:2, :, None, None].clone()

    def forward(self, images):
        first, second = self.maps(images).sum((2, 3)).unbind(1)
        return torch.stack([first, 2 * second - first], dim=1)


def test_gradcam_is_the_weighted_sum_of_the_maps_without_what_speaks_against():
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = gradcam(Corners(), images, torch.tensor([0, 1]), layer="maps")
    wanted = torch.stack([images[0, 0], 2 * images[1, 1] - images[1, 0]]).relu()
    assert found.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(found), wanted)


def test_gradcam_is_enlarged_to_the_picture():
    class Halved(Corners):
        def forward(self, images):
            return super().forward(nn.functional.avg_pool2d(images, 2))

    images = torch.ones(1, 3, 8, 8)
    assert gradcam(Halved(), images, torch.tensor([0]), layer="maps") == pytest.approx(np.ones((1, 8, 8)))


def test_integrated_gradients_of_a_linear_net_are_weight_times_picture_and_add_up():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    images, targets = torch.randn(3, 3, 4, 4), torch.tensor([0, 2, 4])
    found = attribute(net, images, targets)
    weights = net[1].weight.detach()[targets].view(3, 3, 4, 4)
    torch.testing.assert_close(torch.from_numpy(found.maps), (weights * images).sum(1), rtol=1e-4, atol=1e-5)
    assert np.abs(found.gap).max() < 1e-4


def test_the_maps_of_a_real_net_add_up_to_the_logits_difference():
    torch.manual_seed(0)
    net = ResNet(10, stages=(1, 1), width=8).eval()
    images, targets = torch.randn(2, 3, 16, 16), torch.tensor([3, 7])
    found = attribute(net, images, targets)
    with torch.no_grad():
        logits = net(images) - net(torch.zeros(1, 3, 16, 16))
    difference = logits[torch.arange(2), targets].numpy()
    assert found.maps.sum((1, 2)) == pytest.approx(difference, abs=0.02 * float(np.abs(difference).max()))
    assert found.gap == pytest.approx(found.maps.sum((1, 2)) - difference, abs=1e-4)


def test_the_last_convolution_is_the_last_that_is_used():
    net = ResNet(10, stages=(1, 1), width=4)
    names = mapping_layers(net, torch.randn(1, 3, 8, 8))
    assert (names[0], names[-1]) == ("stem.0", "blocks.1.shortcut.0")
    assert len(names) == 6
    with pytest.raises(ValueError, match="no convolution whose maps are larger than one pixel"):
        mapping_layers(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), torch.randn(1, 3, 4, 4))


def test_a_layer_without_maps_is_refused_with_those_that_have_some():
    net = ResNet(10, stages=(1,), width=4)
    for layer in ("head", "nothing"):
        with pytest.raises(ValueError, match=rf"layer={layer}: .*allowed: stem\.0, "):
            gradcam(net, torch.randn(1, 3, 8, 8), torch.tensor([0]), layer=layer)
