"""Operations that mix two pictures of a batch and their labels (semantics of timm's `Mixup`)."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from cifarlab.data.augment.draw import Draw


class Mixup:
    """Weighted mean of each picture and its partner, labels likewise (Zhang et al. 2018, arXiv 1710.09412).

    The partner is the picture at the mirrored place in the batch, as in timm; the weight is Beta(alpha, alpha).

    Args:
        alpha: both parameters of the Beta distribution; 1 is uniform (the paper's choice on CIFAR).
        probability: share of the batches (or pictures, see `weight`) that is mixed at all.
        weight: one weight a `batch` (timm's default) or one a `picture`.
    """

    def __init__(
        self,
        *,
        alpha: Annotated[float, Gt(0), Le(100)] = 1.0,
        probability: Annotated[float, Ge(0), Le(1)] = 1.0,
        weight: Literal["batch", "picture"] = "batch",
    ) -> None:
        self.alpha = alpha
        self.probability = probability
        self.weight = weight

    def weights(self, draw: Draw) -> np.ndarray:
        """float64 ``(1,)`` or ``(B,)``: the share that each picture keeps of itself; 1 where it is not mixed."""
        count = len(draw) if self.weight == "picture" else 1
        shares = draw.host.beta(self.alpha, self.alpha, count)
        return np.where(draw.host.random(count) < self.probability, shares, 1.0)

    def __call__(self, pixels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Mixed ``(B, 3, H, W)`` pixels, and float32 ``(1,)`` or ``(B,)``: the share of each picture's own label."""
        share = draw.to_device(self.weights(draw))
        return torch.lerp(pixels.flip(0), pixels, share.view(-1, 1, 1, 1)), share


class CutMix(Mixup):
    """Pastes a box of each picture's partner into it; labels mix as the areas do (Yun et al. 2019, arXiv 1905.04899).

    The box has a share ``1 - Beta(alpha, alpha)`` of the area and its centre anywhere in the picture, clipped at the
    edge; the share is then taken anew from the clipped box, as in timm.

    Args:
        alpha: both parameters of the Beta distribution; 1 is uniform (the paper's choice).
        probability: share of the batches (or pictures, see `weight`) that is mixed at all.
        weight: one box a `batch` (timm's default) or one a `picture`.
    """

    def __call__(self, pixels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Mixed ``(B, 3, H, W)`` pixels, and float32 ``(1,)`` or ``(B,)``: the share of each picture's own label."""
        side = np.sqrt(1 - self.weights(draw))
        inside, lengths = [], []
        for size in pixels.shape[-2:]:
            length = (size * side).astype(np.int64)
            first = draw.host.integers(size, size=len(side)) - length // 2
            low, high = first.clip(0, size), (first + length).clip(0, size)
            place = np.arange(size)
            inside.append((place >= low[:, None]) & (place < high[:, None]))
            lengths.append(high - low)
        box = draw.to_device(inside[0])[:, None, :, None] * draw.to_device(inside[1])[:, None, None, :]
        share = draw.to_device(1 - lengths[0] * lengths[1] / pixels[0, 0].numel())
        return torch.where(box > 0, pixels.flip(0), pixels), share


def soft_labels(labels: Tensor, share: Tensor, num_classes: int) -> Tensor:
    """float32 ``(B, num_classes)``: ``share`` on each picture's own label and the rest on its partner's."""
    own = torch.nn.functional.one_hot(labels, num_classes).to(torch.float32)
    return torch.lerp(own.flip(0), own, share[:, None])
