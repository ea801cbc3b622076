"""The progress bar of a run."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from cifarlab.training.step.classifier import classifier_of


class Bar(RichProgressBar):
    """Lightning's rich bar with the last epoch's accuracies beside it."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        measured = classifier_of(pl_module).measured
        shown = ("train/acc", "val/acc")
        return {name: f"{measured[name]:.4f}" for name in shown if name in measured}
