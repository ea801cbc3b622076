"""The fifteen corruptions of Hendrycks and Dietterich ("Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations", ICLR 2019, arXiv 1903.12261), with the constants that made CIFAR-10-C of 32 x 32 pictures.

Computed here, in batches and on the device, from the description and constants that the authors published; the same in
kind as their files, which hold other draws. Frost differs: its ice is computed and no photograph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cifarlab.evaluation.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from cifarlab.evaluation.corruptions.digital import contrast, elastic_transform, jpeg_compression, pixelate
from cifarlab.evaluation.corruptions.draws import Draws
from cifarlab.evaluation.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from cifarlab.evaluation.corruptions.weather import brightness, fog, frost, snow

Corruption = Callable[[Tensor, Draws, int], Tensor]

# In the paper's order; the names are those of the published files.
CORRUPTIONS: Mapping[str, Corruption] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        frost,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
    )
}
STRENGTHS = (1, 2, 3, 4, 5)
CHUNK = 500  # pictures that share a generator; a part of what is drawn, so it is no knob


def corrupted(pictures: Tensor, name: str, strength: int, *, seed: int = 0) -> Tensor:
    """The pictures through one corruption; a pure function of what is given, the same on every device to rounding.

    Args:
        pictures: uint8 ``(N, 3, H, W)``.
        name: of `CORRUPTIONS`.
        strength: of `STRENGTHS`.
        seed: of the draws.

    Returns:
        uint8 ``(N, 3, H, W)``; fractions are cut off, as the authors' code does.
    """
    done = []
    for place, chunk in enumerate(pictures.split(CHUNK)):
        draws = Draws(_seed(seed, name, strength, place), chunk)
        images = CORRUPTIONS[name](chunk.float() / 255, draws, strength)
        # A thousandth of a level above: 255 * (k / 255) may fall below k.
        done.append((images.clamp(0, 1) * 255 + 1e-3).to(torch.uint8))
    return torch.cat(done)


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7])
