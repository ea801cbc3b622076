"""Cells one after another in this process, through Hydra's own launcher: imports and data are loaded once."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

from hydra.core.plugins import Plugins
from omegaconf import open_dict

from cifarlab.sweeps.launchers.launching import CellRun
from cifarlab.sweeps.launchers.local import LocalLauncher
from cifarlab.sweeps.ledger import DONE, claimed, status_of
from cifarlab.training.records.interruption import Interrupted, raising_on_signals


class OneByOne(LocalLauncher):
    """Hydra's `basic`, or another launcher of Hydra's, with one cell at a time.

    A run on several devices gets a process of its own: Lightning starts the command of its process anew for each
    further device, and this process's is the whole sweep's.

    Args:
        directory: the sweep's folder, as its cells are to record it.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(jobs=1)
        self.directory = directory

    def run(self, cells: Iterator[CellRun]) -> Iterator[tuple[CellRun, str | None]]:
        for cell in cells:
            if cell.devices > 1:
                yield from super().run(iter([cell]))
            else:
                yield cell, self._run_here(cell)

    def _run_here(self, cell: CellRun) -> str | None:
        with claimed(cell.sweep, cell.key) as mine:
            if not mine or status_of(cell.directory, cell.key) in DONE:
                return None
            try:
                with raising_on_signals():
                    self._hand_over(cell)
            except Interrupted as reason:
                self.stop_requests += 1
                return f"stopped by {reason}"
            except (Exception, SystemExit):  # outside of `run`, which lets nothing out: it could not begin
                return traceback.format_exc()
            if status_of(cell.directory, cell.key) == "interrupted":  # a signal that the run itself has heard
                self.stop_requests += 1
        return None

    def _hand_over(self, cell: CellRun) -> None:
        """Let Hydra's launcher run it. Raises what its task raised."""
        config = self.config.copy()
        with open_dict(config):
            config.hydra.sweep.dir = self.directory.as_posix()  # the launcher makes this folder
            # A cell's config is composed from these.
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{self.directory.as_posix()}'")
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=config
        )
        (done,) = launcher.launch([[*cell.overrides, f"hydra.sweep.subdir='{cell.name}'"]], initial_job_idx=0)
        _ = done.return_value
