"""``hydra/launcher=local``: several cells at once on this machine, in processes of their own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from multiprocessing import connection
from typing import Annotated, Literal

from annotated_types import Ge, MinLen

from cifarlab.sweeps.launchers.launching import GRACE, CellLauncher, CellRun
from cifarlab.sweeps.launchers.mps import shared_gpus
from cifarlab.sweeps.launchers.packing import MOST, Packing
from cifarlab.sweeps.launchers.processes import Worker, start_server
from cifarlab.sweeps.launchers.seats import Seats
from cifarlab.sweeps.ledger import read_outcome
from cifarlab.training.hardware.cores import usable_cores

PATIENCE = 0.5  # seconds between two looks at whether the sweep was asked to stop


class LocalLauncher(CellLauncher):
    """Shares this machine's GPUs, or the cores of its CPU, among workers that take cell after cell.

    A job gets the least loaded GPU, through CUDA_VISIBLE_DEVICES; one with ``trainer.devices=2`` gets two to itself.
    On the CPU the last digits of a run depend on its number of threads, so ``threads`` and ``jobs`` are to be kept
    where a sweep goes on.

    Args:
        jobs: how many run at once; null: as many as the GPUs have places for, without a GPU one a core.
        jobs_per_gpu: how many jobs of one device share a GPU; ``auto`` finds out with the first cells, from one job to
            eight, as long as that trains more pictures a second in all.
        threads: CPU threads of a job; null: the cores divided among the jobs.
        gpus: names of the GPUs to use, as CUDA_VISIBLE_DEVICES takes them; null: all that this process sees.
        mps: ``auto`` starts NVIDIA's multi-process service for jobs that share a GPU, where the machine has it and it
            does not run, and stops it afterwards; false does not.
    """

    def __init__(
        self,
        *,
        jobs: Annotated[int, Ge(1)] | None = None,
        jobs_per_gpu: Annotated[int, Ge(1)] | Literal["auto"] = 1,
        threads: Annotated[int, Ge(1)] | None = None,
        gpus: Annotated[tuple[int | str, ...], MinLen(1)] | None = None,
        mps: Literal["auto", False] = "auto",
    ) -> None:
        super().__init__()
        self.jobs = jobs
        self.packing = Packing() if jobs_per_gpu == "auto" else None
        self.jobs_per_gpu = MOST if jobs_per_gpu == "auto" else jobs_per_gpu
        self.threads = threads
        self.gpus = None if gpus is None else tuple(map(str, gpus))
        self.mps = mps
        self._machine: Machine | None = None

    def slots(self) -> int:
        return self._machine.jobs if self._machine else self.jobs or 1

    def run(self, cells: Iterator[CellRun]) -> Iterator[tuple[CellRun, str | None]]:
        waiting = next(cells, None)
        if waiting is None:
            return
        machine = self._machine = self.share_among(waiting)
        start_server(machine.threads)
        share = self.mps == "auto" and machine.seats is not None and self.jobs_per_gpu > 1
        with shared_gpus(share) as environment:
            yield from self._run(chain([waiting], cells), machine, Workers(machine.threads, environment))

    def _run(
        self, cells: Iterator[CellRun], machine: Machine, workers: Workers
    ) -> Iterator[tuple[CellRun, str | None]]:
        waiting: CellRun | None = None
        stopping = _Stopping()
        try:
            while True:
                while not self.stop_requests and machine.has_place(workers.busy):
                    waiting = waiting or next(cells, None)
                    gpus = machine.take(waiting) if waiting else None
                    if waiting is None or gpus is None:
                        break
                    workers.give(waiting, gpus, sharing=machine.sharing)
                    waiting = None
                if not workers.busy:
                    break
                workers.wait(PATIENCE)
                stopping.look(self.stop_requests, workers.busy)
                for worker, cell in workers.done():
                    machine.give_back(worker.gpus)
                    self._learn(worker, cell, machine)
                    yield cell, worker.cause_of_death()
            if waiting is not None:
                yield waiting, None
        finally:
            workers.end()

    def _learn(self, worker: Worker, cell: CellRun, machine: Machine) -> None:
        """Let the speed of a cell say how many jobs a GPU is given from now on."""
        if self.packing is None or machine.seats is None:
            return
        self.packing.learn(read_outcome(cell.directory).get("images_per_second"), jobs=worker.sharing)
        machine.seats.per_gpu = self.packing.jobs

    def share_among(self, cell: CellRun) -> Machine:
        """How this machine is divided among cells like this one."""
        cores = usable_cores()
        gpus = () if cell.accelerator in ("cpu", "mps") else self.gpus or visible_gpus()
        if gpus:
            fitting = len(gpus) * self.jobs_per_gpu if cell.devices == 1 else len(gpus) // cell.devices
        elif cell.accelerator != "cpu" and has_apple_gpu():
            fitting = self.jobs_per_gpu
        else:
            fitting = cores // cell.devices
        jobs = self.jobs or max(1, fitting)
        threads = self.threads or max(1, cores // (jobs * cell.devices))
        per_gpu = self.jobs_per_gpu if self.packing is None else self.packing.jobs
        return Machine(jobs, threads, Seats(gpus, per_gpu) if gpus else None)


@dataclass(frozen=True)
class Machine:
    """A machine, divided.

    Attributes:
        jobs: how many run at once at most.
        threads: CPU threads of each process.
        seats: at the GPUs; None where the jobs run on the CPU.
    """

    jobs: int
    threads: int
    seats: Seats | None

    def has_place(self, running: list[Worker]) -> bool:
        return len(running) < self.jobs and (self.seats is None or self.seats.free > 0)

    @property
    def sharing(self) -> int:
        """How many jobs a GPU is given now."""
        return 1 if self.seats is None else self.seats.per_gpu

    def take(self, cell: CellRun) -> tuple[str, ...] | None:
        """The GPUs for a cell, none on the CPU; None while they are taken."""
        return () if self.seats is None else self.seats.take(cell.devices)

    def give_back(self, gpus: tuple[str, ...]) -> None:
        if self.seats is not None:
            self.seats.give_back(gpus)


class Workers:
    """The processes of a sweep: those at work, and idle ones that wait for the next cell.

    Args:
        threads: CPU threads of each.
        environment: further variables of theirs.
    """

    def __init__(self, threads: int, environment: Mapping[str, str]) -> None:
        self.threads = threads
        self.environment = environment
        self.busy: list[Worker] = []
        self.idle: list[Worker] = []

    def give(self, cell: CellRun, gpus: tuple[str, ...], sharing: int) -> None:
        """Hand a cell to an idle worker with these GPUs, or to a new one.

        A run on several devices gets a worker of its own, in which Lightning has not started a run before.
        """
        fitting = [worker for worker in self.idle if worker.gpus == gpus and worker.is_alive and cell.devices == 1]
        if fitting:
            worker = fitting[0]
            self.idle.remove(worker)
        else:
            worker = Worker(threads=self.threads, gpus=gpus, environment=self.environment)
        worker.sharing = sharing
        self.busy.append(worker)
        worker.give(cell)

    def wait(self, seconds: float) -> None:
        """Until a cell has ended, but not for longer than so many seconds."""
        connection.wait([sign for worker in self.busy for sign in worker.signs], timeout=seconds)

    def done(self) -> Iterator[tuple[Worker, CellRun]]:
        """The workers whose cell has ended, and that cell; they are idle then, or dead."""
        for worker in [worker for worker in self.busy if worker.is_done]:
            cell, worker.cell = worker.cell, None
            assert cell is not None
            self.busy.remove(worker)
            if worker.is_alive and cell.devices == 1:
                self.idle.append(worker)
            else:
                worker.close()
            yield worker, cell

    def end(self) -> None:
        for worker in self.busy:
            worker.send(signal.SIGKILL)
        for worker in self.idle:
            worker.close()


class _Stopping:
    """Asks processes to stop; and kills them, when their time is over or nobody wants to wait any longer."""

    def __init__(self) -> None:
        self._since: float | None = None

    def look(self, requests: int, running: list[Worker]) -> None:
        if not requests:
            return
        self._since = self._since or time.monotonic()
        late = requests > 1 or time.monotonic() > self._since + GRACE
        for process in running:  # at every look: one that has just been forked does not listen yet
            process.send(signal.SIGKILL if late else signal.SIGTERM)


def has_apple_gpu() -> bool:
    """Whether this process may use the GPU of a Mac."""
    import torch

    return torch.backends.mps.is_available()


def visible_gpus() -> tuple[str, ...]:
    """The names of the GPUs that this process may use. Makes no CUDA context."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = range(count) if named is None else (name.strip() for name in named.split(","))
    return tuple(map(str, names))[:count]
