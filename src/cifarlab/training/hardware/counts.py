"""What a net was counted to have; imports no torch, for it is read back from results too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Trainable and frozen parameters together, and floating-point operations of one picture's forward pass.

    A multiplication and the addition after it count as two operations.

    Attributes:
        parameters: how many.
        flops: of one picture's forward pass.
        outputs: numbers that all layers together give for one picture.
    """

    parameters: int
    flops: int
    outputs: int = 0
