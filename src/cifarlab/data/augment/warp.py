"""Rotation, zoom and sub-pixel shift: one affine map a picture, sampled once."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional as F

from cifarlab.data.augment.draw import Draw


class Rotation:
    """Turns each picture about its centre, either way; what comes in from outside is black.

    Args:
        degrees: the angle is uniform in ``[-degrees, degrees]``.
    """

    def __init__(self, *, degrees: Annotated[float, Ge(0), Le(180)] = 15.0) -> None:
        self.degrees = degrees

    def matrix(self, draw: Draw) -> Tensor:
        """float32 ``(B, 3, 3)`` from output to input pixels, both measured from the centre."""
        return rotation(torch.deg2rad(draw.uniform(-self.degrees, self.degrees)))


class Zoom:
    """Enlarges each picture about its centre.

    Args:
        largest: the factor is uniform in ``[1, largest]``; 1.5 zooms in by up to 50 %.
    """

    def __init__(self, *, largest: Annotated[float, Ge(1), Le(4)] = 1.5) -> None:
        self.largest = largest

    def matrix(self, draw: Draw) -> Tensor:
        """float32 ``(B, 3, 3)`` from output to input pixels, both measured from the centre."""
        shrink = 1 / draw.uniform(1, self.largest)
        return linear(shrink, torch.zeros_like(shrink), torch.zeros_like(shrink), shrink)


class Translation:
    """Shifts each picture by any distance, parts of a pixel too (`crop` shifts by whole ones); outside is black.

    Args:
        pixels: the shift along each axis is uniform in ``[-pixels, pixels]``.
    """

    def __init__(self, *, pixels: Annotated[float, Ge(0), Le(256)] = 4.0) -> None:
        self.pixels = pixels

    def matrix(self, draw: Draw) -> Tensor:
        """float32 ``(B, 3, 3)`` from output to input pixels, both measured from the centre."""
        return shift(torch.stack([draw.uniform(-self.pixels, self.pixels) for _ in range(2)], dim=1))


def linear(xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor) -> Tensor:
    """``(B, 3, 3)`` of a map that keeps the centre, from its four entries ``(B,)``; x comes first."""
    matrix = torch.eye(3, device=xx.device).repeat(len(xx), 1, 1)
    matrix[:, :2, :2] = torch.stack([xx, xy, yx, yy], dim=1).view(-1, 2, 2)
    return matrix


def rotation(radians: Tensor) -> Tensor:
    """``(B, 3, 3)`` that turns the picture clockwise by ``radians`` ``(B,)``."""
    cosine, sine = radians.cos(), radians.sin()
    return linear(cosine, sine, -sine, cosine)


def shift(pixels: Tensor) -> Tensor:
    """``(B, 3, 3)`` that moves the picture right and down by ``pixels`` ``(B, 2)``, x first."""
    matrix = torch.eye(3, device=pixels.device).repeat(len(pixels), 1, 1)
    matrix[:, :2, 2] = -pixels
    return matrix


def warp(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Samples each picture bilinearly through its own map; outside is black.

    Args:
        pixels: float32 ``(B, 3, H, W)``.
        matrices: float32 ``(B, 3, 3)`` from output to input pixels, both measured from the centre.
    """
    height, width = pixels.shape[-2:]
    xx, xy, x0 = matrices[:, 0].unbind(1)
    yx, yy, y0 = matrices[:, 1].unbind(1)
    # grid_sample counts in halves of the side
    theta = [xx, xy * (height / width), x0 * (2 / width), yx * (width / height), yy, y0 * (2 / height)]
    grid = F.affine_grid(torch.stack(theta, dim=1).view(-1, 2, 3), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels.contiguous(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
