"""The sweep: Hydra's sweeper that plans, checks, skips what is done, runs the rest and sums it up."""

from __future__ import annotations

import itertools
import logging
import re
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from cifarlab.configure import ConfigError, describe_call
from cifarlab.figures import OF_A_RUN
from cifarlab.result import Result
from cifarlab.summary import summarize
from cifarlab.summary.plots import figure_names
from cifarlab.sweeps.compose import read_job
from cifarlab.sweeps.explain import explain
from cifarlab.sweeps.grid import Grid, bare, cell_name
from cifarlab.sweeps.ledger import Cell, Ledger, claimed, locked, read_outcome, set_aside
from cifarlab.sweeps.preflight import Planned, preflight, refusal
from cifarlab.sweeps.progress import Progress
from cifarlab.training.interruption import Interrupted, raising_on_signals
from cifarlab.training.job import Job
from cifarlab.training.reopen import choices_of
from cifarlab.training.settings import Settings

MULTIRUN = Path("multirun")
SWEEP_NAME = re.compile(r"[A-Za-z0-9._+-]*[A-Za-z0-9][A-Za-z0-9._+-]*")
DONE = ("finished", "diverged")
ELSEWHERE = "another process is at it"

Todo = list[tuple[Cell, Planned]]


class ResumingSweeper(Sweeper):
    """A grid whose cells are known by what they are, not by a number.

    Args:
        params: axes of the config (``hydra.sweeper.params``); the command line wins.
    """

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        logging.getLogger("hydra").setLevel(logging.WARNING)  # a line a cell is ours to print
        self._config = config
        self._context = hydra_context
        self._task = task_function

    def sweep(self, arguments: list[str]) -> None:
        """Run every cell that is not done.

        Raises:
            ConfigError: a cell cannot be run; nothing was started.
            SystemExit: 1 if a cell of this command failed, diverged or was interrupted.
        """
        grid = Grid.parse([*self._axes_of_the_config(), *arguments], self._context.config_loader)
        first = self._compose(grid.overrides()[0])
        settings, choices = self._settings(first), choices_of(first.hydra)
        directory = MULTIRUN / (settings.sweep or grid.name(choices["model"], choices.get("experiment")))
        _check_figures(settings.figures, [*Ledger.open(directory).axes, *map(bare, grid.axes)])
        planned, refused = preflight(grid.overrides(), self._read)
        if refused and not (settings.skip_invalid and planned):
            raise refusal(refused, len(planned) + len(refused))
        if settings.fresh and not settings.plan:
            set_aside(directory)
        todo = self._enter(directory, grid, planned, settings)
        cells = [cell for cell, _ in todo]
        progress = Progress(len(cells))
        for cell in refused:
            progress.console.print(f"left out: {' '.join(cell.overrides)}: {'; '.join(cell.faults)}", style="yellow")
        progress.plan(cells, [each.cost for _, each in todo], [_status(directory, cell) for cell in cells])
        if settings.plan:
            return
        outcomes = self._run_all(directory, todo, progress)
        if not outcomes <= {"finished", ELSEWHERE}:
            sys.exit(1)

    def _axes_of_the_config(self) -> list[str]:
        """``hydra.sweeper.params`` as overrides; like typed ones they may name any key of a signature."""
        groups = self._context.config_loader.list_groups("")
        is_group = {key: key in groups or "/" in key for key in map(str, self.params)}
        values = {key: "null" if value is None else value for key, value in self.params.items()}
        return [f"{key if is_group[key] else f'++{key}'}={value}" for key, value in values.items()]

    def _settings(self, config: DictConfig) -> Settings:
        """The sweep's own settings, the same for all its cells."""
        own = {name: config[name] for name in ("sweep", "plan", "fresh", "skip_invalid") if name in config}
        figures = OmegaConf.to_container(config.figures) if "figures" in config else []
        settings: Settings = describe_call(Settings, own | {"figures": figures}, key="")()
        if settings.sweep is not None and not SWEEP_NAME.fullmatch(settings.sweep):
            raise ConfigError([f"sweep={settings.sweep}: allowed: letters, digits and . _ - +"])
        return settings

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        """A cell's config, with Hydra's own node.

        Raises:
            ConfigError: what Hydra has to say against it.
        """
        try:
            return self._context.config_loader.load_sweep_config(self._config, list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError([explain(error)]) from None

    def _read(self, overrides: Sequence[str]) -> Job:
        config = self._compose(overrides)
        return read_job(config, config.hydra)

    def _enter(self, directory: Path, grid: Grid, planned: Sequence[Planned], settings: Settings) -> Todo:
        """Give every cell its place in the ledger; a plan leaves the folder untouched."""
        if settings.plan:
            return self._merge(Ledger.open(directory), grid, planned, settings)
        with locked(directory):
            ledger = Ledger.open(directory)
            cells = self._merge(ledger, grid, planned, settings)
            ledger.write()
        return cells

    def _merge(self, ledger: Ledger, grid: Grid, planned: Sequence[Planned], settings: Settings) -> Todo:
        figures = [name for name in settings.figures if name not in OF_A_RUN]
        command = shlex.join(["python", Path(sys.argv[0]).name, *(bare(argument) for argument in sys.argv[1:])])
        ledger.merge(command, grid.axes, figures)
        todo: dict[str, tuple[Cell, Planned]] = {}  # by key: two ways to write one setting are one cell
        for each in planned:
            identity = each.job.identity
            name = cell_name(each.overrides, [*ledger.axes], fallback=each.job.choices.get("model", "run"))
            todo[identity.key] = ledger.enter(name, identity.key, identity.group, each.overrides), each
        return list(todo.values())

    def _run_all(self, directory: Path, todo: Todo, progress: Progress) -> set[str]:
        """Run what is not done; the summary is written however this ends. How the cells ended."""
        outcomes: set[str] = set()
        try:
            with raising_on_signals():
                for planned_cell in itertools.chain(todo, self._abandoned(directory, todo, progress)):
                    outcomes.add(self._run_one(directory, *planned_cell, progress))
                    if "interrupted" in outcomes:
                        break
        except Interrupted:
            outcomes.add("interrupted")
        finally:
            page = summarize(directory)
            progress.console.print(f"summary: {page}", soft_wrap=True)
        return outcomes

    def _abandoned(self, directory: Path, todo: Todo, progress: Progress) -> Iterator[tuple[Cell, Planned]]:
        """What is left at the end without any result: another process held it when its turn was, and may have died."""
        for cell, planned in todo:
            if _status(directory, cell) == "missing":
                progress.number -= 1
                yield cell, planned

    def _run_one(self, directory: Path, cell: Cell, planned: Planned, progress: Progress) -> str:
        """Run a cell unless it is done or another process is at it. How it ended, or `ELSEWHERE`."""
        with claimed(directory, cell) as mine:
            status = _status(directory, cell) if mine else ELSEWHERE
            if status in (*DONE, ELSEWHERE):
                progress.skipped(cell, status)
                return status
            progress.started(cell)
            try:
                self._launch(directory, planned, cell)
            except (Exception, SystemExit):  # outside of `run`, which lets nothing out: it could not begin
                (directory / cell.name).mkdir(parents=True, exist_ok=True)
                Result.begun(planned.job.identity, error=traceback.format_exc()).write(directory / cell.name)
            progress.ended(cell, read_outcome(directory / cell.name))
            return _status(directory, cell)

    def _launch(self, directory: Path, planned: Planned, cell: Cell) -> None:
        """Hand a cell to Hydra's launcher. Raises what its task raised."""
        place = f"hydra.sweep.dir='{directory.as_posix()}'"
        config = self._config.copy()
        with open_dict(config):
            config.hydra.sweep.dir = directory.as_posix()  # the launcher makes this folder
            config.hydra.overrides.hydra.append(place)  # a cell's config is composed from these
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=self._task, config=config
        )
        (done,) = launcher.launch([[*planned.overrides, f"hydra.sweep.subdir='{cell.name}'"]], initial_job_idx=0)
        _ = done.return_value


def _check_figures(asked: Sequence[str], axes: Sequence[str]) -> None:
    """Refuse a figure over a knob that is not swept: else the sweep would say so at its end."""
    knobs = dict.fromkeys(axis.rpartition(".")[2] for axis in axes if not axis.startswith("seed"))
    known = [*OF_A_RUN, *figure_names([*dict.fromkeys([*axes, *knobs])])]
    wrong = [name for name in asked if name not in known]
    if wrong:
        shown = [*OF_A_RUN, *figure_names([*knobs])]
        raise ConfigError([f"figures={name}: allowed in this sweep: {', '.join(shown)}" for name in wrong])


def _status(directory: Path, cell: Cell) -> str:
    """How a cell stands; a folder whose result is of another key does not count."""
    outcome = read_outcome(directory / cell.name)
    return str(outcome.get("status")) if outcome.get("key") == cell.key else "missing"
