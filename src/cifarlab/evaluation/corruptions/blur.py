"""Blur: out of focus, through frosted glass, in motion, while zooming. Lengths are of 32 x 32 pictures, and grow with
the picture. float32 ``(B, 3, H, W)`` in [0, 1], in and out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cifarlab.evaluation.corruptions.draws import Draws
from cifarlab.evaluation.corruptions.sampling import (
    border_index,
    clipped_zoom,
    gathered,
    gaussian_blur,
    gaussian_kernel,
    moved,
)

SIDE = 32  # that the constants are for


def scale(images: Tensor) -> float:
    """How much longer a length is than in a picture of 32 pixels."""
    return min(images.shape[2:]) / SIDE


def defocus_blur(images: Tensor, draws: Draws, strength: int) -> Tensor:
    radius, blur = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[strength - 1]
    kernel = _disk(radius * scale(images), blur)
    reach = kernel.shape[0] // 2
    rows, columns = (border_index(size, reach, "on_pixel").to(images.device) for size in images.shape[2:])
    padded = images.index_select(2, rows).index_select(3, columns)
    return F.conv2d(padded, kernel.to(images.device).expand(3, 1, -1, -1), groups=3)


def _disk(radius: float, blur: float) -> Tensor:
    """A disk of the pixels whose middle is within the radius, its rim softened by a Gaussian of 3 x 3 pixels."""
    reach = int(radius) + 1
    places = torch.arange(-reach, reach + 1)
    disk = (places[:, None] ** 2 + places**2 <= radius**2).float()
    line = gaussian_kernel(blur, 1)
    soft = F.conv2d((disk / disk.sum())[None, None], torch.outer(line, line)[None, None], padding=1)
    return soft[0, 0]


def glass_blur(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Each pixel takes the place of one beside it.

    The authors' loop means to swap two pixels, but on arrays of numpy it copies the neighbour, which lies above or to
    the left and has not had its turn: what it does to a picture is one look-up in the picture as it was, as here.
    """
    sigma, times = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[strength - 1]
    sigma, reach = sigma * scale(images), max(1, round(scale(images)))
    batch, _, height, width = images.shape
    shuffled = (gaussian_blur(images, sigma) * 255 + 1e-3).floor() / 255
    rows = torch.arange(height, device=images.device).view(1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, -1)
    inside = (rows > reach) & (columns > reach)
    for _ in range(times):
        dx, dy = (torch.where(inside, draws.integers(-reach, reach, batch, height, width), 0) for _ in range(2))
        shuffled = gathered(shuffled, (rows + dy).clamp(0, height - 1), (columns + dx).clamp(0, width - 1))
    return gaussian_blur(shuffled, sigma)


def motion_blur(images: Tensor, draws: Draws, strength: int) -> Tensor:
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[strength - 1]
    larger = scale(images)
    angles = draws.uniform(-45, 45, len(images))
    return moved(images, angles, radius=round(radius * larger), sigma=sigma * larger)


def zoom_blur(images: Tensor, draws: Draws, strength: int) -> Tensor:
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[strength - 1], 0.01)
    return (images + sum(clipped_zoom(images, factor) for factor in factors)) / (len(factors) + 1)
