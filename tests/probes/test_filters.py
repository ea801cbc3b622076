"""The first filters are the first convolution's weights."""

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.models.residual import ResidualCNN
from cifarlab.probes.filters import first_convolution, first_filters


def test_first_filters_are_the_stem_of_the_net():
    net = ResidualCNN(10, width=4)
    assert first_convolution(net)[0] == "stem.0"
    assert np.array_equal(first_filters(net), net.stem[0].weight.detach().numpy())


def test_half_precision_comes_out_as_float32():
    net = nn.Sequential(nn.Conv2d(3, 2, 3)).to(torch.bfloat16)
    filters = first_filters(net)
    assert filters.dtype == np.float32
    assert np.array_equal(filters, net[0].weight.detach().float().numpy())


def test_a_net_without_a_convolution_is_refused():
    with pytest.raises(ValueError, match="Sequential has no convolution"):
        first_filters(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))
