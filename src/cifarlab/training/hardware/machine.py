"""What this machine has, and what of a run's wishes it cannot do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path

import torch
from lightning.fabric.plugins.environments import (
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from cifarlab.training.hardware.cores import usable_cores
from cifarlab.training.hardware.trainer import TrainerSettings

# A device of the CPU is a process: more than there are cores wait for each other. So few can be tried anywhere.
FEWEST_PROCESSES = 4
# Who starts the processes of a run on several machines and tells each of the others.
CLUSTERS = (SLURMEnvironment, TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)
# What Lightning itself goes by where nobody else does.
OWN_CLUSTER = ("MASTER_ADDR", "NODE_RANK")


def refusals(settings: TrainerSettings) -> list[str]:
    """A line for each thing that cannot be done here: key, value, why, what is allowed.

    What another machine might do is no fault of the settings, so a run that goes elsewhere is not asked.
    """
    looks = (_accelerator, _devices, _machines, _precision, _recording, _compiling)
    return [f"trainer.{fault}" for look in looks if (fault := look(settings))]


def rehearse(settings: TrainerSettings) -> None:
    """Make the Trainer and let go of it: Lightning has an eye on more than we do.

    Raises:
        Exception: of Lightning's; there can be no such Trainer here.
    """
    with _flags_kept():
        settings.make(1, Path())


def nearest(settings: TrainerSettings) -> TrainerSettings:
    """The same where this machine can do it, else the nearest on one device of it: for a test or a figure of a run
    that was trained on another machine."""
    if not refusals(settings):
        return settings
    here = copy(settings)
    here.devices, here.num_nodes, here.strategy, here.record, here.compile = 1, 1, "auto", "auto", False
    if _accelerator(here):
        here.accelerator = "auto"
    if _precision(here):
        here.precision = 32
    return here


def _accelerator(settings: TrainerSettings) -> str | None:
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if not missing.get(settings.device_type):
        return None
    device = {"cuda": "CUDA device", "mps": "Apple GPU"}[settings.device_type]
    return f"accelerator={settings.accelerator}: this machine has no {device}; allowed: cpu, auto"


def _devices(settings: TrainerSettings) -> str | None:
    kind = settings.device_type
    most = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind, max(FEWEST_PROCESSES, usable_cores()))
    if settings.devices <= most or not most:
        return None
    has = {"cuda": f"{most} CUDA", "mps": "one Apple GPU"}.get(kind, f"{usable_cores()} CPU cores")
    has = f"{has} device{'s' * (most > 1)}" if kind == "cuda" else has
    return f"devices={settings.devices}: this machine has {has}; allowed: {f'1 to {most}' if most > 1 else '1'}"


def _machines(settings: TrainerSettings) -> str | None:
    if settings.num_nodes == 1 or any(cluster.detect() for cluster in CLUSTERS):
        return None
    absent = [name for name in OWN_CLUSTER if name not in os.environ]
    if not absent:
        return None
    return (
        f"num_nodes={settings.num_nodes}: nothing says who the other machines are, and the run would wait for them for "
        f"ever; start it by srun or torchrun, or set {' and '.join(OWN_CLUSTER)} on each (not set: {', '.join(absent)})"
    )


def _precision(settings: TrainerSettings) -> str | None:
    kind, precision = settings.device_type, str(settings.precision)  # what auto comes to can be done
    if kind == "cpu" and precision == "16-mixed":
        return "precision=16-mixed: the CPU has no mixed precision of float16; allowed: auto, bf16-mixed, 32"
    if kind == "mps" and precision in ("64", "64-true"):
        return f"precision={precision}: an Apple GPU has no float64; allowed: auto, 32, or trainer.accelerator=cpu"
    return None


def _recording(settings: TrainerSettings) -> str | None:
    why_not = settings.why_not_recorded if settings.record is True else None
    return f"record=true: {why_not}; allowed: auto, false" if why_not else None


def _compiling(settings: TrainerSettings) -> str | None:
    if settings.compile is not True or settings.device_type != "cpu":
        return None
    compilers = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    if any(shutil.which(name) for name in compilers):
        return None
    return f"compile=true: it needs a C++ compiler, and there is none ({', '.join(compilers)}); allowed: auto, false"


@contextmanager
def _flags_kept() -> Iterator[None]:
    """What a Trainer sets for the whole process when it is made stays as it was."""
    name = "CUBLAS_WORKSPACE_CONFIG"
    deterministic, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    workspace = os.environ.get(name)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(name, None)
