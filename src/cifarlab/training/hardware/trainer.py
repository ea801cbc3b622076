"""Lightning's Trainer, with the settings a run may choose and our defaults for the rest."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import Logger

from cifarlab.training.hardware.device import resolve_precision

# 32 and 64 are numbers, as the command line reads them.
Precision = Literal["auto", 32, 64, "32-true", "64-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true"]

# Lightning's others make their processes of pickled objects, come back without what the run has recorded, or leave each
# device a part of the weights only.
Strategy = Literal["auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false"]

# Lightning's own names of what is asked for by a number.
EXACT = {"32": "32-true", "64": "64-true"}


class TrainerSettings:
    """How and on what a run is trained.

    Args:
        precision: Lightning's precision; ``auto`` is ``bf16-mixed`` where the device gains by it, else ``32``.
        accelerator: ``auto`` takes a GPU if there is one.
        devices: how many devices one run uses.
        strategy: how several devices share a run, by Lightning's name; ``auto`` is ``ddp``.
        num_nodes: how many machines one run uses.
        gradient_clip_norm: gradients are scaled down to this L2 norm; null leaves them.
        accumulate_batches: batches whose gradients are summed before a step.
        channels_last: weights and pictures in the memory format that convolutions are fastest with.
        record: on a CUDA device, record the training step and replay it, so that the GPU need not wait for Python;
            ``auto`` does so where it can and says where it cannot, ``true`` refuses there.
        compile: ``torch.compile`` the net for training; ``auto`` where the run is recorded, and long enough to gain.
        deterministic: refuse operations whose result depends on their order (slower on a GPU).
        progress_bar: show Lightning's bar, on a terminal; each epoch has its line without it too.
    """

    version = 2  # of `precision`: metrics are of logits in float32, and ties count against the net

    def __init__(
        self,
        *,
        precision: Precision = "auto",
        accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto",
        devices: Annotated[int, Ge(1)] = 1,
        strategy: Strategy = "auto",
        num_nodes: Annotated[int, Ge(1)] = 1,
        gradient_clip_norm: Annotated[float, Gt(0)] | None = None,
        accumulate_batches: Annotated[int, Ge(1)] = 1,
        channels_last: bool = True,
        record: Literal["auto"] | bool = "auto",
        compile: Literal["auto"] | bool = False,
        deterministic: bool = False,
        progress_bar: bool = True,
    ) -> None:
        self.precision = precision
        self.accelerator = accelerator
        self.devices = devices
        self.strategy = strategy
        self.num_nodes = num_nodes
        self.gradient_clip_norm = gradient_clip_norm
        self.accumulate_batches = accumulate_batches
        self.channels_last = channels_last
        self.record = record
        self.compile = compile
        self.deterministic = deterministic
        self.progress_bar = progress_bar

    @property
    def why_not_recorded(self) -> str | None:
        """What keeps the step from being recorded, as far as the settings and the machine tell."""
        if self.device_type != "cuda":
            return f"accelerator={self.accelerator} is {self.device_type} here, and only CUDA devices record"
        if self.devices * self.num_nodes > 1:
            return "several devices wait for each other within a step"
        return "precision=16-mixed asks the GPU within a step" if self.precision == "16-mixed" else None

    @property
    def device_type(self) -> str:
        """``cuda``, ``mps`` or ``cpu``: what ``accelerator`` comes to on this machine."""
        if self.accelerator != "auto":
            return {"gpu": "cuda"}.get(self.accelerator, self.accelerator)
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    @property
    def resolved_precision(self) -> str:
        """The precision that ``auto`` comes to on this machine."""
        return resolve_precision(str(self.precision), self.device_type)

    def make(
        self,
        max_epochs: int,
        directory: Path,
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] = (),
        bar: Callback | None = None,
    ) -> Trainer:
        """A Trainer that writes nothing of its own: checkpoints and records are callbacks of ours.

        Args:
            max_epochs: passes over the training split.
            directory: the run directory.
            callbacks: ours; Lightning's own checkpoints are off.
            loggers: where curves go.
            bar: the progress bar, shown where the settings want one.

        Raises:
            ValueError: Lightning would compute in another precision than was asked for.
        """
        _silence_lightning()
        bars = [bar] if bar is not None and self.progress_bar and sys.stdout.isatty() else []
        trainer = Trainer(
            max_epochs=max_epochs,
            accelerator=self.device_type,
            devices=self.devices,
            num_nodes=self.num_nodes,
            # Left to itself, Lightning forks in a notebook, and the run's records stay in the fork.
            strategy="ddp" if self.strategy == "auto" and self.devices * self.num_nodes > 1 else self.strategy,
            precision=self.resolved_precision,  # type: ignore[arg-type]
            deterministic=self.deterministic,
            benchmark=self.device_type == "cuda" and not self.deterministic,
            callbacks=[*callbacks, *bars],
            logger=list(loggers),
            default_root_dir=directory,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_progress_bar=bool(bars),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            # Batches shard themselves and know their rank.
            use_distributed_sampler=False,
        )
        if trainer.precision != EXACT.get(self.resolved_precision, self.resolved_precision):
            raise ValueError(f"trainer.precision={self.precision}: would be computed in {trainer.precision} here")
        for step in ("train", "val", "test"):  # the module's steps put the net alone into the run's precision
            setattr(trainer.precision_plugin, f"{step}_step_context", nullcontext)
        return trainer


def _silence_lightning() -> None:
    """Lightning announces devices, tips and its cloud at every start; a sweep would repeat them a thousand times."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning_fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*does not have many workers.*",
        r".*number of training batches.*smaller than the logging interval.*",
        r".*Checkpoint directory .* exists and is not empty.*",
        r".*Total length of `list` across ranks is zero.*",  # no validation split
        r".*litlogger.*",
        r".*litmodels.*",
        r".*running without CUDA graph capture.*",  # the steps before the one that is recorded
        r".*sync_dist=True.*",  # the means are summed over devices before they are logged
        r"`?isinstance\(treespec, LeafSpec\)`? is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message=message)
