"""The arithmetic of one step as plain functions of tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Sums(NamedTuple):
    """Scalars summed over a batch, kept on its device; an epoch's mean is the quotient of two of them.

    Cross entropy, and how many pictures were seen, right at the first guess, and, where asked for, right within five
    guesses.
    """

    loss: Tensor
    pictures: Tensor
    correct: Tensor
    correct_top5: Tensor | None = None


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy, computed in float32.

    Args:
        logits: ``(B, C)``, any float type.
        labels: int64 ``(B,)``, or float ``(B, C)`` where pictures were mixed.
        label_smoothing: share of the target spread over all classes, in [0, 1) (Szegedy et al. 2016, section 7).
    """
    return F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)


def hard_labels(labels: Tensor) -> Tensor:
    """int64 ``(B,)``: the labels, or the heavier class of mixed ones."""
    return labels.argmax(dim=1) if labels.ndim == 2 else labels


@torch.no_grad()
def metric_sums(logits: Tensor, labels: Tensor, loss: Tensor, *, top5: bool = False) -> Sums:
    """What a batch adds to its epoch, without a copy to the host.

    Args:
        logits: ``(B, C)``.
        labels: int64 ``(B,)`` or float ``(B, C)``.
        loss: the batch's mean loss, a scalar.
        top5: whether to count what is right within five guesses.
    """
    target = hard_labels(labels)
    # bfloat16 logits tie often: argmax takes the first of equals, here as in every report.
    correct = logits.argmax(dim=1) == target
    better = logits > logits.gather(1, target[:, None]) if top5 else None
    pictures = torch.full_like(loss, len(labels), dtype=torch.float32)
    return Sums(
        loss=loss.detach().float() * pictures,
        pictures=pictures,
        correct=correct.sum(dtype=torch.float32),
        correct_top5=None if better is None else (better.sum(dim=1) < 5).sum(dtype=torch.float32),
    )
