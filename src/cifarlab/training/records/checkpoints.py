"""What a run keeps of its weights: the best on validation, and all that resuming needs.

Both files are written beside their place and moved there, and both open with ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import math
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn

from cifarlab.training.step.classifier import classifier_of
from cifarlab.training.step.ema import WeightEMA

FOLDER = "checkpoints"


class BestWeights(Checkpoint):
    """``best.ckpt``: the net's own ``state_dict`` of the epoch with the highest validation accuracy.

    Ties go to the lower validation loss, then to the earlier epoch. Without a validation split every epoch replaces
    the one before. With a moving average it is the averaged weights, which validation has seen, that are kept.

    Args:
        directory: the run directory.
        average: the run's moving average, if it has one.
    """

    def __init__(self, directory: Path, average: WeightEMA | None = None) -> None:
        self.path = directory / FOLDER / "best.ckpt"
        self.average = average
        self.best: tuple[float, float] = (-math.inf, -math.inf)
        self.epoch = -1
        self.by = "last"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        classifier = classifier_of(pl_module)
        metrics = classifier.measured
        if "val/acc" in metrics:
            self.by = "val/acc"
            score = (metrics["val/acc"], -metrics["val/loss"])
            if not score > self.best:
                return
            self.best = score
        self.epoch = trainer.current_epoch
        if trainer.is_global_zero:
            with self.average.applied(classifier.net) if self.average else nullcontext():
                save_weights(self.path, classifier.net, epoch=self.epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"best": list(self.best), "epoch": self.epoch, "by": self.by}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = tuple(state_dict["best"])
        self.epoch, self.by = state_dict["epoch"], state_dict["by"]


class LastState(Checkpoint):
    """``last.ckpt``: weights, optimizer, schedule, callbacks and random generators at the end of an epoch."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FOLDER / "last.ckpt"
        self._generators: dict[str, Any] | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(".last.ckpt.part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(self.path)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._generators is not None:
            _set_generators(self._generators, pl_module.device)
            self._generators = None

    def state_dict(self) -> dict[str, Any]:
        state = {"cpu": torch.get_rng_state()}
        return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_initialized() else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._generators = dict(state_dict)


def save_weights(path: Path, net: nn.Module, **about: int | float | str) -> None:
    """Write ``{"state_dict": ..., **about}`` atomically; the names are the net's own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save({"state_dict": plain_state(net), **about}, temporary)
    temporary.replace(path)


def load_weights(path: Path, net: nn.Module) -> dict[str, Any]:
    """Put a ``best.ckpt`` into the net and return what else the file says.

    Raises:
        FileNotFoundError: there is no such file.
        RuntimeError: the weights are of another architecture.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict(checkpoint.pop("state_dict"))
    return checkpoint


def plain_state(net: nn.Module) -> dict[str, Tensor]:
    """The net's ``state_dict`` on the CPU in the ordinary memory format."""
    return {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}


def discard(directory: Path, keep: str) -> None:
    """Remove what a finished run does not keep: ``all`` keeps both files, ``best`` the best, ``none`` neither."""
    folder = directory / FOLDER
    for name, kept_by in (("last.ckpt", ("all",)), ("best.ckpt", ("all", "best"))):
        if keep not in kept_by:
            (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _set_generators(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
