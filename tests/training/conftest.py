"""Runs of built objects, without a configuration: a linear net on pooled digits, a second each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cifarlab.data.augment import Augment
from cifarlab.data.digits import Digits
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.result import Identity, Result
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.optimizers.factories import sgd
from cifarlab.training.recipe import Recipe
from cifarlab.training.run import run
from cifarlab.training.schedules import Budget


def _linear(num_classes: int) -> nn.Module:
    """Digits averaged to 8x8 pixels -> logits."""
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))


def _digits(*, augment: Augment | None = None, **named: Any) -> ImageData:
    """180 digits to train, 20 to validate, 200 to test."""
    given = {"batch_size": 50, "limit": 200, "val_fraction": 0.1} | named
    return ImageData(augment or Augment(), Seeds.same(0), source=Digits(), **given)


def _constant(optimizer: Optimizer, budget: Budget) -> dict[str, Any]:
    return {"scheduler": LambdaLR(optimizer, lambda step: 1.0), "interval": "step", "frequency": 1}


@pytest.fixture(scope="session")
def linear() -> Callable[[int], nn.Module]:
    """The net of these runs."""
    return _linear


@pytest.fixture(scope="session")
def digits() -> Callable[..., ImageData]:
    """What differs -> the data of these runs."""
    return _digits


@pytest.fixture(scope="session")
def small_run() -> Callable[..., Result]:
    """A directory, and whatever differs from a small run on the CPU -> its result."""

    def start(directory: Path, *, key: str = "0" * 16, lr: float = 0.05, **given: Any) -> Result:
        settings: dict[str, Any] = {
            "identity": Identity(key=key, group="1" * 16),
            "seeds": Seeds.same(0),
            "recipe": Recipe(epochs=2),
            "net": _linear,
            "optimizer": lambda net: sgd(net, lr=lr),
            "schedule": _constant,
            "trainer": TrainerSettings(precision=32, accelerator="cpu", progress_bar=False),
            "figures": (),
        } | given
        settings.setdefault("data", _digits())
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return run(directory, **settings)
        finally:
            torch.set_num_threads(threads)

    return start
