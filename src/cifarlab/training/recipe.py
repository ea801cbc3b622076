"""How a run trains, whatever the net, the data and the hardware."""

from __future__ import annotations

from dataclasses import dataclass

from cifarlab.training.finetune import Finetune
from cifarlab.training.step.tta import Views


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run does with its net besides the steps of its optimizer.

    Attributes:
        epochs: passes over the training split, at least 1.
        label_smoothing: share of the target spread over all classes, in [0, 1); of the training loss alone.
        ema: decay, in (0, 1), of the moving average of the weights that is validated, kept and tested; None takes the
            weights as they are.
        early_stopping: epochs without a better validation loss after which training ends; None trains to the end.
        finetune: train the head of a trained net alone, then all of it; None trains everything from the start.
        tta: test-time augmentation, measured beside the plain test.
    """

    epochs: int
    label_smoothing: float = 0.0
    ema: float | None = None
    early_stopping: int | None = None
    finetune: Finetune | None = None
    tta: Views = "none"
