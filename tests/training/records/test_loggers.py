"""The loggers' own records end with the run."""

from __future__ import annotations

import pytest

from cifarlab.training.records import loggers


class Experiment:
    def __init__(self) -> None:
        self.finished = 0

    def finish(self) -> None:
        self.finished += 1


class FakeLogger:
    def __init__(self) -> None:
        self.experiment = Experiment()
        self.status: list[str] = []

    def finalize(self, status: str) -> None:
        self.status.append(status)


class FakeWandb(FakeLogger):
    """Stands in for Weights & Biases, which is an extra."""


def test_a_wandb_run_ends_with_its_cell_and_others_are_finalized_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "WandbLogger", FakeWandb)
    wandb, other = FakeWandb(), FakeLogger()
    for logger in (wandb, other):
        loggers.RunLogger(logger).close("failed")  # type: ignore[arg-type]
    assert (wandb.status, other.status) == (["failed"], ["failed"])
    assert (wandb.experiment.finished, other.experiment.finished) == (1, 0)
