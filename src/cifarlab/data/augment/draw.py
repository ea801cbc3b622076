"""The random numbers of one batch, as a pure function of seed, epoch, step and rank."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


class Draw:
    """Random numbers for the ``B`` pictures of one batch.

    Two draws with the same seed, epoch, step, rank and device type give the same numbers in the same order; nothing
    reads or moves the global generators. CPU and CUDA generators differ, so their augmentations do too.

    Args:
        indices: int64 ``(B,)``, each picture's place in its data set; on the device where the numbers are wanted.
        seed: the augmentation seed of the run.
        epoch: 0-based.
        step: 0-based batch of the epoch.
        rank: process of a distributed run.
    """

    def __init__(self, indices: Tensor, *, seed: int, epoch: int = 0, step: int = 0, rank: int = 0) -> None:
        self.indices = indices
        self.seed = seed
        self.epoch = epoch
        self._sequence = np.random.SeedSequence(seed, spawn_key=(epoch, step, rank))

    @cached_property
    def _device_numbers(self) -> torch.Generator:
        seed = int(self._sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))  # manual_seed takes an int64
        return torch.Generator(self.indices.device).manual_seed(seed)

    @cached_property
    def host(self) -> np.random.Generator:
        """Numbers known to the host without asking the device: which operation, one mixing weight a batch."""
        return np.random.default_rng(self._sequence)

    def __len__(self) -> int:
        return len(self.indices)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 ``(B, *shape)``, uniform in ``[low, high)``."""
        numbers = torch.empty((len(self), *shape), device=self.indices.device)
        return numbers.uniform_(low, high, generator=self._device_numbers)

    def integers(self, count: int) -> Tensor:
        """int64 ``(B,)``, uniform over ``0 .. count - 1``."""
        return torch.randint(count, (len(self),), generator=self._device_numbers, device=self.indices.device)

    def coins(self, probability: float) -> Tensor:
        """bool ``(B,)``, each true with ``probability``."""
        return self.uniform(0, 1) < probability

    def fixed_coins(self) -> Tensor:
        """bool ``(B,)``, a fair coin a picture that stays the same in every epoch: a hash of seed and index.

        The hash is two rounds of multiply and xor-shift on 32 bits, with a multiplier small enough for int64.
        """
        salt = int(np.random.SeedSequence(self.seed).generate_state(1)[0])
        bits = (self.indices ^ salt) & 0xFFFFFFFF
        for _ in range(2):
            bits = ((bits >> 16) ^ bits) * 0x45D9F3B & 0xFFFFFFFF
        return ((bits >> 16) ^ bits) % 2 == 1

    def to_device(self, numbers: np.ndarray | Sequence[float]) -> Tensor:
        """float32 tensor of host numbers, beside the pictures."""
        return torch.as_tensor(numbers, dtype=torch.float32).to(self.indices.device, non_blocking=True)
