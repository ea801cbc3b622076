"""The random numbers of a batch: a hash of seed, epoch, picture and purpose, computed where the pictures are."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
MASK = 2**64 - 1
ALTERNATING = -1  # the purpose whose numbers move by one half from an epoch to the next, and not otherwise
OF_THE_BATCH = 0x5BD1E995  # a salt: steps are counted from 0 as pictures are


class Form(NamedTuple):
    """What becomes of a number: one in ``[low, high)``, an integer below ``high``, or whether it is below ``high``."""

    kind: Literal["uniform", "integer", "coin"]
    high: float
    low: float = 0.0

    def of(self, numbers: Tensor) -> Tensor:
        """float32 in ``[0, 1)`` -> float32, int64 or bool."""
        if self.kind == "coin":
            return numbers < self.high
        if self.kind == "integer":
            return (numbers * self.high).long()
        return numbers * (self.high - self.low) + self.low


class Numbers:
    """The numbers of one epoch, a column a purpose and a row a picture (or a step).

    A column is computed when it is first asked for, and anew, in the same memory, when another epoch starts. So a batch
    costs a look-up a number, and a step that was recorded on a GPU finds each epoch's numbers in their place.

    Args:
        count: rows.
        seed: of the augmentation.
        device: where the numbers are wanted.
    """

    def __init__(self, count: int, *, seed: int, device: torch.device) -> None:
        self.seed, self.epoch = seed, 0
        self._counters = torch.arange(count, device=device)
        self._columns: dict[tuple[int, Form], Tensor] = {}

    def start(self, epoch: int) -> None:
        """From now on the numbers are those of this 0-based epoch."""
        if epoch != self.epoch:
            self.epoch = epoch
            for (purpose, form), column in self._columns.items():
                column.copy_(self._column(purpose, form))

    def of(self, rows: Tensor, purpose: int, form: Form) -> Tensor:
        """As many as there are rows (int64)."""
        if (purpose, form) not in self._columns:
            self._columns[purpose, form] = self._column(purpose, form)
        return self._columns[purpose, form].index_select(0, rows)

    def _column(self, purpose: int, form: Form) -> Tensor:
        return form.of(uniform_numbers(self._counters, self.seed, self.epoch, purpose))


class Draw:
    """Random numbers for the ``B`` pictures of one batch.

    The k-th number that is asked for a picture is a hash of the seed, the epoch, the picture and k: the same on every
    device, for any batch size, order and number of ranks. Nothing reads or moves a generator.

    Args:
        indices: int64 ``(B,)``, each picture's place in its data set; on the device where the numbers are wanted.
        numbers: of the data set's pictures in this epoch.
        batch: numbers of the batch as a whole, likewise by epoch and step; a `Draw` over one row.
    """

    def __init__(self, indices: Tensor, numbers: Numbers, batch: Draw | None = None) -> None:
        self.indices = indices
        self._numbers = numbers
        self._batch = batch
        self._asked = 0

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def batch(self) -> Draw:
        """Numbers that all pictures of the batch share, the same on all ranks of a step."""
        assert self._batch is not None
        return self._batch

    def uniform(self, low: float, high: float) -> Tensor:
        """float32 ``(B,)``, uniform in ``[low, high)``."""
        return self._next(Form("uniform", high, low))

    def integers(self, count: int) -> Tensor:
        """int64 ``(B,)``, uniform over ``0 .. count - 1``; of 24 bits, so `count` is small."""
        return self._next(Form("integer", count))

    def coins(self, probability: float) -> Tensor:
        """bool ``(B,)``, each true with ``probability``."""
        return self._next(Form("coin", probability))

    def alternating_coins(self) -> Tensor:
        """bool ``(B,)``, a fair coin a picture that is turned over with every epoch."""
        return self._numbers.of(self.indices, ALTERNATING, Form("coin", 0.5))

    def _next(self, form: Form) -> Tensor:
        self._asked += 1
        return self._numbers.of(self.indices, self._asked - 1, form)


def draw_of(indices: Tensor, *, seed: int, epoch: int = 0, step: int = 0, count: int | None = None) -> Draw:
    """The draw of some pictures by themselves, as a batch of a run with that seed would have it.

    Args:
        indices: int64 ``(B,)``, each picture's place in its data set.
        seed: of the augmentation.
        epoch: 0-based.
        step: 0-based, for what a batch draws as a whole.
        count: size of the data set; by default the largest index and one, which waits for the device.
    """
    device = indices.device
    pictures = Numbers(int(indices.max()) + 1 if count is None else count, seed=seed, device=device)
    steps = Numbers(step + 1, seed=seed ^ OF_THE_BATCH, device=device)
    pictures.start(epoch)
    steps.start(epoch)
    return Draw(indices, pictures, Draw(torch.full((1,), step, device=device), steps))


def uniform_numbers(counters: Tensor, seed: int, epoch: int, purpose: int) -> Tensor:
    """float32 in ``[0, 1)`` of 24 bits: the same on every device.

    The counters run through SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014,
    section 5) from a start that is a hash of the other three.

    Args:
        counters: int64, not negative.
        seed: any integer.
        epoch: 0-based.
        purpose: 0-based, or `ALTERNATING`.
    """
    if purpose == ALTERNATING:
        fixed = uniform_numbers(counters, seed, 0, 2**32)
        return (fixed + 0.5 * (epoch % 2)) % 1
    start = _mixed_host(_mixed_host(_mixed_host(seed) + epoch) + purpose)
    bits = counters * _signed(GOLDEN) + _signed(start)
    bits = (bits ^ _shifted(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shifted(bits, 27)) * _signed(0x94D049BB133111EB)
    return _shifted(bits ^ _shifted(bits, 31), 40).to(torch.float32) * 2**-24


def _shifted(bits: Tensor, places: int) -> Tensor:
    """An unsigned shift to the right: int64 fills up with its sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _mixed_host(value: int) -> int:
    """SplitMix64's mixing of one number, as `uniform_numbers` does it."""
    value = (value + GOLDEN) & MASK
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def _signed(value: int) -> int:
    """The int64 of the same 64 bits."""
    return value - 2**64 if value >= 2**63 else value
