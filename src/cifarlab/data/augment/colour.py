"""Brightness, contrast, saturation and hue, each picture by its own factor.

The arithmetic is torchvision's (`v2.functional.adjust_*` on float pictures), for pixels in ``[0, 255]``. Pixels are
float32 ``(B, 3, H, W)`` and factors float32 ``(B,)`` throughout.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from cifarlab.data.augment.draw import Draw
from cifarlab.data.augment.operation import Operation

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, with torchvision's digits
WHITE = 255.0


class Brightness(Operation):
    """Multiplies each picture by a factor.

    Args:
        strength: the factor is uniform in ``[1 - strength, 1 + strength]``.
    """

    def __init__(self, *, strength: Annotated[float, Ge(0), Le(1)] = 0.3) -> None:
        self.strength = strength

    def __call__(self, pixels: Tensor, draw: Draw) -> Tensor:
        """float32 ``(B, 3, H, W)`` in and out, values in ``[0, 255]``."""
        return brighten(pixels, draw.uniform(1 - self.strength, 1 + self.strength))


class Jitter(Operation):
    """Brightness, contrast, saturation and hue in this order (torchvision's `ColorJitter` shuffles the four).

    Args:
        brightness: factor uniform in ``[1 - brightness, 1 + brightness]``.
        contrast: the same about the picture's mean grey.
        saturation: the same about each pixel's own grey.
        hue: turn of the hue, uniform in ``[-hue, hue]`` of the full circle.
    """

    def __init__(
        self,
        *,
        brightness: Annotated[float, Ge(0), Le(1)] = 0.2,
        contrast: Annotated[float, Ge(0), Le(1)] = 0.2,
        saturation: Annotated[float, Ge(0), Le(1)] = 0.2,
        hue: Annotated[float, Ge(0), Le(0.5)] = 0.02,
    ) -> None:
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    def __call__(self, pixels: Tensor, draw: Draw) -> Tensor:
        """float32 ``(B, 3, H, W)`` in and out, values in ``[0, 255]``."""
        for adjust, strength in ((brighten, self.brightness), (contrast, self.contrast), (saturate, self.saturation)):
            if strength > 0:
                pixels = adjust(pixels, draw.uniform(1 - strength, 1 + strength))
        return turn_hue(pixels, draw.uniform(-self.hue, self.hue)) if self.hue > 0 else pixels


def a_picture(values: Tensor) -> Tensor:
    """``(B,)`` -> ``(B, 1, 1, 1)``, to meet pixels."""
    return values[:, None, None, None]


def blend(pixels: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """``factor`` of the picture and the rest of ``other``, within black and white; above 1 it leads away from it."""
    return torch.lerp(other.expand_as(pixels), pixels, a_picture(factor)).clamp_(0, WHITE)


def brighten(pixels: Tensor, factor: Tensor) -> Tensor:
    """Factor 0 is black, 1 the picture."""
    return (pixels * a_picture(factor)).clamp_(0, WHITE)


def grey(pixels: Tensor) -> Tensor:
    """``(B, 1, H, W)``, each pixel's luma."""
    red, green, blue = pixels.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """Factor 0 is the picture's mean luma everywhere, 1 the picture."""
    return blend(pixels, grey(pixels).mean((1, 2, 3), keepdim=True), factor)


def saturate(pixels: Tensor, factor: Tensor) -> Tensor:
    """Factor 0 is the grey picture, 1 the picture."""
    return blend(pixels, grey(pixels), factor)


def turn_hue(pixels: Tensor, turn: Tensor) -> Tensor:
    """Turns each pixel's hue by a share of the circle, through HSV (value and saturation stay)."""
    red, green, blue = pixels.unbind(1)
    value = pixels.amax(1)
    chroma = value - pixels.amin(1)
    safe = chroma.clamp(min=torch.finfo(chroma.dtype).tiny)  # grey pixels have no hue and keep their colour
    hue = torch.where(value == red, (green - blue) / safe, 2 + (blue - red) / safe)
    hue = torch.where((value == blue) & (value != red) & (value != green), 4 + (red - green) / safe, hue)
    sextant = hue + 6 * turn[:, None, None]
    return torch.stack([value - chroma * ramp(sextant + offset) for offset in (5, 3, 1)], dim=1)


def ramp(sextant: Tensor) -> Tensor:
    """How much of the chroma a primary lacks, in ``[0, 1]``, at each sixth of the hue circle."""
    place = sextant.remainder(6)
    return torch.minimum(place, 4 - place).clamp(0, 1)
