"""Inside an array task of Slurm's: the cell, and what Slurm's signals mean to it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from types import FrameType

from cifarlab.sweeps.launchers import slurm_queue
from cifarlab.sweeps.launchers.launching import CellRun
from cifarlab.sweeps.launchers.worker import run_cell
from cifarlab.sweeps.ledger import read_outcome, status_of


def run_task(cell: CellRun) -> str | None:
    """Run a cell, or go on with it where Slurm has begun this task anew.

    Slurm sends SIGUSR2 when the time limit is near, and SIGTERM when it cancels, requeues or preempts. The cell writes
    down how far it came; after the time limit, and where it is preempted, it asks to be requeued: Slurm itself
    requeues only those preempted jobs that run on until they are killed.

    Returns:
        Why it was given up, None where the cell says all in its folder.
    """
    _forget_the_last_sitting()
    # With it Lightning takes one task for the whole of a run on several devices, and requeues by its own rules.
    os.environ.pop("SLURM_NTASKS", None)
    before, limit = _epochs(cell), _TimeLimit()
    signal.signal(signal.SIGUSR2, limit.is_near)
    with suppress(SystemExit):  # of a run that did not finish: its result says so
        run_cell(cell)
    if status_of(cell.directory, cell.key) != "interrupted":
        return None
    job = os.environ["SLURM_JOB_ID"]
    preempted = slurm_queue.is_preempted(job)
    if limit.has_come and not preempted and _epochs(cell) <= before:
        return "hydra.launcher.timeout_min: no epoch ended within the limit"
    if limit.has_come or preempted:
        slurm_queue.requeue(job)
    return None


class _TimeLimit:
    """Hands the warning of the time limit on as the signal at which a run writes down how far it came."""

    def __init__(self) -> None:
        self.has_come = False

    def is_near(self, number: int, frame: FrameType | None) -> None:
        self.has_come = True
        signal.raise_signal(signal.SIGTERM)


def _epochs(cell: CellRun) -> int:
    """How many epochs the cell's own record counts."""
    outcome = read_outcome(cell.directory)
    return int(outcome.get("epochs", 0)) if outcome.get("key") == cell.key else 0


def _forget_the_last_sitting() -> None:
    """What a requeued task returned before, which would be taken for what it will return."""
    from submitit import JobEnvironment

    Path(JobEnvironment().paths.result_pickle).unlink(missing_ok=True)
