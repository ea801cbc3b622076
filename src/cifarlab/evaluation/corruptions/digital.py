"""What is done to a file: contrast, elastic deformation, pixelation, JPEG. float32 ``(B, 3, H, W)`` in [0, 1]."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cifarlab.evaluation.corruptions.draws import Draws
from cifarlab.evaluation.corruptions.sampling import displaced, gaussian_blur


def contrast(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Towards the mean of each channel of the picture."""
    kept = (0.75, 0.5, 0.4, 0.3, 0.15)[strength - 1]
    means = images.mean(dim=(2, 3), keepdim=True)
    return (images - means) * kept + means


def elastic_transform(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Three points moved, and with them an affine map of the picture; then each pixel, by a smooth random field."""
    amount, sigma, jitter = (
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    )[strength - 1]  # of the side
    batch, _, height, width = images.shape
    side = min(height, width)
    rows, columns = torch.meshgrid(
        *(torch.arange(size, device=images.device, dtype=torch.float32) for size in (height, width)), indexing="ij"
    )
    map_back = _affine(batch, height, width, draws, jitter * side)
    places = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)
    x, y = torch.einsum("hwk,bkc->cbhw", places, map_back)
    images = displaced(images, x, y, "on_pixel")
    fields = draws.uniform(-1, 1, batch, 2, height, width)
    dx, dy = (gaussian_blur(fields, sigma * side, truncate=3, border="on_edge") * amount * side).unbind(1)
    return displaced(images, columns + dx, rows + dy, "on_edge")


def _affine(batch: int, height: int, width: int, draws: Draws, jitter: float) -> Tensor:
    """float32 ``(B, 3, 2)``: ``[x, y, 1]`` of the new picture times this is the place in the old one."""
    middle_y, middle_x, reach = height // 2, width // 2, min(height, width) // 3
    points = torch.tensor(
        [
            [middle_x + reach, middle_y + reach],
            [middle_x + reach, middle_y - reach],
            [middle_x - reach, middle_y - reach],
        ],
        dtype=torch.float32,
        device=draws.device,
    )
    moved = points + draws.uniform(-jitter, jitter, batch, 3, 2)
    return torch.linalg.solve(torch.cat([moved, torch.ones_like(moved[..., :1])], dim=-1), points.expand(batch, 3, 2))


def pixelate(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Smaller and back by Pillow's box filter, in whole grey levels."""
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[strength - 1]
    pixels = images * 255
    sizes = [(size, int(size * share)) for size in images.shape[2:]]
    for of in (lambda size, small: box_filter(size, small), lambda size, small: box_filter(small, size)):
        vertical, horizontal = (of(*pair).to(images.device) for pair in sizes)
        pixels = torch.floor(torch.floor(pixels @ horizontal.T + 0.5).transpose(2, 3) @ vertical.T + 0.5)
        pixels = pixels.transpose(2, 3)
    return pixels / 255


def box_filter(old: int, new: int) -> Tensor:
    """float32 ``(new, old)``: what a row's pixels weigh in each of the resized row, by Pillow's `BOX`."""
    ratio = old / new
    support = 0.5 * max(ratio, 1.0)
    weights = torch.zeros(new, old)
    for place in range(new):
        centre = (place + 0.5) * ratio
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), old)
        for pixel in range(first, last):
            weights[place, pixel] = float(-0.5 < (pixel + 0.5 - centre) / max(ratio, 1.0) <= 0.5)
    return weights / weights.sum(dim=1, keepdim=True)


def jpeg_compression(images: Tensor, draws: Draws, strength: int) -> Tensor:
    """Through Pillow's JPEG, on the CPU."""
    quality = (80, 65, 58, 50, 40)[strength - 1]
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    compressed = np.stack([_through_jpeg(each, quality) for each in pixels])
    return torch.from_numpy(compressed).to(images.device).permute(0, 3, 1, 2) / 255


def _through_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
