"""Activation maximisation: the picture that a net answers most strongly to with one class (report R1.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

# What torchvision's GoogLeNet and InceptionV3 do first (`transform_input`): they undo ImageNet's normalisation and map
# to [-1, 1]. Pixels that were not normalised, as in report R1.5, go through it all the same.
TORCHVISION_MEAN = ((0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225)
TORCHVISION_STD = (0.5 / 0.229, 0.5 / 0.224, 0.5 / 0.225)


class Ascent(NamedTuple):
    """Where the ascent led.

    Attributes:
        image: float32 ``(H, W, 3)`` in [0, 1].
        scores: float32 ``(steps + 1,)``, the class's logit before the first step and after each.
    """

    image: NDArray[np.float32]
    scores: NDArray[np.float32]


def climb(
    net: nn.Module,
    label: int,
    *,
    size: tuple[int, int],
    steps: int,
    lr: float,
    seed: int,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | None = None,
    watch: Callable[[range], Iterable[int]] = iter,
) -> Ascent:
    """Plain gradient ascent on a logit, from pixels drawn from N(0, 1); after each step they are clipped to [0, 1].

    The start is drawn on the CPU, so that it is the same on every device. The net sees ``(pixels - mean) / std``.

    Args:
        net: in evaluation mode here; its weights do not change.
        label: index of the logit.
        size: height and width of the picture.
        steps: updates of the pixels.
        lr: what the gradient of the logit is multiplied by.
        seed: of the first pixels.
        mean: of each channel, pixels in [0, 1].
        std: of each channel, pixels in [0, 1].
        device: where the net is.
        watch: hands on the numbers of the steps, for a progress bar.

    Raises:
        ValueError: the net has no such logit.
    """
    start = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed))
    pixels = start.to(device).requires_grad_()
    shift, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))
    scores = []
    net.eval()
    for step in watch(range(steps + 1)):
        logits = net((pixels - shift) / scale)
        if not 0 <= label < logits.shape[1]:
            raise ValueError(f"label={label}: allowed: an integer from 0 to {logits.shape[1] - 1}")
        score = logits[0, label]
        scores.append(score.detach().float())
        if step < steps:
            (gradient,) = torch.autograd.grad(score, pixels)
            pixels = (pixels.detach() + lr * gradient).clamp_(0, 1).requires_grad_()
    image = pixels.detach()[0].permute(1, 2, 0).clamp(0, 1)
    return Ascent(image.cpu().numpy(), torch.stack(scores).cpu().numpy())
