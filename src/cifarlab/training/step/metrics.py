"""Means over an epoch, summed on the device and over all devices."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from cifarlab.training.step.arithmetic import Sums


class EpochMeans:
    """Loss and accuracy of an epoch. No value leaves the device before `compute`.

    The sums stay in one tensor for the length of a run, so that a recorded step adds to them. It is none of a module's
    buffers, which would follow the net to half precision.

    Args:
        top5: whether the batches' sums have top-5 counts.

    Attributes:
        sums: float32 ``(3,)`` or ``(4,)``, in the order of `Sums`.
    """

    def __init__(self, *, top5: bool = False) -> None:
        self.sums = torch.zeros(4 if top5 else 3)

    @torch.no_grad()
    def update(self, sums: Sums) -> None:
        """Add one batch."""
        self.sums = self.sums.to(sums.loss.device)
        self.sums += torch.stack([each for each in sums if each is not None])

    def reset(self) -> None:
        """Start a new epoch."""
        self.sums.zero_()

    def compute(self) -> dict[str, float]:
        """``loss``, ``acc`` and, where asked for, ``acc_top5``, over all processes; NaN before the first batch."""
        totals = self.sums.clone()
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(totals)
        loss, pictures, *correct = totals.double().cpu().unbind()
        names = ("loss", "acc", "acc_top5")
        means: list[Tensor] = [each / pictures for each in (loss, *correct)]
        return {name: value.item() for name, value in zip(names, means, strict=False)}
