"""``hydra/launcher=ray``: each cell a task of Ray's, on this machine or on a cluster."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Annotated, Any

from annotated_types import Ge

from cifarlab.job.configure import ConfigError
from cifarlab.sweeps.launchers.launching import GRACE, CellLauncher, CellRun
from cifarlab.sweeps.launchers.worker import run_cell

PATIENCE = 0.5  # seconds between two looks at whether the sweep was asked to stop
AHEAD = 1000  # cells of a grid in a cluster's queue: a cluster that grows by demand must see the demand
SMALLEST = 1e-4  # part of a GPU; Ray counts in ten-thousandths


class RayLauncher(CellLauncher):
    """Lets Ray share out CPU cores and GPUs, parts of a GPU too, among cells that are processes of their own.

    ``gpus_per_cell=0.25`` puts four cells on a GPU; Ray counts only, and holds no cell to its part of the memory. On a
    cluster, its machines must see the sweep's folder and the data under the same paths and have this package installed.

    Args:
        address: of a running cluster, ``HOST:PORT``, or ``auto`` on one of its machines; null starts Ray on this
            machine for this sweep, reachable from here alone.
        num_cpus: cores to give to Ray where it is started here; null: all.
        num_gpus: GPUs to give to Ray where it is started here; null: all.
        cpus_per_cell: cores, and CPU threads, of a cell.
        gpus_per_cell: GPUs of a cell, a part of one, or none; null: its ``trainer.devices`` where there are GPUs.
        include_dashboard: start Ray's dashboard on 127.0.0.1.

    Raises:
        ValueError: Ray is not installed; a key that only a start of Ray reads stands beside ``address``.
    """

    where = "elsewhere"

    def __init__(
        self,
        *,
        address: str | None = None,
        num_cpus: Annotated[int, Ge(1)] | None = None,
        num_gpus: Annotated[int, Ge(0)] | None = None,
        cpus_per_cell: Annotated[int, Ge(1)] = 1,
        gpus_per_cell: Annotated[float, Ge(0)] | None = None,
        include_dashboard: bool = False,
    ) -> None:
        super().__init__()
        if importlib.util.find_spec("ray") is None:
            raise ValueError("hydra/launcher=ray: not installed; install it with: pip install -e '.[ray]'")
        if address is not None and (num_cpus is not None or num_gpus is not None or include_dashboard):
            beside = "num_cpus, num_gpus and include_dashboard are for a start of Ray here"
            raise ValueError(f"hydra.launcher.address={address}: {beside}")
        if address is not None and "://" in address:
            raise ValueError(f"hydra.launcher.address={address}: allowed: HOST:PORT, auto or null")
        if gpus_per_cell is not None and gpus_per_cell > 1 and gpus_per_cell != int(gpus_per_cell):
            raise ValueError(f"hydra.launcher.gpus_per_cell={gpus_per_cell}: allowed: a part of one GPU, or whole ones")
        if num_cpus is not None and cpus_per_cell > num_cpus:
            raise ValueError(f"hydra.launcher.cpus_per_cell={cpus_per_cell}: allowed: at most num_cpus={num_cpus}")
        self.cpus_per_cell = cpus_per_cell
        self.gpus_per_cell = gpus_per_cell
        self.address = address
        self._start: dict[str, Any] = {"address": address or "local"}
        if address is None:
            self._start |= {"num_cpus": num_cpus, "num_gpus": num_gpus, "include_dashboard": include_dashboard}
        self._slots = 1

    def slots(self) -> int:
        return self._slots

    def run(self, cells: Iterator[CellRun]) -> Iterator[tuple[CellRun, str | None]]:
        first = next(cells, None)
        if first is None:
            return
        with self._connected():
            if self.stop_requests:  # while Ray was started
                yield first, None
                return
            tasks = _Tasks(self)
            cells = chain([first], cells)
            try:
                yield from self._fill(tasks, cells, alike=first)
                while tasks:
                    yield from tasks.ended()
                    yield from self._fill(tasks, cells, alike=first)
            finally:
                tasks.cancel(force=True)

    def _fill(self, tasks: _Tasks, cells: Iterator[CellRun], alike: CellRun) -> Iterator[tuple[CellRun, str | None]]:
        """Give Ray as many cells as it may have. Yields those that it could never run."""
        while not self.stop_requests and len(tasks) < self.capacity(alike):
            cell = next(cells, None)
            if cell is None:
                return
            excess = self.excess(cell)
            if excess:
                yield cell, excess
            else:
                tasks.start(cell)

    def wanted(self, cell: CellRun) -> dict[str, float]:
        """What a cell asks of Ray: ``{"CPU": 1, "GPU": 0.5}``."""
        import ray

        devices = 0 if cell.accelerator in ("cpu", "mps") or not ray.cluster_resources().get("GPU") else cell.devices
        return {"CPU": self.cpus_per_cell, "GPU": devices if self.gpus_per_cell is None else self.gpus_per_cell}

    def excess(self, cell: CellRun) -> str | None:
        """What a cell asks for that it will never get; Ray itself would wait for a machine to be added."""
        import ray

        wanted, there = self.wanted(cell), ray.cluster_resources()
        if cell.devices > 1 and 0 < wanted["GPU"] < cell.devices and cell.accelerator not in ("cpu", "mps"):
            return f"hydra.launcher.gpus_per_cell={self.gpus_per_cell}: it uses {cell.devices} devices"
        short = [name for name, amount in wanted.items() if amount > there.get(name, 0)]
        if self.address is None and short:
            return "; ".join(f"it wants {wanted[name]:g} {name}, Ray has {there.get(name, 0):g}" for name in short)
        return None

    def capacity(self, cell: CellRun) -> int:
        """How many cells Ray may have, when all are like this one."""
        import ray

        wanted, there = self.wanted(cell), ray.cluster_resources()
        fitting = int(there.get("CPU", 0) // wanted["CPU"])
        if wanted["GPU"]:
            # Parts of one cell never lie on two GPUs: three cells of 0.4 want two GPUs.
            gpus, share = there.get("GPU", 0), wanted["GPU"]
            fitting = min(fitting, int(gpus // share) if share >= 1 else int(gpus) * int(1 / share + SMALLEST))
        self._slots = max(1, fitting)
        return self._slots if self.is_search or self.address is None else max(AHEAD, self._slots)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Within, Ray is there; the sweep's handling of signals is put back after Ray's own.

        Raises:
            ConfigError: no cluster answers at the address.
        """
        _check_reachable(self.address)
        if self.address is None:
            # So is the variable called by which Ray, on any system, listens on 127.0.0.1 alone; read when imported.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        import ray

        try:
            with _own_signals():
                ray.init(**self._start, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError([f"hydra/launcher=ray: {str(error).strip().splitlines()[0]}"]) from None
        try:
            yield
        finally:
            ray.shutdown()


class _Tasks:
    """The cells that Ray has."""

    def __init__(self, launcher: RayLauncher) -> None:
        import ray

        self._launcher = launcher
        # A process for each cell, and none a second time: the next start of the sweep decides on that.
        self._task: Any = ray.remote(max_calls=1, max_retries=0)(run_task)
        self._cells: dict[Any, CellRun] = {}  # by Ray's reference
        self._stopped: float | None = None
        self._killed = False

    def __len__(self) -> int:
        return len(self._cells)

    def start(self, cell: CellRun) -> None:
        """Put a cell into Ray's queue."""
        wanted = self._launcher.wanted(cell)
        task = self._task.options(num_cpus=wanted["CPU"], num_gpus=wanted["GPU"], name=cell.name)
        environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        self._cells[task.remote(cell, self._launcher.cpus_per_cell, environment)] = cell

    def ended(self) -> Iterator[tuple[CellRun, str | None]]:
        """Wait until some have ended."""
        import ray

        ready: list[Any] = []
        while not ready:
            ready, _ = ray.wait(list(self._cells), num_returns=1, timeout=PATIENCE)
            self._heed_stop()
        for reference in ready:
            yield self._cells.pop(reference), _cause_of_death(reference, killed=self._killed)

    def _heed_stop(self) -> None:
        requests = self._launcher.stop_requests
        if requests and self._stopped is None:
            self._stopped = time.monotonic()
            self.cancel(force=False)
        elif self._stopped is not None and (requests > 1 or time.monotonic() > self._stopped + GRACE):
            self._killed = True
            self.cancel(force=True)

    def cancel(self, *, force: bool) -> None:
        """Withdraw what waits, and ask what runs to stop, as Ctrl-C would, or kill it."""
        import ray

        for reference in self._cells:
            ray.cancel(reference, force=force)


def run_task(cell: CellRun, threads: int, environment: Mapping[str, str]) -> None:
    """What runs in a process of Ray's.

    Args:
        cell: to run.
        threads: of its operations on the CPU.
        environment: of the sweep's process; what a machine of the cluster has of its own is not overwritten.
    """
    import torch

    for name, value in environment.items():
        os.environ.setdefault(name, value)
    os.environ.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    torch.set_num_threads(threads)
    with suppress(SystemExit):  # Ray would take it for the death of its process
        run_cell(cell)


def _cause_of_death(reference: Any, *, killed: bool) -> str | None:
    """Why a task that is over came to no end of its own; None where it did, or was withdrawn before it began."""
    import ray

    try:
        ray.get(reference)
    except ray.exceptions.TaskCancelledError:
        return "killed, as it did not stop when it was asked to" if killed else None
    except ray.exceptions.RayTaskError as error:
        return str(error).strip()
    except ray.exceptions.RayError as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None


def _check_reachable(address: str | None) -> None:
    """Refuse an address where nobody listens, at which Ray would go on trying for a quarter of an hour.

    Raises:
        ConfigError: so it is.
    """
    host, colon, port = (address or "").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ConfigError([f"hydra.launcher.address={address}: nothing answers there ({error})"]) from None


@contextmanager
def _own_signals() -> Iterator[None]:
    """Within, others may set handlers of signals; afterwards they are as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
