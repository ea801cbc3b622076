"""Reading pictures between and beside their pixels: Gaussian blur, motion, enlarging, displacement."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

# What lies beyond the last pixel: that pixel again, a mirror on it, or a mirror on its outer edge.
Border = Literal["nearest", "on_pixel", "on_edge"]


def gaussian_kernel(sigma: float, radius: int) -> Tensor:
    """float32 ``(2 radius + 1,)``, of sum 1."""
    places = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    return (weights / weights.sum()).float()


def gaussian_blur(images: Tensor, sigma: float, *, truncate: float = 4.0, border: Border = "nearest") -> Tensor:
    """As scikit-image and SciPy blur: cut at ``truncate`` deviations.

    Args:
        images: float ``(B, C, H, W)``.
        sigma: in pixels; 0 changes nothing.
        truncate: in deviations.
        border: `nearest` or `on_edge`.
    """
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return images
    kernel = gaussian_kernel(sigma, radius).to(images.device)
    channels = images.shape[1]
    for axis, weights in ((2, kernel.view(1, 1, -1, 1)), (3, kernel.view(1, 1, 1, -1))):
        places = border_index(images.shape[axis], radius, border).to(images.device)
        images = F.conv2d(images.index_select(axis, places), weights.expand(channels, 1, -1, -1), groups=channels)
    return images


def border_index(size: int, radius: int, border: Border) -> Tensor:
    """int64 ``(size + 2 radius,)``: which pixel stands at each place of a padded row."""
    places = torch.arange(-radius, size + radius)
    if border == "nearest":
        return places.clamp(0, size - 1)
    if border == "on_edge":
        places = places % (2 * size)
        return torch.where(places < size, places, 2 * size - 1 - places)
    places = places % max(2 * size - 2, 1)
    return torch.where(places < size, places, 2 * size - 2 - places)


def moved(images: Tensor, angles: Tensor, *, radius: int, sigma: float) -> Tensor:
    """Half a Gaussian along a line, as ImageMagick's MotionBlurImage has it; the last pixel goes on beyond the edge.

    Args:
        images: float ``(B, C, H, W)``.
        angles: float ``(B,)``, in degrees.
        radius: pixels; the line is ``2 radius + 1`` long.
        sigma: of the Gaussian, pixels.
    """
    length = 2 * radius + 1
    weights = [math.exp(-(step**2) / (2 * sigma**2)) for step in range(length)]
    height, width = images.shape[2:]
    rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
    slope_y, slope_x = torch.sin(angles * math.pi / 180), torch.cos(angles * math.pi / 180)
    blurred = torch.zeros_like(images)
    for step, weight in enumerate(weights):
        down, right = (torch.ceil(step * slope - 0.5).long()[:, None] for slope in (slope_y, slope_x))
        y, x = (rows + down).clamp(0, height - 1), (columns + right).clamp(0, width - 1)
        blurred += weight / sum(weights) * gathered(images, y[:, :, None], x[:, None, :])
    return blurred


def gathered(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """``images[b, :, y[b], x[b]]`` for all pixels; ``y`` and ``x`` int64, broadcast to ``(B, H, W)``."""
    batch, channels, height, width = images.shape
    places = (y * width + x).expand(batch, height, width).reshape(batch, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, places).view_as(images)


def clipped_zoom(images: Tensor, factor: float) -> Tensor:
    """The middle enlarged to the size of the whole, bilinear with the corner pixels in their places."""
    height, width = images.shape[2:]
    part_y, part_x = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - part_y) // 2, (width - part_x) // 2
    part = images[:, :, top : top + part_y, left : left + part_x]
    size = (round(part_y * factor), round(part_x * factor))
    large = F.interpolate(part, size=size, mode="bilinear", align_corners=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return large[:, :, top : top + height, left : left + width]


def displaced(images: Tensor, x: Tensor, y: Tensor, border: Literal["on_pixel", "on_edge"]) -> Tensor:
    """Bilinear values at ``(x, y)``, in pixels, float ``(B, H, W)`` each; mirrored beyond the edge."""
    height, width = images.shape[2:]
    on_pixel = border == "on_pixel"
    if on_pixel:
        grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
    else:
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=on_pixel)
