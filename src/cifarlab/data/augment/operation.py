"""What paints over pictures one by one; the base of operations of your own."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor

from cifarlab.data.augment.draw import Draw, draw_of

TRIED = 8  # pictures on which an operation is tried out


class Operation(ABC):
    """Changes each picture by its own draw; shape and label stay.

    All that is random comes from the draw, so that a picture becomes the same on every device, in every batch, and in a
    run that was stopped and gone on with.
    """

    @abstractmethod
    def __call__(self, pixels: Tensor, draw: Draw) -> Tensor:
        """Float32 ``(B, 3, H, W)`` in ``[0, 255]`` in and out; `draw` has the random numbers for these pictures."""


def try_out(key: str, operation: Operation, size: tuple[int, int]) -> None:
    """Give an operation some noisy pictures, twice.

    Args:
        key: of the operation, for messages.
        operation: one that the user has written.
        size: height and width of the pictures.

    Raises:
        ValueError: it fails, gives anything but float32 pictures of the same shape in ``[0, 255]``, or gives others the
            second time.
    """
    generator = torch.Generator().manual_seed(0)
    given = torch.randint(0, 256, (TRIED, 3, *size), generator=generator).to(torch.float32)
    try:
        first, second = (operation(given.clone(), draw_of(torch.arange(TRIED), seed=0)) for _ in range(2))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        raise ValueError(f"{key}: {type(error).__name__}: {error} ({where})") from error
    wanted = f"float32 {tuple(given.shape)}"
    if not isinstance(first, Tensor):
        raise ValueError(f"{key}: gives a {type(first).__name__}; allowed: a tensor {wanted} like the one it is given")
    if first.dtype != torch.float32 or first.shape != given.shape:
        kind = str(first.dtype).removeprefix("torch.")
        raise ValueError(f"{key}: gives {kind} {tuple(first.shape)}; allowed: {wanted}, as it is given")
    low, high = first.min().item(), first.max().item()
    if not (low >= -0.5 and high <= 255.5):  # by rounding at most, and no NaN
        raise ValueError(f"{key}: gives values from {low:.4g} to {high:.4g}; allowed: 0 to 255")
    if not torch.equal(first, second):
        raise ValueError(
            f"{key}: gives other pictures for the same draw; take what is random from draw (draw.uniform(low, high), "
            "draw.integers(count), draw.coins(probability)), and keep nothing from call to call"
        )
