"""The convolution that keeps the size for odd and even kernels."""

import pytest
import torch
from torch.nn import functional as F

from cifarlab.models.same_convolution import SameConv2d


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernel_size", range(1, 12))
def test_equals_padding_same(kernel_size: int) -> None:
    convolution = SameConv2d(2, 3, kernel_size)
    images = torch.randn(2, 2, 13, 10)
    torch.testing.assert_close(convolution(images), F.conv2d(images, convolution.weight, padding="same"))


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [32, 31])
def test_stride_takes_every_second_pixel_of_the_unstrided_result(kernel_size: int, size: int) -> None:
    strided, plain = SameConv2d(2, 3, kernel_size, stride=2), SameConv2d(2, 3, kernel_size)
    plain.load_state_dict(strided.state_dict())
    images = torch.randn(1, 2, size, size)
    assert strided(images).shape[-1] == (size + 1) // 2
    torch.testing.assert_close(strided(images), plain(images)[:, :, ::2, ::2])


def test_odd_kernels_pad_inside_the_convolution() -> None:
    assert SameConv2d(2, 3, 5).border is None
    assert SameConv2d(2, 3, 5).padding == (2, 2)
    assert SameConv2d(2, 3, 4).border == (1, 2, 1, 2)
