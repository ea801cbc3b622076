"""Operations that mix two pictures of a batch and their labels (semantics of timm's `Mixup`)."""

from __future__ import annotations

import functools
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
        weight: one weight a `batch` (timm's default; drawn by epoch and step, so all ranks have it) or a `picture`.
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

    def numbers(self, draw: Draw) -> Draw:
        """The draw of as many numbers as there are weights."""
        return draw if self.weight == "picture" else draw.batch

    def weights(self, numbers: Draw) -> Tensor:
        """float32 ``(1,)`` or ``(B,)``: the share that each picture keeps of itself; 1 where it is not mixed."""
        shares = beta(numbers.uniform(0, 1), self.alpha)
        return torch.where(numbers.coins(self.probability), shares, 1.0)

    def __call__(self, pixels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Mixed ``(B, 3, H, W)`` pixels, and float32 ``(1,)`` or ``(B,)``: the share of each picture's own label."""
        share = self.weights(self.numbers(draw))
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
        numbers = self.numbers(draw)
        side = (1 - self.weights(numbers)).sqrt()
        inside, lengths = [], []
        for size in pixels.shape[-2:]:
            length = (size * side).long()
            first = numbers.integers(size) - length // 2
            low, high = first.clamp(0, size), (first + length).clamp(0, size)
            place = torch.arange(size, device=pixels.device)
            inside.append((place >= low[:, None]) & (place < high[:, None]))
            lengths.append(high - low)
        box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        share = 1 - lengths[0] * lengths[1] / pixels[0, 0].numel()
        return torch.where(box, pixels.flip(0), pixels), share


def beta(uniform: Tensor, alpha: float) -> Tensor:
    """Numbers of Beta(alpha, alpha) from uniform ones in ``[0, 1)``, float32, by the inverse of its distribution."""
    if alpha == 1:
        return uniform
    quantiles = _beta_quantiles(alpha, uniform.device)
    place = uniform * (len(quantiles) - 1)
    low = place.long()
    return torch.lerp(quantiles[low], quantiles[low + 1], place - low)


@functools.cache
def _beta_quantiles(alpha: float, device: torch.device) -> Tensor:
    """float32: quantiles of Beta(alpha, alpha) at 2^14 + 1 places from 0 to 1, between which `beta` interpolates."""
    from scipy import stats  # 0.4 s, for an alpha other than 1 only

    places = np.linspace(0, 1, 2**14 + 1)
    return torch.from_numpy(stats.beta(alpha, alpha).ppf(places)).float().to(device)


def soft_labels(labels: Tensor, share: Tensor, num_classes: int) -> Tensor:
    """float32 ``(B, num_classes)``: ``share`` on each picture's own label and the rest on its partner's."""
    own = (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(torch.float32)
    return torch.lerp(own.flip(0), own, share[:, None])
