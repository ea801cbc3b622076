"""A run that somebody watches: what the watch is told, and what is left of a run that it stops."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cifarlab.job.job import Job

MakeJob = Callable[..., Job]


def history(directory: Path) -> list[dict[str, str]]:
    """The rows of history.csv without their seconds."""
    rows = list(csv.DictReader((directory / "history.csv").open()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def stored(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "result.json").read_text())


class Stopping:
    """Stops a run after an epoch, and remembers what it was told."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.told: dict[int, float] = {}

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.told[epoch] = metrics["val/acc"]
        return epoch >= self.after


def test_a_pruned_run_is_untested_and_goes_on_to_the_same_digits(tiny_job: MakeJob, tmp_path: Path) -> None:
    job = tiny_job("++epochs=4")
    undisturbed = job.execute(tmp_path / "undisturbed")
    stopping = Stopping(after=1)
    assert job.execute(tmp_path / "pruned", watch=stopping).status == "pruned"
    result = stored(tmp_path / "pruned")
    rows = history(tmp_path / "undisturbed")
    assert result["status"] == "pruned"
    assert result["error"] == "stopped after epoch 1 by the validation curve"
    assert result["epochs"] == 2
    assert stopping.told == {epoch: float(rows[epoch]["val/acc"]) for epoch in (0, 1)}
    assert result["metrics"]["val/acc"] == max(stopping.told.values())
    assert not [name for name in result["metrics"] if name.startswith("test/")]
    assert not (tmp_path / "pruned" / "report.txt").exists()
    # Whoever wants the run after all gets it whole.
    later = Stopping(after=9)
    assert job.execute(tmp_path / "pruned", watch=later).status == "finished"
    assert list(later.told) == [2, 3]
    assert history(tmp_path / "pruned") == rows
    assert stored(tmp_path / "pruned")["metrics"] == undisturbed.metrics


def test_a_run_at_its_end_is_not_pruned(tiny_job: MakeJob, tmp_path: Path) -> None:
    stopping = Stopping(after=1)
    assert tiny_job("++epochs=2").execute(tmp_path, watch=stopping).status == "finished"
    assert list(stopping.told) == [0, 1]


def test_a_watch_that_breaks_fails_the_run(tiny_job: MakeJob, tmp_path: Path) -> None:
    def broken(epoch: int, metrics: Mapping[str, float]) -> bool:
        raise OSError("the storage is gone")

    result = tiny_job("++epochs=2").execute(tmp_path, watch=broken)
    assert result.status == "failed"
    assert "the storage is gone" in str(result.error)
