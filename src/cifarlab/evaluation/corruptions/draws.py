"""What a corruption draws for a batch of pictures: on the CPU, so that it is the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """Random numbers for one batch, of a generator of its own.

    Args:
        seed: of this batch, corruption and strength.
        pictures: uint8 ``(B, 3, H, W)`` that they are for; the numbers come to their device.
    """

    def __init__(self, seed: int, pictures: Tensor) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.device = pictures.device
        self.shape = tuple(pictures.shape)

    def normal(self, *shape: int) -> Tensor:
        """float32, standard normal."""
        return torch.randn(shape, generator=self._generator).to(self.device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32, uniform in ``[low, high)``."""
        return (torch.rand(shape, generator=self._generator) * (high - low) + low).to(self.device)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """int64, uniform over ``low .. high - 1``."""
        return torch.randint(low, high, shape, generator=self._generator).to(self.device)

    def poisson(self, rate: Tensor) -> Tensor:
        """float32, of this rate each."""
        return torch.poisson(rate.cpu(), generator=self._generator).to(self.device)
