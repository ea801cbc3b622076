"""Means over an epoch, summed on the device and over all devices."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from cifarlab.training.step.arithmetic import Sums


class EpochMeans(Metric):
    """Loss and accuracy of an epoch. No value leaves the device before `compute`."""

    full_state_update = False
    sums: Tensor

    def __init__(self, *, top5: bool = False) -> None:
        super().__init__()
        self.top5 = top5
        # One vector instead of a state a metric: one addition a step.
        self.add_state("sums", torch.zeros(len(Sums._fields)), dist_reduce_fx="sum")

    def update(self, sums: Sums) -> None:
        """Add one batch."""
        self.sums += torch.stack(sums)

    def compute(self) -> dict[str, float]:
        """``loss``, ``acc`` and, where asked for, ``acc_top5``; NaN before the first batch."""
        totals = Sums(*self.sums.double().cpu())
        means = {"loss": totals.loss / totals.pictures, "acc": totals.correct / totals.pictures}
        if self.top5:
            means["acc_top5"] = totals.correct_top5 / totals.pictures
        return {name: value.item() for name, value in means.items()}
