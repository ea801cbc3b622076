"""Noise of the sensor: Gaussian, shot, impulse. Pictures float32 ``(B, 3, H, W)`` in [0, 1], in and out."""

from __future__ import annotations

from torch import Tensor

from cifarlab.evaluation.corruptions.draws import Draws


def gaussian_noise(images: Tensor, draws: Draws, strength: int) -> Tensor:
    deviation = (0.04, 0.06, 0.08, 0.09, 0.10)[strength - 1]
    return images + deviation * draws.normal(*images.shape)


def shot_noise(images: Tensor, draws: Draws, strength: int) -> Tensor:
    photons = (500, 250, 100, 75, 50)[strength - 1]
    return draws.poisson(images * photons) / photons


def impulse_noise(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Each value of each channel on its own becomes 0 or 1."""
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[strength - 1]
    hit = draws.uniform(0, 1, *images.shape) < share
    white = draws.uniform(0, 1, *images.shape) < 0.5
    return images.where(~hit, white.to(images.dtype))
