"""What a net says about labelled pictures, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Predictions(NamedTuple):
    """One entry a picture, in the order given.

    Attributes:
        labels: int64 ``(N,)``, the truth.
        predicted: int64 ``(N,)``, the class with the highest logit.
        confidence: float32 ``(N,)``, its softmax probability.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]

    def mistakes(self) -> NDArray[np.int64]:
        """Indices of the wrong ones, the most confident first; equals in the order given."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]

    def confusion(self, num_classes: int) -> NDArray[np.int64]:
        """``(C, C)`` counts, a row a true class, a column a predicted one."""
        cells = np.bincount(self.labels * num_classes + self.predicted, minlength=num_classes**2)
        return cells.reshape(num_classes, num_classes)


def predict(net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Predictions:
    """Run batches through the net.

    Args:
        net: ``(B, 3, H, W)`` -> logits ``(B, C)``, on the batches' device; in evaluation mode here.
        batches: normalised pictures with int64 ``(B,)`` labels.
    """
    logits, labels = answers(net, batches)
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    return Predictions(*(column.cpu().numpy() for column in (labels, predicted, confidence)))


@torch.no_grad()
def answers(net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Logits float32 ``(N, C)`` and labels int64 ``(N,)`` of all batches, on their device; see `predict`."""
    net.eval()
    logits, labels = zip(*((net(images).float(), labels) for images, labels in batches), strict=True)
    return torch.cat(logits), torch.cat(labels)
