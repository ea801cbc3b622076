"""What tests of sweeps share: no pictures, the names of the trained cells, a model that ends as it is told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cifarlab.sweeps import sweeper
from cifarlab.training import run as run_module

FATED_NETS = """
import os
import signal
import sys
import time
from pathlib import Path
from typing import Literal

from torch import nn


Fate = Literal["well", "raise", "exit", "diverge", "kill", "vanish", "wait"]


class Fated(nn.Module):
    def __init__(self, num_classes: int, *, fate: Fate = "well"):
        super().__init__()
        self.fate = fate
        self.steps = 0
        self.head = nn.Linear(3, num_classes)

    def forward(self, images):
        logits = self.head(images.mean((2, 3)))
        if self.training and self.fate == "raise":
            raise RuntimeError("broken on purpose")
        if self.training and self.fate == "exit":
            sys.exit(3)
        if self.training and self.fate == "kill":
            print("the last words", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.training and self.fate == "vanish":
            os._exit(0)
        self.steps += self.training
        while self.steps == 5 and self.fate == "wait" and not Path("go").exists():
            time.sleep(0.01)
        if self.training:
            Path(f"gpus-{os.environ.get('CUDA_VISIBLE_DEVICES')}").touch()
        return logits * float("nan") if self.training and self.fate == "diverge" else logits
"""


@pytest.fixture
def fated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The first arguments of a sweep, which make ``model=fated`` known."""
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "fated.yaml").write_text("_target_: fated_nets.Fated\n")
    (tmp_path / "own" / "fated_nets.py").write_text(FATED_NETS)
    monkeypatch.syspath_prepend(tmp_path / "own")
    return ("-m", "--config-dir", str(tmp_path / "own"), "allow=[fated_nets]", "model=fated")


@pytest.fixture
def summaries(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The sweeps that were summed up; the pictures themselves, which take most of the time, are tested elsewhere."""
    made: list[Path] = []

    def summarize(directory: Path) -> Path:
        made.append(directory)
        return directory / "summary" / "index.html"

    monkeypatch.setattr(sweeper, "summarize", summarize)
    return made


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the cells that were trained, in order."""
    names: list[str] = []
    real = run_module._fit

    def fit(sitting: Any, *given: Any) -> None:
        names.append(sitting.directory.name)
        real(sitting, *given)

    monkeypatch.setattr(run_module, "_fit", fit)
    return names
