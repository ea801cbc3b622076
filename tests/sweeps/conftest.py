"""A model of the user's own that ends its training as it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest

FATED_NETS = """
import sys
from typing import Literal

from torch import nn


class Fated(nn.Module):
    def __init__(self, num_classes: int, *, fate: Literal["well", "raise", "exit", "diverge"] = "well"):
        super().__init__()
        self.fate = fate
        self.head = nn.Linear(3, num_classes)

    def forward(self, images):
        logits = self.head(images.mean((2, 3)))
        if self.training and self.fate == "raise":
            raise RuntimeError("broken on purpose")
        if self.training and self.fate == "exit":
            sys.exit(3)
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
