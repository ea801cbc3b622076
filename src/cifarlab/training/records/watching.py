"""Somebody outside of a run who follows its validation and may stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from cifarlab.training.step.classifier import classifier_of

# Epoch (from 0) and its metrics -> whether the run is to stop here.
Watch = Callable[[int, Mapping[str, float]], bool]


class Pruned(RuntimeError):
    """The run was stopped by its watch; it can be gone on with."""


class Watching(Checkpoint):
    """Tells a watch of every epoch, once its checkpoint is written, and ends the run where the watch says so.

    After the last epoch there is nothing left to stop. A `Checkpoint`, since Lightning runs these after the module has
    logged.

    Args:
        watch: called in the first process of a run on several devices.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = classifier_of(pl_module).measured
        told_to_stop = trainer.is_global_zero and self.watch(trainer.current_epoch, metrics)
        # All devices stop together, or those that go on wait for the others for ever.
        if trainer.strategy.broadcast(told_to_stop) and not self._is_last(trainer):
            raise Pruned(f"stopped after epoch {trainer.current_epoch} by the validation curve")

    @staticmethod
    def _is_last(trainer: Trainer) -> bool:
        return trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
