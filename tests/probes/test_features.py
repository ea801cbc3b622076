"""Feature maps are what a forward pass by hand gives."""

import numpy as np
import torch
from torch import nn

from cifarlab.models.tiny_vgg import TinyVGG
from cifarlab.probes.features import feature_maps

IMAGE = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))


class Shared(nn.Module):
    """One activation at two places, working in place; a dropout; a head."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.activation = nn.ReLU(inplace=True)
        self.dropout, self.head = nn.Dropout(0.9), nn.Linear(5, 2)

    def forward(self, images):
        maps = self.dropout(self.activation(self.first(images)))
        return self.head(self.activation(self.second(maps)).mean((2, 3)))


def test_maps_are_those_of_a_forward_pass_by_hand():
    net = TinyVGG(10, width=4, blocks=1, dropout=0.5).train()
    maps = feature_maps(net, IMAGE)
    assert list(maps) == ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "grid"]
    kinds = [layer.kind for layer in maps.values()]
    assert kinds == ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d", "AdaptiveAvgPool2d"]
    values = IMAGE[None]
    for place, layer in enumerate(net.eval().blocks[:5]):
        values = layer(values)
        assert np.array_equal(maps[f"blocks.{place}"].maps, values[0].detach().numpy())
    assert maps["grid"].maps.shape == (4, 16, 16)


def test_a_layer_used_twice_has_two_entries_and_in_place_work_changes_none_before_it():
    net = Shared().eval()
    maps = feature_maps(net, IMAGE)
    assert list(maps) == ["first", "activation", "second", "activation (2)"]
    first = net.first(IMAGE[None])
    second = net.second(first.relu())
    assert np.array_equal(maps["first"].maps, first[0].detach().numpy())
    assert maps["first"].maps.min() < 0
    assert np.array_equal(maps["activation (2)"].maps, second[0].relu().detach().numpy())


def test_the_record_can_be_narrowed_and_ended():
    net = TinyVGG(10, width=4, blocks=2)
    assert list(feature_maps(net, IMAGE, below="grid")) == ["grid"]
    assert list(feature_maps(net, IMAGE, stop_at={"blocks.2"})) == ["blocks.0", "blocks.1"]
    # A module without maps of its own ends it too.
    shared = Shared()
    assert list(feature_maps(shared, IMAGE, stop_at={"dropout"})) == ["first", "activation"]


def test_no_hook_stays_behind():
    net = Shared()
    feature_maps(net, IMAGE)
    assert not any(module._forward_hooks for module in net.modules())
