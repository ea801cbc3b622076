"""Where a picture's window lies and which way it looks: integer shifts and mirrorings in one copy of whole rows."""

from __future__ import annotations

import functools
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from cifarlab.data.augment.draw import Draw


class Crop:
    """A window of the picture's own size at a random place in the padded picture, every place as likely.

    Args:
        padding: pixels added on each side before the cut; 0 leaves the picture as it is.
        fill: what the padding holds: `zero` is black, `reflect` mirrors the picture at its edge.
    """

    def __init__(
        self, *, padding: Annotated[int, Ge(0), Le(16)] = 4, fill: Literal["zero", "reflect"] = "zero"
    ) -> None:
        self.padding = padding
        self.fill = fill

    def corners(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Top and left of each window in the padded picture, int64 ``(B,)`` in ``0 .. 2 * padding``."""
        places = 2 * self.padding + 1
        return draw.integers(places), draw.integers(places)

    def pad(self, pictures: Tensor) -> Tensor:
        """uint8 ``(B, H, W, 3)`` -> ``(B, H + 2 padding, W + 2 padding, 3)``.

        Raises:
            ValueError: a reflection wider than the picture.
        """
        count, height, width, channels = pictures.shape
        margin = self.padding
        if self.fill == "zero":
            padded = pictures.new_zeros(count, height + 2 * margin, width + 2 * margin, channels)
            padded[:, margin : margin + height, margin : margin + width] = pictures
            return padded
        smaller = min(height, width)
        if margin >= smaller:
            raise ValueError(
                f"crop.padding={margin} cannot reflect {height}x{width} pictures; allowed: below {smaller}"
            )
        rows, columns = (reflected(size, margin, pictures.device) for size in (height, width))
        return pictures.index_select(1, rows).index_select(2, columns)


def reflected(size: int, margin: int, device: torch.device) -> Tensor:
    """Indices that continue ``0 .. size - 1`` by ``margin`` on both sides, mirrored without repeating the edge."""
    distance = torch.arange(-margin, size + margin, device=device).abs()
    return (size - 1) - ((size - 1) - distance).abs()


class Flip:
    """Mirrors some pictures, each by its own coin.

    Args:
        probability: share of the pictures that is mirrored.
        axis: `horizontal` swaps left and right, `vertical` top and bottom, `any` picks one of the two a picture.
    """

    def __init__(
        self,
        *,
        probability: Annotated[float, Ge(0), Le(1)] = 0.5,
        axis: Literal["horizontal", "vertical", "any"] = "horizontal",
    ) -> None:
        self.probability = probability
        self.axis = axis

    def sides(self, draw: Draw) -> tuple[Tensor | None, Tensor | None]:
        """Which pictures to mirror left-right and which upside down, bool ``(B,)``; None where none ever is."""
        coins = draw.coins(self.probability)
        if self.axis == "horizontal":
            return coins, None
        if self.axis == "vertical":
            return None, coins
        horizontal = draw.coins(0.5)
        return coins & horizontal, coins & ~horizontal


class AlternatingFlip:
    """Mirrors a random half of the data set in the first epoch, exactly the other half in the next, and so on.

    So two epochs in a row show every picture both ways once (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU",
    2024, arXiv 2404.00498, section 3.2).
    """

    def sides(self, draw: Draw) -> tuple[Tensor | None, Tensor | None]:
        """Which pictures to mirror left-right, bool ``(B,)``, and None: none is turned upside down."""
        return draw.alternating_coins(), None


def cut(pictures: Tensor, draw: Draw, *, crop: Crop | None, flip: Flip | AlternatingFlip | None) -> Tensor:
    """Mirrors and shifts each picture by its own draw: uint8 ``(B, H, W, 3)`` in and out.

    Every output row is one run of ``3 W`` bytes of the padded pictures or of their mirror image, so a batch is one
    ``index_select`` over all runs: 0.2 us a picture on one core, where indexing pixel by pixel takes 4 us.
    """
    if crop is None and flip is None:
        return pictures
    count, height, width, channels = pictures.shape
    mirrored, upturned = flip.sides(draw) if flip is not None else (None, None)
    top, left = crop.corners(draw) if crop is not None else (None, None)
    if mirrored is not None:
        pictures = torch.cat([pictures, pictures.flip(2)])
    if crop is not None:
        pictures = crop.pad(pictures)
    row, picture = pictures.stride()[1], pictures.stride()[0]
    start = _starts(count, height, picture, row, pictures.device)
    if upturned is not None:
        start = torch.where(upturned[:, None], start.flip(1), start)
    for places, length in ((mirrored, count * picture), (top, row), (left, channels)):
        if places is not None:
            start = torch.add(start, places[:, None], alpha=length)
    run = width * channels
    runs = pictures.reshape(-1).as_strided((pictures.numel() - run + 1, run), (1, 1))
    return runs.index_select(0, start.reshape(-1)).view(count, height, width, channels)


@functools.lru_cache(maxsize=64)
def _starts(count: int, height: int, picture: int, row: int, device: torch.device) -> Tensor:
    """int64 ``(count, height)``: where each picture's rows begin, in bytes."""
    return torch.arange(count, device=device)[:, None] * picture + torch.arange(height, device=device) * row
