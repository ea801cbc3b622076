"""The progress bar of a run."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from cifarlab.training.records.history import History


class Bar(RichProgressBar):
    """Lightning's rich bar over the epoch at work, with the accuracies of the last epoch that is measured as a whole.

    While a run is at work the module holds an epoch's validation before its training is measured; the two would stand
    beside each other as if they were of one epoch.

    Args:
        history: of the run.
    """

    def __init__(self, history: History) -> None:
        super().__init__(leave=False)  # a line an epoch is printed, of all that it measured
        self.history = history

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"  # Lightning's own counts from 0

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        row = self.history.rows[-1] if self.history.rows else {}
        return {name: f"{row[name]:.4f}" for name in ("train/acc", "val/acc") if row.get(name) is not None}
