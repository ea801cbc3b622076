"""How a run trains, whatever the net, the data and the hardware."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

Views = Literal["none", "mirror", "mirror_shift"]  # of a picture, at the test


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """The two phases of a run (report R5.6). Each has an optimizer of its own and the whole schedule over its length.

    Args:
        head_epochs: epochs in which the head learns alone, or a share of the run below 1, rounded to whole epochs so
            that each phase has one at least; in a run of a single epoch the head learns alone.
        lr: learning rate of the whole net after that: the optimizer's own ``lr`` in this phase. Rates that an optimizer
            has beside it (muon's ``head_lr``) keep their ratio to it.
        keep_statistics: in the second phase too, batch norms outside of the head keep the statistics they came with.
    """

    head_epochs: Annotated[int, Ge(1)] | Annotated[float, Gt(0), Lt(1)] = 0.5
    lr: Annotated[float, Gt(0)] = 1e-5
    keep_statistics: bool = False

    def lengths(self, epochs: int) -> tuple[int, int]:
        """Epochs of the first phase and of the second, each at least one; ``(1, 0)`` of a share of a single epoch.

        Raises:
            ValueError: as many epochs as were given leave one of the phases without any.
        """
        if self.head_epochs < 1:
            first = max(1, min(round(self.head_epochs * epochs), epochs - 1))
            return first, epochs - first
        first = int(self.head_epochs)
        if first >= epochs:
            epochs_allowed = f"1 to {epochs - 1} epochs, or a share" if epochs > 1 else "a share, such as 0.5"
            raise ValueError(
                f"finetune.head_epochs={self.head_epochs:g} leaves the second of the two phases of epochs={epochs} "
                f"without an epoch: allowed are {epochs_allowed}"
            )
        return first, epochs - first


@dataclass(frozen=True)
class Parent:
    """The run that another one goes on from."""

    key: str
    directory: Path


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
