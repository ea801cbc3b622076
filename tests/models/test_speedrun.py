"""The fast net: whitening, identity start, scaled head."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cifarlab.models.speedrun import Speedrun


def correlated_pictures() -> torch.Tensor:
    """Smoothed noise: neighbouring pixels and channels resemble each other, as in photographs."""
    noise = torch.randn(64, 3, 34, 34, generator=torch.Generator().manual_seed(0))
    smooth = F.avg_pool2d(noise, 3, stride=1)
    return smooth + 0.5 * smooth.mean(1, keepdim=True)


def test_parameters_by_hand_and_those_that_do_not_learn() -> None:
    net = Speedrun(10)
    total = 24 * 12 + 24 + 256 * 10
    for before, width in [(24, 64), (64, 256), (256, 256)]:
        total += 9 * before * width + 9 * width * width + 4 * width
    assert sum(parameter.numel() for parameter in net.parameters()) == total == 1_972_792
    frozen = sum(parameter.numel() for parameter in net.parameters() if not parameter.requires_grad)
    assert frozen == 288 + 2 * (64 + 256 + 256)


def test_whitened_outputs_are_uncorrelated_with_mean_square_one() -> None:
    images = correlated_pictures()
    net = Speedrun(10, widths=(4, 4, 4))
    net.fit_to_images(images)
    maps = net.whiten(images).transpose(0, 1).reshape(24, -1)
    moments = maps @ maps.T / maps.shape[1]
    patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 12)
    values = torch.linalg.eigvalsh(patches.T @ patches / len(patches))
    expected = torch.diag(values / (values + 5e-4))
    torch.testing.assert_close(moments[:12, :12], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(moments[:12, 12:], -expected, rtol=0, atol=1e-4)
    assert not net.whiten.weight.requires_grad
    assert not net.whiten.bias.any()


def test_whitening_stays_finite_where_rounding_leaves_variances_below_zero() -> None:
    grey = 1_000 * torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    patches = F.unfold(grey, 2).transpose(1, 2).reshape(-1, 12)
    assert torch.linalg.eigvalsh(patches.T @ patches / len(patches)).min() < -5e-4
    net = Speedrun(10, widths=(4, 4, 4))
    net.fit_to_images(grey)
    assert bool(net.whiten.weight.isfinite().all())


def test_whitening_looks_at_the_first_5000_pictures() -> None:
    first, second = Speedrun(10, widths=(4, 4, 4)), Speedrun(10, widths=(4, 4, 4))
    images = torch.randn(5_010, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    first.fit_to_images(images)
    second.fit_to_images(images[:5_000])
    assert torch.equal(first.whiten.weight, second.whiten.weight)


def test_convolutions_start_by_handing_their_channels_on() -> None:
    torch.manual_seed(0)
    net = Speedrun(10, depths=(2, 2, 3))
    for group in net.groups:
        for layer in group.modules():
            if isinstance(layer, nn.Conv2d):
                maps = torch.randn(1, layer.in_channels, 5, 5)
                torch.testing.assert_close(layer(maps)[:, : layer.in_channels], maps)
                beyond = layer.weight[layer.in_channels :]
                assert int((beyond == 0).sum()) < 5  # of 590,000 uniform numbers of 24 bits a few are 0


def test_maps_at_32_pixels_are_those_of_the_paper() -> None:
    net = Speedrun(10)
    maps = net.whiten(torch.randn(2, 3, 32, 32))
    shapes = [tuple(maps.shape[1:])]
    for group in net.groups:
        maps = group(maps)
        shapes.append(tuple(maps.shape[1:]))
    assert shapes == [(24, 31, 31), (64, 15, 15), (256, 7, 7), (256, 3, 3)]
    assert torch.equal(net.pool(maps), F.max_pool2d(maps, 3))


def test_a_third_convolution_comes_with_a_shortcut_around_the_last_two() -> None:
    torch.manual_seed(0)
    net = Speedrun(10, widths=(8, 16, 32), depths=(2, 2, 3))
    shallow = Speedrun(10, widths=(8, 16, 32))
    more = sum(parameter.numel() for parameter in net.parameters()) - sum(map(torch.numel, shallow.parameters()))
    assert more == 9 * 32 * 32 + 2 * 32
    group = net.groups[2]
    convolutions = [layer for layer in group.modules() if isinstance(layer, nn.Conv2d)]
    maps = torch.randn(4, 16, 6, 6)

    def normalised(maps: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(maps, None, None, training=True, eps=1e-12)

    first = F.gelu(normalised(F.max_pool2d(convolutions[0](maps), 2)))
    second = F.gelu(normalised(convolutions[1](first)))
    torch.testing.assert_close(group(maps), F.gelu(first + normalised(convolutions[2](second))))


def test_head_is_divided_by_its_width() -> None:
    torch.manual_seed(0)
    net = Speedrun(10, widths=(8, 16, 32)).eval()
    images = torch.randn(2, 3, 32, 32)
    maps = net.pool(net.groups(net.activation(net.whiten(images)))).flatten(1)
    torch.testing.assert_close(net(images), maps @ net.head.weight.T / 32)
    assert Speedrun(100).head.weight.std().item() == pytest.approx(1, rel=0.03)


def test_batch_norm_learns_a_shift_only_and_forgets_fast() -> None:
    norm = Speedrun(10).groups[0][2]
    norm(torch.full((4, 64, 2, 2), 10.0))
    torch.testing.assert_close(norm.running_mean, torch.full((64,), 4.0))
    assert (norm.weight.requires_grad, norm.bias.requires_grad) == (False, True)
