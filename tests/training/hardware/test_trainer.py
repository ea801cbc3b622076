"""What a run may ask of the hardware, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cifarlab.training.hardware.machine import refusals
from cifarlab.training.hardware.trainer import TrainerSettings


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"accelerator": "cpu"}, "accelerator=cpu is cpu here, and only CUDA devices record"),
        ({"accelerator": "gpu", "devices": 2}, "several devices wait for each other"),
        ({"accelerator": "gpu", "precision": "16-mixed"}, "precision=16-mixed asks the GPU within a step"),
    ],
)
def test_recording_is_refused_where_it_cannot_be(
    settings: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    (fault,) = refusals(TrainerSettings(record=True, **settings))
    assert fault.startswith(f"trainer.record=true: {reason}")
    assert fault.endswith("; allowed: auto, false")
    assert refusals(TrainerSettings(record="auto", **settings)) == []
