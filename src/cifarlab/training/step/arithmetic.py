"""The arithmetic of one step as plain functions of tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
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


def side_loss(net: nn.Module, labels: Tensor, label_smoothing: float = 0.0) -> Tensor | float:
    """What a net's answer from halfway adds to the loss: ``net.side_weight`` times its cross entropy.

    The net leaves that answer, logits ``(B, C)``, in ``net.side_logits`` when it is called in training, and it is taken
    away here. 0 for a net without one. Source: Lee et al. 2015, "Deeply-Supervised Nets".
    """
    logits: Tensor | None = getattr(net, "side_logits", None)
    if logits is None:
        return 0.0
    setattr(net, "side_logits", None)  # noqa: B010 (of nets that have one)
    weight: float = getattr(net, "side_weight")  # noqa: B009
    return weight * cross_entropy(logits, labels, label_smoothing)


def hard_labels(labels: Tensor) -> Tensor:
    """int64 ``(B,)``: the labels, or the heavier class of mixed ones."""
    return labels.argmax(dim=1) if labels.ndim == 2 else labels


def right_within(logits: Tensor, labels: Tensor, guesses: int = 1) -> Tensor:
    """Which pictures have their class among the net's first guesses: bool ``(B,)``.

    Ranked in float32. A class that ties with the right one counts as guessed before it, so that a net that knows
    nothing is right about nothing, and so does one whose logit is NaN; a right one that is NaN is never guessed.

    Args:
        logits: ``(B, C)``.
        labels: int64 ``(B,)``.
        guesses: how many the net has.
    """
    values = logits.float()
    own = values.gather(1, labels[:, None])
    behind = (values < own).sum(dim=1)
    return (behind >= values.shape[1] - guesses) & ~own.squeeze(1).isnan()


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
    pictures = torch.full_like(loss, len(labels), dtype=torch.float32)
    return Sums(
        loss=loss.detach().float() * pictures,
        pictures=pictures,
        correct=right_within(logits, target).sum(dtype=torch.float32),
        correct_top5=right_within(logits, target, 5).sum(dtype=torch.float32) if top5 else None,
    )
