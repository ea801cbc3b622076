"""What every launcher beyond Hydra's `basic` shares: cells as processes of their own, here or on another machine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from cifarlab.job.configure import ConfigError
from cifarlab.job.preflight import Planned, Where
from cifarlab.result import Identity

GRACE = 60.0  # seconds that a cell has, once asked, to write down how far it came


@dataclass(frozen=True)
class CellRun:
    """A cell that is to be run. Its folder holds its job already, from where a process anywhere takes it.

    Attributes:
        sweep: the sweep's folder, absolute.
        name: of the cell; its folder is ``sweep / name``.
        identity: who the run is, for a record that is written in its stead.
        command: the script that resumes a run, absolute, and its first arguments.
        cwd: where the sweep was started; relative paths of the config start there.
        allow: import paths outside this package that the cell's config may name.
        devices: how many devices the run uses.
        accelerator: as the config has it: ``auto cpu gpu cuda mps``.
        planned: the cell with its job, for a launcher that runs it in this process; it does not travel.
    """

    sweep: Path
    name: str
    identity: Identity
    command: tuple[str, ...]
    cwd: Path
    allow: tuple[str, ...] = ()
    devices: int = 1
    accelerator: str = "auto"
    planned: Planned | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        return self.identity.key

    @property
    def directory(self) -> Path:
        return self.sweep / self.name

    @property
    def argv(self) -> tuple[str, ...]:
        """What a process of its own runs: the single run that the cell is, resumed."""
        allowed = (f"allow=[{','.join(self.allow)}]",) if self.allow else ()
        return (*self.command, f"resume={self.directory}", *allowed)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "planned": None}


class CellLauncher(Launcher):
    """Runs cells, here or as processes of their own (`worker.run_cell`), some at once, as our sweeper asks it to.

    Its keyword-only parameters are the keys of ``hydra.launcher``: annotated, with defaults, checked like all others.

    Attributes:
        stop_requests: how often the sweep was asked to stop, so far. `run` looks at it at least once a second.
        is_search: set before `run`: the next cell is decided on by the results so far. Else an engine with a queue of
            its own may take all cells at once.
        where: its cells run, for the look at what they ask of their machine before the first one starts.
    """

    where: Where = "machine"

    def __init__(self) -> None:
        self.stop_requests = 0
        self.is_search = False

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before anything else."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """What another sweeper would call.

        Raises:
            ConfigError: always.
        """
        raise ConfigError([f"hydra/launcher: {type(self).__name__} works with hydra/sweeper=cifarlab only"])

    @abstractmethod
    def slots(self) -> int:
        """How many cells run at once, as far as known; for the estimate of the time that is left."""

    @abstractmethod
    def run(self, cells: Iterator[CellRun]) -> Iterator[tuple[CellRun, str | None]]:
        """Run cells until there are no more.

        In a search a cell is taken from ``cells`` only when a slot is free, and one that has ended is given before its
        slot is filled anew. ``cells`` ends by itself when the sweep is asked to stop. At the first request
        (`stop_requests`) the cells at work get SIGTERM and write down how far they came; those that have not ended
        after `GRACE` seconds, or at a second request, are killed; cells that wait for a machine are withdrawn. All of
        them are given like others.

        Args:
            cells: those to run, each once.

        Yields:
            Each cell as it ends, and why its process died before it could say how it ended (``killed by signal 9
            (SIGKILL)``); None where it ended by itself, however well, or was withdrawn.
        """
