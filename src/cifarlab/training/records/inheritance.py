"""Going on from a finished run in a new directory: its last state and its best weights under another key."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.optim import Optimizer

from cifarlab.training.recipe import Parent
from cifarlab.training.records.checkpoints import BEST, FOLDER, LAST, read_checkpoint, save_checkpoint
from cifarlab.training.step.classifier import classifier_of

INHERITED = "inherited"  # of a last.ckpt that its run has not written itself
# What begins anew: patience is counted from here on, and phases are the parent's alone.
NOT_INHERITED = ("EarlyStopping", "StopInTheSecondPhase", "TwoPhases")


def inherit(parent: Parent, directory: Path, key: str) -> None:
    """Put the parent's last state and best weights into a directory whose run has not begun; else do nothing.

    Args:
        parent: a run that kept both.
        directory: of the run that goes on from it.
        key: of that run.

    Raises:
        ValueError: the parent's files are missing, damaged or another run's.
    """
    if (directory / FOLDER / LAST).exists():
        return
    last, best = (parents_checkpoint(parent, name) for name in (LAST, BEST))
    kept = {name: state for name, state in last["callbacks"].items() if not name.startswith(NOT_INHERITED)}
    save_checkpoint(directory / FOLDER / BEST, best | {"key": key})
    save_checkpoint(directory / FOLDER / LAST, last | {"key": key, "callbacks": kept, INHERITED: True})


def parents_checkpoint(parent: Parent, name: str, *, mmap: bool = False) -> dict[str, Any]:
    """One of the parent's two files.

    Raises:
        ValueError: it is missing, damaged or another run's.
    """
    path = parent.directory / FOLDER / name
    if not path.is_file():
        raise ValueError(
            f"continue_from={parent.directory}: {path} is missing; only checkpoints=all keeps what it takes"
        )
    return read_checkpoint(path, key=parent.key, mmap=mmap)


def check_fit(parent: Parent, net: nn.Module, optimizer: Optimizer) -> None:
    """Compare a net and its optimizer, which may lie on the meta device, with what they would inherit.

    Raises:
        ValueError: they cannot take it.
    """
    checkpoint = parents_checkpoint(parent, LAST, mmap=True)
    theirs = {name.removeprefix("net."): tuple(each.shape) for name, each in checkpoint["state_dict"].items()}
    ours = {name: tuple(each.shape) for name, each in net.state_dict().items()}
    differ = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    if differ:
        raise ValueError(f"continue_from={parent.directory}: the net is not of its shape (such as {differ[0]})")
    sizes = [len(group["params"]) for group in checkpoint["optimizer_states"][0]["param_groups"]]
    if sizes != [len(group["params"]) for group in optimizer.param_groups]:
        raise ValueError(f"continue_from={parent.directory}: the optimizer's groups of weights are not the same")


class Entrance(Callback):
    """Lets an inherited state enter this run's schedule where it stands.

    The momenta are the parent's; learning rate, momentum, decay and the schedule are what this run says: its schedule
    over all of its epochs, at the tick that the parent's epochs lead to. A schedule that waits for a measured loss
    begins anew. A run that goes on with a state of its own is left alone.
    """

    def __init__(self) -> None:
        self.epochs_before: int | None = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if checkpoint.get(INHERITED):
            self.epochs_before = checkpoint["epoch"] + 1
            checkpoint["lr_schedulers"] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.epochs_before is None:
            return
        classifier = classifier_of(pl_module)
        fresh = classifier.make_optimizer(classifier.net)
        schedule = classifier.make_schedule(fresh, classifier.budget)
        if "monitor" not in schedule:
            per_epoch = classifier.budget.steps_per_epoch if schedule["interval"] == "step" else 1
            with warnings.catch_warnings():  # torch expects a step of the optimizer before the schedule's
                warnings.simplefilter("ignore", UserWarning)
                for _ in range(self.epochs_before * per_epoch):
                    schedule["scheduler"].step()
        for group, own in zip(trainer.optimizers[0].param_groups, fresh.param_groups, strict=True):
            group.update({name: value for name, value in own.items() if name != "params"})
        classifier.schedule["scheduler"].load_state_dict(schedule["scheduler"].state_dict())
        self.epochs_before = None
