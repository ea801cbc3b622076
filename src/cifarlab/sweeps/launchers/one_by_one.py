"""Cells one after another in this process: imports and data are loaded once."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from cifarlab.result import Status
from cifarlab.sweeps.launchers.launching import CellLauncher, CellRun
from cifarlab.sweeps.launchers.local import LocalLauncher
from cifarlab.sweeps.ledger import DONE, claimed, status_of
from cifarlab.sweeps.searching.search import watch_of
from cifarlab.training.records.faults import Occupied
from cifarlab.training.records.interruption import Interrupted, raising_on_signals


class OneByOne(CellLauncher):
    """What runs cells where no other launcher is chosen (Hydra's ``basic``).

    A run on several devices gets a process of its own: Lightning starts the command of its process anew for each
    further device, and this process's is the whole sweep's.
    """

    where = "process"

    def __init__(self) -> None:
        self._apart = LocalLauncher(jobs=1)
        super().__init__()

    @property
    def stop_requests(self) -> int:
        return self._apart.stop_requests

    @stop_requests.setter
    def stop_requests(self, count: int) -> None:
        self._apart.stop_requests = count

    def slots(self) -> int:
        return 1

    def run(self, cells: Iterator[CellRun]) -> Iterator[tuple[CellRun, str | None]]:
        for cell in cells:
            if cell.devices > 1:
                yield from self._apart.run(iter([cell]))
            else:
                yield cell, self._run_here(cell)

    def _run_here(self, cell: CellRun) -> str | None:
        with claimed(cell.sweep, cell.key) as mine:
            if not mine or status_of(cell.directory, cell.key) in DONE:
                return None
            assert cell.planned is not None
            job = cell.planned.job
            try:
                with raising_on_signals():
                    job.execute(cell.directory, aloud=False, watch=watch_of(job, cell.directory))
            except Occupied:  # by `resume=`, since it was looked at
                return None
            except Interrupted as reason:
                self.stop_requests += 1
                return f"stopped by {reason}"
            except ValueError as error:  # what the user can mend, such as a checkpoint of another run
                return str(error)
            except OSError as error:
                return f"{type(error).__name__}: {error}"
            except (Exception, SystemExit):  # outside of `run`, which lets nothing out: it could not begin
                return traceback.format_exc()
            if status_of(cell.directory, cell.key) == Status.INTERRUPTED:  # a signal that the run itself has heard
                self.stop_requests += 1
        return None
