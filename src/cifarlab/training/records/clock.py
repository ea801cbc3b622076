"""How long a run takes, and with what."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class Clock(Callback):
    """Seconds of training, of evaluation and of compiling, over all sittings of a run."""

    def __init__(self) -> None:
        self.seconds = {"compile": 0.0, "train": 0.0, "eval": 0.0}
        self.images = 0
        self._started = time.perf_counter()
        self._earlier_sittings = 0.0
        self._since = 0.0
        self._first_step = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = _now(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._first_step:  # holds torch.compile's work, and the libraries' choice of kernels
            self._first_step = False
            self._book("compile", pl_module.device)
        else:
            self.images += len(batch) * trainer.world_size

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._book("train", pl_module.device)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._book("eval", pl_module.device)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._book("train", pl_module.device)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = _now(pl_module.device)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._book("eval", pl_module.device)

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": dict(self.seconds), "images": self.images, "total": self.total}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds.update(state_dict["seconds"])
        self.images = state_dict["images"]
        self._earlier_sittings = state_dict["total"]

    @property
    def total(self) -> float:
        """Seconds since the run began, sittings that were cut short counted to their last epoch."""
        return self._earlier_sittings + time.perf_counter() - self._started

    @property
    def images_per_second(self) -> float | None:
        """Training pictures over training time, the first step of each sitting left out."""
        return self.images / self.seconds["train"] if self.seconds["train"] > 0 else None

    def _book(self, what: str, device: torch.device) -> None:
        now = _now(device)
        self.seconds[what] += now - self._since
        self._since = now


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
