"""A few operations a picture, picked at random from the list of RandAugment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional as F

from cifarlab.data.augment.colour import WHITE, blend, brighten, contrast, saturate
from cifarlab.data.augment.draw import Draw
from cifarlab.data.augment.operation import Operation
from cifarlab.data.augment.warp import linear, rotation, shift, warp

LARGEST_MAGNITUDE = 30


class RandAugment(Operation):
    """`operations` random operations on each picture, all of one magnitude (Cubuk et al. 2019, arXiv 1909.13719).

    The list and its ranges are torchvision's; shifts and turns are sampled bilinearly here. Magnitude 0 leaves a
    picture as it is but for `autocontrast` and `equalize`, which have no strength.

    Args:
        operations: operations a picture, drawn with replacement.
        magnitude: strength on the paper's scale of 0 to 30; the sign of a turn, shift or factor is a fair coin.
    """

    def __init__(
        self,
        *,
        operations: Annotated[int, Ge(1), Le(10)] = 2,
        magnitude: Annotated[float, Ge(0), Le(LARGEST_MAGNITUDE)] = 9.0,
    ) -> None:
        self.operations = operations
        self.magnitude = magnitude

    def __call__(self, pixels: Tensor, draw: Draw) -> Tensor:
        """float32 ``(B, 3, H, W)`` in and out, values in ``[0, 255]``."""
        apply = to_all if pixels.is_cuda else to_the_chosen
        for _ in range(self.operations):
            choice = draw.integers(len(OPERATIONS))
            sign = 1 - 2 * draw.coins(0.5).float()
            pixels = apply(pixels, choice, sign * (self.magnitude / LARGEST_MAGNITUDE))
        return pixels


def to_the_chosen(pixels: Tensor, choice: Tensor, amount: Tensor) -> Tensor:
    """Each operation on its own pictures alone; on a GPU the host would wait there to hear how many these are."""
    result = torch.empty_like(pixels)
    for number, operation in enumerate(OPERATIONS.values()):
        chosen = (choice == number).nonzero().squeeze(1)
        if len(chosen) > 0:
            result[chosen] = operation(pixels[chosen], amount[chosen])
    return result


def to_all(pixels: Tensor, choice: Tensor, amount: Tensor) -> Tensor:
    """Each operation on all pictures, of which the chosen are kept: the same pixels, in tensors of fixed shapes."""
    result = pixels
    for number, operation in enumerate(OPERATIONS.values()):
        chosen = (choice == number)[:, None, None, None]
        result = torch.where(chosen, operation(pixels, amount), result)
    return result


def shear_x(pixels: Tensor, amount: Tensor) -> Tensor:
    """Slants by at most 0.3 pixels a row."""
    one, none = torch.ones_like(amount), torch.zeros_like(amount)
    return warp(pixels, linear(one, 0.3 * amount, none, one))


def shear_y(pixels: Tensor, amount: Tensor) -> Tensor:
    """Slants by at most 0.3 pixels a column."""
    one, none = torch.ones_like(amount), torch.zeros_like(amount)
    return warp(pixels, linear(one, none, 0.3 * amount, one))


LARGEST_SHIFT = 150 / 331  # of the side: the paper's 150 pixels of its 331 on ImageNet


def translate_x(pixels: Tensor, amount: Tensor) -> Tensor:
    distance = amount * (LARGEST_SHIFT * pixels.shape[-1])
    return warp(pixels, shift(torch.stack([distance, torch.zeros_like(amount)], dim=1)))


def translate_y(pixels: Tensor, amount: Tensor) -> Tensor:
    distance = amount * (LARGEST_SHIFT * pixels.shape[-2])
    return warp(pixels, shift(torch.stack([torch.zeros_like(amount), distance], dim=1)))


def rotate(pixels: Tensor, amount: Tensor) -> Tensor:
    """Turns by at most 30 degrees."""
    return warp(pixels, rotation(torch.deg2rad(30 * amount)))


def sharpen(pixels: Tensor, factor: Tensor) -> Tensor:
    """Factor 0 is a 3x3 blur (centre 5, others 1, of 13), 1 the picture; the outermost pixels stay."""
    centre = torch.full((3, 1, 1, 1), 4.0, device=pixels.device, dtype=pixels.dtype)
    kernel = 1 + F.pad(centre, (1, 1, 1, 1))
    blurred = pixels.clone()
    blurred[:, :, 1:-1, 1:-1] = F.conv2d(pixels, kernel / 13, groups=3)
    return blend(pixels, blurred, factor)


def posterize(pixels: Tensor, amount: Tensor) -> Tensor:
    """Keeps between 8 and 4 bits of each value."""
    step = torch.exp2((4 * amount.abs()).round())[:, None, None, None]
    return torch.where(step > 1, (pixels / step).floor() * step, pixels)


def solarize(pixels: Tensor, amount: Tensor) -> Tensor:
    """Inverts the values above a threshold that falls from white to black."""
    threshold = (WHITE * (1 - amount.abs()))[:, None, None, None]
    return torch.where(pixels > threshold, WHITE - pixels, pixels)


def autocontrast(pixels: Tensor, amount: Tensor) -> Tensor:
    """Stretches each channel from black to white; a channel of one value stays."""
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    flat = high == low
    return torch.where(flat, pixels, (pixels - low) * (WHITE / torch.where(flat, 1, high - low)))


def equalize(pixels: Tensor, amount: Tensor) -> Tensor:
    """Evens out the histogram of each channel; values are rounded to whole ones first."""
    values = pixels.round().to(torch.int64).flatten(2)
    histogram = torch.zeros(*values.shape[:2], 256, dtype=torch.int64, device=pixels.device)
    histogram.scatter_add_(2, values, torch.ones_like(values))
    brightest = histogram.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - brightest) // 255
    below = histogram.cumsum(2) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    levelled = table.gather(2, values).to(pixels.dtype).view_as(pixels)
    return torch.where(step[..., None] == 0, pixels, levelled)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda pixels, amount: pixels,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
    "rotate": rotate,
    "brightness": lambda pixels, amount: brighten(pixels, 1 + 0.9 * amount),
    "colour": lambda pixels, amount: saturate(pixels, 1 + 0.9 * amount),
    "contrast": lambda pixels, amount: contrast(pixels, 1 + 0.9 * amount),
    "sharpness": lambda pixels, amount: sharpen(pixels, 1 + 0.9 * amount),
    "posterize": posterize,
    "solarize": solarize,
    "autocontrast": autocontrast,
    "equalize": equalize,
}
