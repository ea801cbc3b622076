"""A square of each picture is painted over."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from cifarlab.data.augment.draw import Draw
from cifarlab.data.augment.operation import Operation

FILLS = {"grey": 127.5, "zero": 0.0}


class Cutout(Operation):
    """Paints a square over each picture; its centre is any pixel, so it may reach over the edge.

    After DeVries and Taylor 2017, arXiv 1708.04552, who fill with the data set's mean: `grey` is within 0.3 standard
    deviations of that for every data set here.

    Args:
        size: side of the square in pixels; 0 paints nothing.
        probability: share of the pictures that is painted.
        fill: `grey` (half of full scale) or `zero` (black).
    """

    def __init__(
        self,
        *,
        size: Annotated[int, Ge(0), Le(512)] = 16,
        probability: Annotated[float, Ge(0), Le(1)] = 1.0,
        fill: Literal["grey", "zero"] = "grey",
    ) -> None:
        self.size = size
        self.probability = probability
        self.fill = fill

    def __call__(self, pixels: Tensor, draw: Draw) -> Tensor:
        """float32 ``(B, 3, H, W)`` in and out."""
        hidden = draw.coins(self.probability)[:, None, None]
        for axis, length in ((1, pixels.shape[-2]), (2, pixels.shape[-1])):
            first = draw.integers(length) - self.size // 2
            place = torch.arange(length, device=pixels.device) - first[:, None]
            hidden = hidden & ((place >= 0) & (place < self.size)).unsqueeze(3 - axis)
        return pixels.masked_fill(hidden[:, None], FILLS[self.fill])
