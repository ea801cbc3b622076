"""``hydra/launcher=slurm``: each cell an array task of Slurm's, submitted by submitit."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt

from cifarlab.job.configure import ConfigError
from cifarlab.sweeps.launchers import slurm_queue
from cifarlab.sweeps.launchers.launching import GRACE, CellLauncher, CellRun
from cifarlab.sweeps.launchers.slurm_task import run_task

if TYPE_CHECKING:
    from submitit import Job, SlurmExecutor

LOGS = ".slurm"  # in the sweep's folder: submission scripts, what they print, and submitit's pickles
TICK = 0.5  # seconds between two looks at whether the sweep was asked to stop
SHORTEST_POLL, LONGEST_POLL = 2.0, 30.0  # seconds between two questions to Slurm's controller, which all users share
# Network file systems show a new file to other machines up to some seconds late; submitit waits as long.
LATENESS = 15.0


class SlurmLauncher(CellLauncher):
    """Gives a grid to Slurm as one array, and a search as its cells are decided on.

    Cells go on where they were stopped when Slurm requeues them (preemption, a node's failure) and, through
    ``scontrol requeue``, when their time limit comes. Ctrl-C cancels what was submitted; if this process is killed,
    the jobs stay and finish their cells.

    Args:
        partition: Slurm's ``--partition``; null takes the site's default, as for the other options.
        account: ``--account``.
        qos: ``--qos``.
        constraint: ``--constraint``, such as ``a100``.
        timeout_min: time limit of a sitting in minutes; a cell that needs longer is requeued and goes on.
        signal_delay_s: seconds before that limit at which a cell writes down how far it came.
        cpus_per_cell: cores, and CPU threads, of a cell.
        gpus_per_cell: GPUs of a cell; null: its ``trainer.devices``, and none with ``trainer.accelerator=cpu``.
        mem_gb: memory of a cell in GiB.
        array_parallelism: how many cells run at once.
        max_queued: how many cells stand in the queue at once, the running ones included; the limits of the site
            (MaxArraySize, MaxSubmitJobs) must allow for it.
        setup: shell commands before each cell, such as ``module load cuda``.
        additional_parameters: further options of sbatch, without dashes: ``{reservation: x, exclusive: true}``.

    Raises:
        ValueError: submitit is not installed; Slurm's commands are not found; the warning comes before the beginning.
    """

    where = "elsewhere"

    def __init__(
        self,
        *,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        timeout_min: Annotated[int, Ge(1)] | None = None,
        signal_delay_s: Annotated[int, Ge(1)] = 90,
        cpus_per_cell: Annotated[int, Ge(1)] = 1,
        gpus_per_cell: Annotated[int, Ge(0)] | None = None,
        mem_gb: Annotated[float, Gt(0)] | None = None,
        array_parallelism: Annotated[int, Ge(1)] = 32,
        max_queued: Annotated[int, Ge(1)] = 1000,
        setup: tuple[str, ...] = (),
        additional_parameters: dict[str, str | int | float | bool] | None = None,
    ) -> None:
        super().__init__()
        if importlib.util.find_spec("submitit") is None:
            raise ValueError("hydra/launcher=slurm: not installed; install it with: pip install -e '.[slurm]'")
        missing = [command for command in slurm_queue.COMMANDS if shutil.which(command) is None]
        if missing:
            raise ValueError(f"hydra/launcher=slurm: no {', '.join(missing)} on this machine; start it where Slurm is")
        if timeout_min is not None and signal_delay_s >= 60 * timeout_min:
            limit = f"below the {60 * timeout_min} seconds of timeout_min={timeout_min}"
            raise ValueError(f"hydra.launcher.signal_delay_s={signal_delay_s}: allowed: {limit}")
        self.gpus_per_cell = gpus_per_cell
        self.array_parallelism = array_parallelism
        self.max_queued = max_queued
        self._parameters = {
            "partition": partition,
            "account": account,
            "qos": qos,
            "constraint": constraint,
            "time": timeout_min,
            "signal_delay_s": signal_delay_s,
            "cpus_per_task": cpus_per_cell,
            # From Slurm 22.05 on, srun no longer takes the number of cores over from sbatch.
            "srun_args": [f"--cpus-per-task={cpus_per_cell}"],
            "mem": None if mem_gb is None else f"{round(mem_gb * 1024)}M",
            "array_parallelism": array_parallelism,
            "setup": [f"export OMP_NUM_THREADS={cpus_per_cell} MKL_NUM_THREADS={cpus_per_cell}", *setup],
            "stderr_to_stdout": True,
            "wckey": None,
            "additional_parameters": {"requeue": True} | (additional_parameters or {}),
        }

    def slots(self) -> int:
        return self.array_parallelism

    def run(self, cells: Iterator[CellRun]) -> Iterator[tuple[CellRun, str | None]]:
        submitted = _Submitted(self)
        try:
            while True:
                if not self.stop_requests:
                    submitted.fill(cells)
                if not submitted:
                    return
                yield from submitted.ended()
        finally:
            submitted.cancel()

    def capacity(self) -> int:
        """How many cells may stand in the queue: those of a search wait for results, not for a machine."""
        return min(self.max_queued, self.array_parallelism) if self.is_search else self.max_queued

    def gpus(self, cell: CellRun) -> int:
        """How many GPUs to ask for.

        Raises:
            ConfigError: fewer than the cell uses.
        """
        wanted = 0 if cell.accelerator in ("cpu", "mps") else cell.devices
        given = wanted if self.gpus_per_cell is None else self.gpus_per_cell
        if 0 < given < wanted:
            raise ConfigError([f"hydra.launcher.gpus_per_cell={given}: {cell.name} uses {wanted} devices"])
        return given

    def executor(self, sweep: Path, gpus: int) -> SlurmExecutor:
        """submitit's, for cells of a sweep that want so many GPUs."""
        from submitit import SlurmExecutor

        executor = SlurmExecutor(sweep / LOGS)
        executor.update_parameters(**self._parameters, job_name=sweep.name, gpus_per_node=gpus or None)
        return executor


@dataclass
class _Waited:
    """A cell in Slurm's queue.

    Attributes:
        missed: since when the queue does not list it, by the clock of `time.monotonic`.
    """

    cell: CellRun
    job: Job[str | None]
    missed: float | None = None


@dataclass
class _Submitted:
    """The cells that Slurm has, and those that it would not take yet."""

    launcher: SlurmLauncher
    at_slurm: dict[str, _Waited] = field(default_factory=dict)  # by Slurm's id of the job
    refused: list[CellRun] = field(default_factory=list)
    stopped: float | None = None
    killed: bool = False

    def __len__(self) -> int:
        return len(self.at_slurm) + len(self.refused)

    def fill(self, cells: Iterator[CellRun]) -> None:
        """Submit as many cells as there is room for, those that want alike as one array."""
        free = self.launcher.capacity() - len(self)
        alike: defaultdict[int, list[CellRun]] = defaultdict(list)
        for cell in [*self.refused, *islice(cells, max(0, free))]:
            alike[self.launcher.gpus(cell)].append(cell)
        self.refused = []
        for gpus, group in alike.items():
            self._submit(gpus, group)

    def _submit(self, gpus: int, cells: list[CellRun]) -> None:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            jobs = self.launcher.executor(cells[0].sweep, gpus).map_array(run_task, cells)
        except (FailedJobError, FailedSubmissionError) as error:
            self._note_refusal(str(error).strip(), gpus, cells)
            return
        self.at_slurm |= {job.job_id: _Waited(cell, job) for cell, job in zip(cells, jobs, strict=True)}
        number = jobs[0].job_id.partition("_")[0]
        count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
        _say(f"Slurm job {number}: {count}; its own log is in {cells[0].sweep / LOGS}")

    def _note_refusal(self, words: str, gpus: int, cells: list[CellRun]) -> None:
        """Keep cells for later where something of this sweep is in the queue: a limit on the number of jobs may be met.

        Raises:
            ConfigError: nothing of it is.
        """
        if not self.at_slurm and not self.launcher.stop_requests:
            hint = "; gpus_per_cell=0 asks for no GPU" if gpus and "gres" in words.lower() else ""
            raise ConfigError([f"hydra/launcher=slurm: sbatch refuses {len(cells)} cells: {words}{hint}"])
        self.refused += cells

    def ended(self) -> Iterator[tuple[CellRun, str | None]]:
        """Wait until Slurm has done with some, or the sweep is asked to stop."""
        delay = SHORTEST_POLL
        while self:
            self._sleep(delay)
            self._heed_stop()
            listed = slurm_queue.listed()
            ends = [] if listed is None else list(self._gone(listed))
            yield from ends
            if self.stopped is not None:
                yield from self._given_up()
            if ends:
                return
            delay = min(1.5 * delay, LONGEST_POLL) if self.stopped is None else SHORTEST_POLL

    def _sleep(self, seconds: float) -> None:
        """Wait, but not longer than until the next request to stop."""
        requests, end = self.launcher.stop_requests, time.monotonic() + seconds
        while time.monotonic() < end and self.launcher.stop_requests == requests:
            time.sleep(TICK)

    def _gone(self, listed: frozenset[str]) -> Iterator[tuple[CellRun, str | None]]:
        """The cells whose job has left the queue, with what is known of its end."""
        now = time.monotonic()
        for number, waited in list(self.at_slurm.items()):
            if number in listed:
                waited.missed = None
                continue
            waited.missed = waited.missed or now
            end = None if waited.job.paths.result_pickle.exists() else slurm_queue.end_of(number)
            if end is not None and (end.is_alive or (end.seems_well and now < waited.missed + LATENESS)):
                continue
            del self.at_slurm[number]
            withdrawn = self.stopped is not None and not waited.job.paths.stdout.exists()
            yield waited.cell, None if withdrawn else _reason(waited, end)

    def _heed_stop(self) -> None:
        """At the first request to stop, cancel; at a second one, kill."""
        if self.launcher.stop_requests and self.stopped is None:
            self.stopped = time.monotonic()
            self.cancel()
        if self.launcher.stop_requests > 1 and not self.killed:
            self.killed = True
            slurm_queue.cancel(self.at_slurm, signal="KILL")

    def cancel(self) -> None:
        """Withdraw what waits and ask what runs to stop; Slurm kills it after the site's KillWait."""
        if not self.at_slurm:
            return
        if slurm_queue.cancel(self.at_slurm):
            _say(f"cancelled {len(self.at_slurm)} of Slurm's jobs")
        else:
            _say(f"scancel fails; still in Slurm's queue: {' '.join(self.at_slurm)}")

    def _given_up(self) -> Iterator[tuple[CellRun, str | None]]:
        """After a request to stop: what was never taken, and in the end what Slurm keeps silent about."""
        assert self.stopped is not None
        for cell in self.refused:
            yield cell, None
        self.refused = []
        if time.monotonic() > self.stopped + 2 * GRACE:
            _say(f"Slurm still has jobs {' '.join(self.at_slurm)}")
            for waited in self.at_slurm.values():
                yield waited.cell, "Slurm was asked to end it and has not said that it did"
            self.at_slurm = {}


def _reason(waited: _Waited, end: slurm_queue.End | None) -> str | None:
    """Why a cell came to no result, as far as Slurm or submitit knows; None where it ended by itself."""
    if end is None:
        outcome, value = _returned(waited.job)
        return value if outcome == "success" else f"in Slurm job {waited.job.job_id}: {value}"
    return f"Slurm job {waited.job.job_id}: {end}"


def _returned(job: Job[str | None]) -> tuple[str, Any]:
    from submitit.core.utils import pickle_load

    outcome: tuple[str, Any] = pickle_load(job.paths.result_pickle)
    return outcome


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
