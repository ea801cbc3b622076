"""Workers: processes on this machine that take cell after cell, each begun in a moment.

They are forked by a server (multiprocessing's) that has imported all that a cell imports and done nothing else: it
holds no thread of a pool and no context of a GPU, which a fork would break. A worker keeps what its first cell has made
ready: the device's context, the data's pages, compiled code. One that dies takes its cell with it and no other.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import connection, forkserver
from multiprocessing.context import ForkServerProcess

from cifarlab.sweeps.launchers.launching import GRACE, CellRun
from cifarlab.sweeps.launchers.worker import run_cell

DONE = "done"
# A socket's path has at most 103 bytes on macOS and 107 on Linux, of which "/pymp-xxxxxxxx/listener-xxxxxxxx" takes 32.
LONGEST_FOLDER = 103 - 32
TRAINING = ("cifarlab.data.module", "cifarlab.training.run")
DYING = 5.0  # seconds that a process whose pipe is closed has to be gone


class Worker:
    """A process that runs cells, one at a time.

    Args:
        threads: of its operations on the CPU.
        gpus: those it sees, as CUDA_VISIBLE_DEVICES has them; none given, it sees what this process sees.
        environment: further variables of its environment.

    Attributes:
        cell: the one that it has; None while it is idle.
        sharing: how many jobs its GPU was given when it took that.
    """

    def __init__(
        self, *, threads: int, gpus: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.gpus = gpus
        self.cell: CellRun | None = None
        self.sharing = 1
        self._killed_here = False
        variables = dict(os.environ) | _threads_in_environment(threads) | dict(environment or {})
        if gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = ForkServerProcess(target=_serve, args=(theirs, variables, threads))
        self._process.start()
        theirs.close()

    @property
    def signs(self) -> tuple[int | connection.Connection, ...]:
        """Ready, for `multiprocessing.connection.wait`, when the cell has ended or the process has."""
        return self._process.sentinel, self._pipe

    def give(self, cell: CellRun) -> None:
        """Hand it the next cell."""
        self.cell = cell
        with suppress(BrokenPipeError):  # it has died: `has_ended` says so
            self._pipe.send(cell)

    @property
    def is_done(self) -> bool:
        """Whether the cell has ended, by itself or with the process. Asked once a cell."""
        if not self._process.is_alive():
            return True
        try:
            return self._pipe.poll() and self._pipe.recv() == DONE
        except (EOFError, ConnectionResetError):
            self._process.join(DYING)
            return True

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def close(self) -> None:
        """Let an idle one end."""
        self._pipe.close()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and to those that it has started for the other devices of its run."""
        pid = self._process.pid
        assert pid is not None
        self._killed_here |= number == signal.SIGKILL
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # it has not made its group yet, or has ended
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def cause_of_death(self) -> str | None:
        """Which signal has killed the process; None where it lives or ended by itself. Nothing of its group is left."""
        code = self._process.exitcode
        if code is None or code >= 0:
            return None
        guess = code == -signal.SIGKILL and not self._killed_here
        self.send(signal.SIGKILL)
        hint = "; the kernel does that where memory runs out" if guess else ""
        return f"killed by signal {-code} ({signal.Signals(-code).name}){hint}"


def start_server(threads: int) -> None:
    """Start the server if it does not run yet; it imports what trains, and what of this package was imported here.

    Args:
        threads: of the operations of the processes to come; the libraries read it when they are loaded.
    """
    # The verbs look at the command line when they are imported; each process has its own.
    loaded = [name for name in sys.modules if name.startswith("cifarlab.") and not name.startswith("cifarlab.verbs")]
    multiprocessing.get_context("forkserver").set_forkserver_preload(sorted({*loaded, *TRAINING}))
    # The library of NVIDIA's management counts GPUs without the CUDA driver, which a fork would break.
    environment = _threads_in_environment(threads) | {"OPENBLAS_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    # A signal to the whole group is not meant for it.
    with _environment(environment), _ignoring(signal.SIGTERM), _place_for_a_socket():
        forkserver.ensure_running()


def _serve(pipe: connection.Connection, environment: Mapping[str, str], threads: int) -> None:
    """A worker's process: run what comes, until nothing can come any more."""
    import torch

    os.setpgid(0, 0)  # what it starts is stopped with it; Ctrl-C on the terminal is for the sweep alone
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(threads)
    while True:
        try:
            cell = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        with suppress(SystemExit):  # of a run that did not finish: its result says so
            run_cell(cell)
        gc.collect()  # a Trainer and its net refer to each other
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # workers share the GPU's memory
        with suppress(BrokenPipeError):
            pipe.send(DONE)


def _end_with_the_sweep() -> None:
    """Wait until the sweep's process is gone, then ask this one to write down how far it came, and then end it."""
    sweep = multiprocessing.parent_process()
    assert sweep is not None
    connection.wait([sweep.sentinel])
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def _threads_in_environment(threads: int) -> dict[str, str]:
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))


@contextmanager
def _place_for_a_socket() -> Iterator[None]:
    """Within, the temporary folder is one in which a socket's path is short enough for the kernel, if there is any."""
    before = tempfile.gettempdir()
    if len(os.fsencode(before)) > LONGEST_FOLDER:
        fitting = (folder for folder in ("/tmp", "/var/tmp", "/dev/shm") if os.access(folder, os.W_OK | os.X_OK))
        tempfile.tempdir = next(fitting, before)
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _ignoring(number: signal.Signals) -> Iterator[None]:
    """A program started within ignores a signal too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
