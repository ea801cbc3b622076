"""Test-time augmentation: one answer from several views of a picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from cifarlab.training.recipe import Views


def mean_logits(net: Callable[[Tensor], Tensor], images: Tensor, logits: Tensor, views: Views) -> Tensor:
    """Logits averaged over views of each picture.

    ``mirror``: the picture and its mirror image, 1/2 each. ``mirror_shift``: these two, 1/4 each, and both shifted by
    one pixel up and left and by one pixel down and right (edges reflected), 1/8 each (Jordan 2024, "94% on CIFAR-10 in
    3.29 Seconds on a Single GPU", arXiv 2404.00498, section 3.5). ``none``: the logits as they are.

    Args:
        net: float ``(B, 3, H, W)`` -> logits ``(B, C)``; in eval mode.
        images: float ``(B, 3, H, W)``, normalised.
        logits: the net's own for the images, ``(B, C)``, which are not computed again.
        views: which.

    Returns:
        float32 ``(B, C)``.
    """
    if views == "none":
        return logits.float()
    both_ways = (logits.float() + net(images.flip(3)).float()) / 2
    if views == "mirror":
        return both_ways
    shifted = [view for corner in shifted_views(images) for view in (corner, corner.flip(3))]
    return (both_ways + torch.stack([net(view).float() for view in shifted]).mean(0)) / 2


def shifted_views(images: Tensor) -> list[Tensor]:
    """The pictures moved by a pixel down and right, and up and left; what comes in is reflected at the edge."""
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    return [padded[:, :, :height, :width], padded[:, :, 2 : 2 + height, 2 : 2 + width]]
