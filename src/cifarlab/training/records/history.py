"""Callbacks that write down what happens: the history of epochs, the clock, a loss that breaks.

Those that read an epoch's metrics are `Checkpoint`s, since Lightning runs these after the module has logged.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint

from cifarlab.result import write_text
from cifarlab.training.finetune import TwoPhases
from cifarlab.training.step.classifier import classifier_of

# Steps between two looks at the loss: a look waits for the device.
CHECK_EVERY = 50


class Diverged(RuntimeError):
    """The training loss became NaN or infinite."""


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
        if not torch.isfinite(classifier_of(pl_module).train_means.sums).all():
            between = f"between steps {self.last_good_step} and {trainer.global_step}"
            raise Diverged(f"the training loss became NaN or infinite {between}")
        self.last_good_step = trainer.global_step


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


class History(Checkpoint):
    """``history.csv``: a row an epoch, rewritten atomically as the run goes on.

    Args:
        directory: the run directory.
        clock: of the run.
        phases: of a run that has two; each row then says in which it was.
    """

    def __init__(self, directory: Path, clock: Clock, phases: TwoPhases | None = None) -> None:
        self.path = directory / "history.csv"
        self.clock = clock
        self.phases = phases
        self.rows: list[dict[str, float | int | None]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        row: dict[str, float | int | None] = {"epoch": trainer.current_epoch, **classifier_of(pl_module).measured}
        row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        if self.phases is not None:
            row["phase"] = self.phases.phase
        row["seconds"] = round(self.clock.seconds["train"] + self.clock.seconds["compile"], 3)
        self.rows.append(row)
        if trainer.is_global_zero:
            write_text(self.path, to_csv(self.rows))

    def state_dict(self) -> dict[str, Any]:
        return {"rows": list(self.rows)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def columns(self) -> dict[str, list[float]]:
        """The history by column; NaN where an epoch did not measure."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {name: [_number(row.get(name)) for row in self.rows] for name in names}


def to_csv(rows: list[dict[str, Any]]) -> str:
    """Rows of possibly different keys as CSV text, the first row's order first."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a history row: everything but its epoch, learning rate, phase and time."""
    return {name: value for name, value in row.items() if name not in ("epoch", "lr", "phase", "seconds")}


def _number(value: float | int | None) -> float:
    return math.nan if value is None else float(value)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
