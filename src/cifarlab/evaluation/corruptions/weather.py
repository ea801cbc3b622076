"""Weather: snow, frost, fog, bright light. float32 ``(B, 3, H, W)`` in [0, 1], in and out."""

from __future__ import annotations

import torch
from torch import Tensor

from cifarlab.evaluation.corruptions.blur import scale
from cifarlab.evaluation.corruptions.draws import Draws
from cifarlab.evaluation.corruptions.sampling import clipped_zoom, moved

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def snow(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Flakes, blurred as they fall, and their like turned by 180 degrees, over a whiter picture."""
    mean, deviation, zoom, threshold, radius, sigma, kept = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[strength - 1]
    batch, _, height, width = images.shape
    larger = scale(images)
    flakes = clipped_zoom(draws.normal(batch, 1, height, width) * deviation + mean, zoom * larger)
    flakes = (flakes.where(flakes >= threshold, 0).clamp(0, 1) * 255).floor() / 255
    angles = draws.uniform(-135, -45, batch)
    flakes = moved(flakes, angles, radius=round(radius * larger), sigma=sigma * larger)
    grey = (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    whiter = kept * images + (1 - kept) * torch.maximum(images, grey * 1.5 + 0.5)
    return whiter + flakes + flakes.flip(2, 3)


def frost(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Ice over the picture, in the authors' shares; the ice is computed, as their photographs of it are not ours.

    Ridges of a plasma fractal are its crystals. Its grey levels (mean 0.5, deviation 0.25) are our choice.
    """
    picture, ice = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[strength - 1]
    height, width = images.shape[2:]
    ridges = 1 - (2 * plasma(draws, len(images), max(height, width), 1.6)[:, :, :height, :width] - 1).abs()
    mean, deviation = ridges.mean(dim=(2, 3), keepdim=True), ridges.std(dim=(2, 3), keepdim=True)
    layer = (0.5 + 0.25 * (ridges - mean) / deviation).clamp(0, 1)
    return picture * images + ice * layer


def fog(images: Tensor, draws: Draws, strength: int) -> Tensor:
    amount, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[strength - 1]
    height, width = images.shape[2:]
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    cloud = plasma(draws, len(images), max(height, width), decay)[:, :, :height, :width]
    return (images + amount * cloud) * brightest / (brightest + amount)


def brightness(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """More of HSV's value, which is the largest channel; hue and saturation keep the ratios of the channels."""
    more = (0.05, 0.1, 0.15, 0.2, 0.3)[strength - 1]
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + more).clamp(max=1)
    return torch.where(value > 0, images * brighter / value.clamp(min=1e-6), brighter)


def plasma(draws: Draws, count: int, side: int, decay: float) -> Tensor:
    """Height maps by the diamond-square algorithm on a torus, each scaled to [0, 1].

    Args:
        draws: of the batch.
        count: maps.
        side: pixels that are needed.
        decay: of the random part, from a grid to the one half as wide.

    Returns:
        float32 ``(count, 1, size, size)``, size the first power of two from `side` on.
    """
    size = 1 << (side - 1).bit_length()
    heights = torch.zeros(count, size, size, device=draws.device)
    step, wibble = size, 100.0

    def mean_and_noise(sums: Tensor) -> Tensor:
        # The authors multiply the amplitude by numbers of that amplitude.
        return sums / 4 + wibble * draws.uniform(-wibble, wibble, *sums.shape)

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        across = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = mean_and_noise(across + across.roll(-1, 2))
        middles, corners = heights[:, half::step, half::step], heights[:, ::step, ::step]
        above_and_below = middles + middles.roll(1, 1)
        heights[:, ::step, half::step] = mean_and_noise(above_and_below + corners + corners.roll(-1, 2))
        left_and_right = middles + middles.roll(1, 2)
        heights[:, half::step, ::step] = mean_and_noise(left_and_right + corners + corners.roll(-1, 1))
        step, wibble = half, wibble / decay
    heights = heights - heights.amin(dim=(1, 2), keepdim=True)
    return (heights / heights.amax(dim=(1, 2), keepdim=True))[:, None]
