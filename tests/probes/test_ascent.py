"""Gradient ascent on a logit, against arithmetic by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.inception import Inception3

from cifarlab.models.tiny_vgg import TinyVGG
from cifarlab.probes.ascent import TORCHVISION_MEAN, TORCHVISION_STD, climb

RAW = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def start(size=(4, 4), seed=7):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed))[0]


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).requires_grad_(False)


def test_steps_on_a_linear_net_equal_those_by_hand(linear):
    found = climb(linear, 2, size=(4, 4), steps=3, lr=0.1, seed=7, **RAW)
    gradient = linear[1].weight[2].detach().view(3, 4, 4)
    pixels, scores = start(), []
    for _ in range(3):
        scores.append(float(linear(pixels[None])[0, 2]))
        pixels = (pixels + 0.1 * gradient).clamp(0, 1)
    scores.append(float(linear(pixels[None])[0, 2]))
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
    np.testing.assert_allclose(found.image, pixels.permute(1, 2, 0).numpy(), atol=1e-6)


def test_the_net_sees_normalised_pixels(linear):
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.2, 0.5)
    found = climb(linear, 0, size=(4, 4), steps=1, lr=0.1, seed=7, mean=mean, std=std)
    shift, scale = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    weights = linear[1].weight[0].detach().view(3, 4, 4)
    pixels = (start() + 0.1 * weights / scale).clamp(0, 1)
    np.testing.assert_allclose(found.image, pixels.permute(1, 2, 0).numpy(), atol=1e-6)
    np.testing.assert_allclose(found.scores[1], float(linear(((pixels - shift) / scale)[None])[0, 0]), rtol=1e-5)


def test_torchvisions_turn_of_the_input_is_its_own():
    pixels = torch.rand(2, 3, 4, 4)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (TORCHVISION_MEAN, TORCHVISION_STD))
    turned = Inception3._transform_input(SimpleNamespace(transform_input=True), pixels)
    torch.testing.assert_close((pixels - mean) / std, turned)


def test_the_score_of_a_real_net_rises_and_its_weights_stay():
    torch.manual_seed(1)
    net = TinyVGG(10, width=4, blocks=1, hidden=16)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = climb(net, 3, size=(8, 8), steps=30, lr=0.1, seed=0, **RAW)
    assert found.scores.shape == (31,)
    assert found.scores[-1] > found.scores[1:10].max()  # the start itself is not clipped and may lie higher
    assert 0 <= found.image.min() < found.image.max() <= 1
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_seed_decides_the_picture(linear):
    one, again, other = (climb(linear, 0, size=(4, 4), steps=2, lr=0.1, seed=seed, **RAW) for seed in (0, 0, 1))
    assert np.array_equal(one.image, again.image)
    assert not np.array_equal(one.image, other.image)


def test_a_class_that_the_net_lacks_is_named(linear):
    with pytest.raises(ValueError, match="label=5: allowed: an integer from 0 to 4"):
        climb(linear, 5, size=(4, 4), steps=1, lr=0.1, seed=0, **RAW)
