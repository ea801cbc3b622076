"""The loop of a sweep, the same for every launcher: give it the cells that are due, record how each has ended."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from cifarlab.job.directory import write_job
from cifarlab.job.preflight import Planned
from cifarlab.reading import refuse_what_leads_out
from cifarlab.result import Result, Status
from cifarlab.sweeps.launchers.launching import CellLauncher, CellRun
from cifarlab.sweeps.launchers.worker import last_words
from cifarlab.sweeps.ledger import DAMAGED, DONE, MISSING, Cell, claimed, read_outcome, status_of
from cifarlab.sweeps.progress import Progress
from cifarlab.training.records.claim import is_occupied
from cifarlab.training.records.faults import DamagedCheckpoint, UnusableCheckpoint

ELSEWHERE = "another process is at it"

OnEnd = Callable[[Cell, str], None]


@dataclass(frozen=True)
class _AtWork:
    """A cell that a launcher has, and what its folder said before."""

    cell: Cell
    planned: Planned
    before: Mapping[str, Any]


class Running:
    """Runs cells of a sweep.

    Args:
        directory: the sweep's folder.
        command: the script that resumes a run, and its first arguments.
        launcher: runs them.
        progress: says how it goes.
        on_end: told of every cell how it stands as soon as that is known, before the next cell is asked for:
            ``finished failed diverged interrupted missing damaged``, or `ELSEWHERE`.

    Attributes:
        outcomes: a cell's key -> how it stands.
    """

    def __init__(
        self,
        directory: Path,
        command: tuple[str, ...],
        launcher: CellLauncher,
        progress: Progress,
        on_end: OnEnd = lambda cell, status: None,
    ) -> None:
        self.directory = directory
        self.command = command
        self.launcher = launcher
        self.progress = progress
        self.on_end = on_end
        self.outcomes: dict[str, str] = {}
        self._at_work: dict[str, _AtWork] = {}
        self._elsewhere: list[_AtWork] = []

    @property
    def stopped(self) -> bool:
        """Whether the sweep was asked to stop."""
        return self.launcher.stop_requests > 0

    def run(self, cells: Iterable[tuple[Cell, Planned]]) -> None:
        """Run those that are not done, and at the end those that another process has left undone.

        Args:
            cells: taken one by one as they are run, so that the next may depend on how the earlier ones ended.
        """
        self._run(cells)
        if not self.stopped:
            self._run(self._left_behind())

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Within, SIGINT and SIGTERM ask to stop: once for an orderly end, twice for a quick one."""

        def ask(number: int, frame: FrameType | None) -> None:
            self.launcher.stop_requests += 1
            if self.launcher.stop_requests == 1:  # written past Python's buffers, which may be in use just now
                os.write(2, b"stopping: the cells at work write down how far they came; once more to kill them\n")

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self, cells: Iterable[tuple[Cell, Planned]]) -> None:
        with closing(self.launcher.run(self._due(cells))) as endings:  # type: ignore[type-var]
            for run, died in endings:
                self._end(run, died)

    def _due(self, cells: Iterable[tuple[Cell, Planned]]) -> Iterator[CellRun]:
        """Those of the cells that are neither done nor at work in another process."""
        for cell, planned in cells:
            before = read_outcome(self.directory / cell.name)
            with claimed(self.directory, cell.key) as mine:
                mine = mine and not is_occupied(self.directory / cell.name)
                status = status_of(self.directory / cell.name, cell.key) if mine else ELSEWHERE
            if mine and status not in (*DONE, DAMAGED) and (fault := _leads_out(self.directory / cell.name)):
                self.progress.skipped(cell, f"failed: {fault}")
                self._note(cell, "failed")
            elif status == DAMAGED:
                self.progress.skipped(cell, before["error"])
                self._note(cell, status)
            elif status in (*DONE, ELSEWHERE):
                if not mine:
                    self._elsewhere.append(_AtWork(cell, planned, before))
                self.progress.skipped(cell, status)
                self._note(cell, status)
            else:
                try:
                    self._begin_anew_where_torn(cell)
                    run = cell_run(self.directory, cell, planned, self.command)
                except OSError as error:
                    self._could_not_write(cell, error)
                else:
                    self._at_work[cell.key] = _AtWork(cell, planned, before)
                    self.progress.started(cell, slots=self.launcher.slots())
                    yield run
            if self.stopped:
                return

    def _begin_anew_where_torn(self, cell: Cell) -> None:
        """Set aside checkpoints that nobody can go on with; another run's stay, and the run will refuse them."""
        directory = self.directory / cell.name
        if not (directory / "checkpoints").is_dir():
            return
        from cifarlab.training.records.checkpoints import check_checkpoints, set_aside  # and with it torch

        with claimed(self.directory, cell.key) as mine, suppress(UnusableCheckpoint):
            if not mine or is_occupied(directory):
                return
            try:
                check_checkpoints(directory, cell.key)
            except DamagedCheckpoint as error:
                self.progress.note(
                    f"{cell.name} begins anew: {str(error).partition(': remove')[0]}; "
                    f"what there is of it is {set_aside(directory)} now"
                )

    def _left_behind(self) -> Iterator[tuple[Cell, Planned]]:
        """What another process held when its turn was and has not brought to an end: it has died, or was stopped."""
        held, self._elsewhere = self._elsewhere, []
        for each in held:
            with claimed(self.directory, each.cell.key) as free:
                free = free and not is_occupied(self.directory / each.cell.name)
                now = read_outcome(self.directory / each.cell.name)
            if free and (now == each.before or now.get("status") == "interrupted"):
                yield each.cell, each.planned

    def _end(self, run: CellRun, died: str | None) -> None:
        """Note how a cell has ended; where nothing in its folder says so, write it there."""
        at_work = self._at_work.pop(run.key)
        cell, directory = at_work.cell, self.directory / run.name
        withdrawn = died is None and self.stopped
        with claimed(self.directory, run.key) as mine:
            mine = mine and not is_occupied(directory)
            if mine and not withdrawn and read_outcome(directory) == at_work.before:
                try:
                    self._record_death(run, died or "its process ended without a result")
                except OSError as error:
                    self._could_not_write(cell, error)
                    return
            status = status_of(directory, run.key) if mine else ELSEWHERE
        if status in (ELSEWHERE, MISSING):
            self.progress.skipped(cell, status)
        else:
            self.progress.ended(cell, read_outcome(directory))
        self._note(cell, status)

    def _record_death(self, run: CellRun, cause: str) -> None:
        record = Result.begun(run.identity, error="\n".join(filter(None, (last_words(run.directory), cause))))
        if self.stopped:
            record.status = Status.INTERRUPTED
        run.directory.mkdir(parents=True, exist_ok=True)
        record.write(run.directory)

    def _could_not_write(self, cell: Cell, error: OSError) -> None:
        """A cell whose folder takes nothing (a full disk, no permission) has failed, and the others go on."""
        self.progress.skipped(cell, f"failed: {error}")
        self._note(cell, "failed")

    def _note(self, cell: Cell, status: str) -> None:
        self.outcomes[cell.key] = status
        self.on_end(cell, status)


def _leads_out(directory: Path) -> str | None:
    """Why nothing is written into a cell's folder that may be a stranger's."""
    try:
        refuse_what_leads_out(directory)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def cell_run(directory: Path, cell: Cell, planned: Planned, command: tuple[str, ...]) -> CellRun:
    """A cell whose folder holds its job: what was planned is run, whatever becomes of ``conf/`` until its turn.

    Args:
        directory: the sweep's folder.
        cell: as the ledger has it.
        planned: as preflight has found it.
        command: the script that resumes a run, and its first arguments.
    """
    sweep, job = directory.absolute(), planned.job
    with claimed(directory, cell.key) as mine:
        if mine and not is_occupied(sweep / cell.name):
            write_job(job.changed(trainer__progress_bar=False), sweep / cell.name)  # a process has no terminal
    trainer = job.parts["trainer"].arguments
    return CellRun(
        sweep,
        cell.name,
        job.identity,
        command,
        Path.cwd(),
        allow=job.settings.allow,
        devices=trainer["devices"],
        accelerator=trainer["accelerator"],
        planned=planned,
    )
