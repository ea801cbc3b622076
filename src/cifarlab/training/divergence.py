"""Numbers that are none: a run or a test that meets one ends there, as ``diverged``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from cifarlab.training.step.classifier import classifier_of

# Steps between two looks at the loss: a look waits for the device.
CHECK_EVERY = 50


class Diverged(RuntimeError):
    """A loss, a metric or a weight became NaN or infinite."""


class StopWhenDiverged(Callback):
    """Ends the run when the summed training loss is no longer finite, and says between which steps it happened."""

    def __init__(self) -> None:
        self.last_good_step = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.last_good_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % CHECK_EVERY == 0 or batch_idx + 1 == trainer.num_training_batches:
            self._check(trainer, pl_module)

    def _check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_finite = bool(torch.isfinite(classifier_of(pl_module).train_means.sums).all())
        # All devices end together, or those that go on wait for the others for ever.
        if not trainer.strategy.reduce_boolean_decision(is_finite):
            between = f"between steps {self.last_good_step} and {trainer.global_step}"
            raise Diverged(f"the training loss became NaN or infinite {between}")
        self.last_good_step = trainer.global_step


def refuse_broken_weights(net: nn.Module, when: str) -> None:
    """Look at every parameter and buffer, with one copy to the host.

    Args:
        net: on any device.
        when: ends the message: ``between steps 4 and 8``.

    Raises:
        Diverged: one holds NaN or infinity; the message names the first.
    """
    floats = {name: value for name, value in net.state_dict().items() if value.is_floating_point()}
    if not floats:
        return
    are_finite = torch.stack([value.isfinite().all() for value in floats.values()]).tolist()
    broken = [name for name, is_finite in zip(floats, are_finite, strict=True) if not is_finite]
    if broken:
        count = f"{len(broken)} of {len(floats)} tensors"
        raise Diverged(f"the weights became NaN or infinite {when}: {count}, the first is {broken[0]}")


def refuse_broken_metrics(metrics: Mapping[str, float], when: str) -> None:
    """Look at what was measured.

    Args:
        metrics: name -> value.
        when: ends the message: ``between steps 4 and 8``.

    Raises:
        Diverged: one is NaN or infinite; the message names the first.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} became NaN or infinite {when}")


def is_overflow(error: BaseException) -> bool:
    """Whether torch refused a number that its type cannot hold, such as a learning rate of 1e308."""
    return isinstance(error, RuntimeError) and "without overflow" in str(error)
