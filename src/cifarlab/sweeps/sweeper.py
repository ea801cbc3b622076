"""The sweep: Hydra's sweeper that plans, checks, skips what is done, runs the rest and sums it up."""

from __future__ import annotations

import itertools
import logging
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape

from cifarlab.figures import OF_A_RUN
from cifarlab.job.configure import ConfigError, config_parameters, describe_call
from cifarlab.job.job import Job
from cifarlab.job.once import Once
from cifarlab.job.preflight import Checked, Known, Planned, Refused, nothing_known, preflight, refusal
from cifarlab.job.read import read_task
from cifarlab.job.settings import Settings
from cifarlab.reading import refuse_what_leads_out
from cifarlab.sweeps.axes import (
    refuse_axes_of_the_sweep,
    refuse_axes_outside_the_key,
    refuse_figures_without_axis,
    refuse_what_a_run_reads,
)
from cifarlab.sweeps.composing import Composed, Composer
from cifarlab.sweeps.confirming import best_again
from cifarlab.sweeps.grid import FOLD, Grid, cell_name
from cifarlab.sweeps.launchers.launching import CellLauncher
from cifarlab.sweeps.launchers.one_by_one import OneByOne
from cifarlab.sweeps.ledger import Cell, Ledger, in_use, locked, status_of
from cifarlab.sweeps.names import bare
from cifarlab.sweeps.progress import Progress, looking
from cifarlab.sweeps.running import ELSEWHERE, OnEnd, Running
from cifarlab.sweeps.searching.search import Search, check_search, open_study, refuse_what_no_search_reads
from cifarlab.sweeps.searching.settings import SearchSettings
from cifarlab.sweeps.searching.space import Space
from cifarlab.sweeps.settings import SweepSettings

MULTIRUN = Path("multirun")
BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
LARGEST_LOOK = 1000  # cells that are composed in search of one that can be
SWEEP_NAME = re.compile(r"(?=.{1,200}\Z)[A-Za-z0-9._+-]*[A-Za-z0-9][A-Za-z0-9._+-]*")

Work = tuple[Cell, Planned]
Todo = list[Work]
Axes = Mapping[str, Sequence[str]]
About = Mapping[str, Any] | None  # of a search, for the ledger


class ResumingSweeper(Sweeper):
    """A grid, or a search, whose cells are known by what they are, not by a number.

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

    def sweep(self, arguments: list[str]) -> None:
        """Run every cell that is not done.

        Raises:
            ConfigError: a cell cannot be run; nothing was started.
            SystemExit: 1 if a cell of this command failed, diverged or was interrupted.
        """
        _check_place(self._config.hydra.sweep)
        refuse_what_a_run_reads(self._config.hydra.overrides.hydra)
        grid = Grid.parse([*self._axes_of_the_config(), *arguments], self._context.config_loader)
        refuse_axes_of_the_sweep(grid.axes)
        self._contents = Once()
        self._composer = Composer(self._config, self._context.config_loader, [*grid.axes, *grid.intervals, FOLD])
        sample = self._sample(grid)
        settings, search, choices = self._settings(sample, grid), _search_settings(sample), sample.choices
        directory = MULTIRUN / (settings.sweep or grid.name(choices["model"], choices.get("experiment")))
        grid = grid.folded(settings.folds)
        launcher = self._launcher()
        figures = _figures_asked(sample)
        grid = grid.combined(settings.zip, settings.exclude)
        ledger = Ledger.open(directory)
        _refuse_what_leads_out(directory, ledger)
        known = [*ledger.axes, *ledger.together, *map(bare, (*grid.axes, *grid.intervals)), *grid.names]
        refuse_figures_without_axis(figures, known)
        command = _Command(directory, grid, settings, figures, launcher)
        outcomes = self._run_grid(command) if search.sampler == "none" else self._run_search(command, search)
        if not outcomes <= {"finished", "pruned", ELSEWHERE}:
            sys.exit(1)

    def _run_grid(self, command: _Command) -> set[str]:
        """Run the cells of a product. How they ended; nothing for a plan."""
        grid, settings = command.grid, command.settings
        if grid.endless:
            raise ConfigError(
                [
                    f"{bare(key)}: an interval has no end of values; give a list, such as {bare(key)}=1,2,3, or search "
                    "it: search=tpe search.trials=20"
                    for key in grid.endless
                ]
            )
        before = Ledger.open(command.directory) if not settings.fresh else Ledger(command.directory)
        planned, refused = self._check(
            grid.overrides(),
            settings,
            Checked(command.launcher.where),
            known=lambda job: before.cost_of(job.identity.key),
        )
        refuse_axes_outside_the_key(planned, grid.axes)
        with command.taking_part():
            return self._run_planned(command, planned, refused)

    def _run_planned(self, command: _Command, planned: list[Planned], refused: list[Refused]) -> set[str]:
        grid, settings = command.grid, command.settings
        todo = self._enter(command, planned, grid.axes)
        cells = [cell for cell, _ in todo]
        progress = Progress(len(cells))
        progress.left_out(refused)
        progress.plan(
            cells,
            [each.cost for _, each in todo],
            [status_of(command.directory / cell.name, cell.key) for cell in cells],
        )
        if grid.left_out:
            total = grid.left_out + len(grid.overrides())
            progress.console.print(f"exclude: {grid.left_out} of {total} cells left out")
        return set() if settings.plan else self._run_all(command, progress, [todo])

    def _run_search(self, command: _Command, search: SearchSettings) -> set[str]:
        """Run trials until there are as many as were asked for. How their cells ended; nothing for a plan."""
        directory, settings, space = command.directory, command.settings, Space.of(command.grid)
        checked = Checked(command.launcher.where)
        planned, refused = self._check(list(space.probes()), settings, checked)
        job = planned[0].job
        check_search(search, space, job)
        with command.taking_part():
            study = open_study(directory, space, search, job, make=not settings.plan)
            ended = study.ended if study is not None else 0
            progress = Progress(max(0, search.trials - ended) * len(space.repetitions))
            progress.left_out(refused)
            progress.space(space, search, ended, [each.cost for each in planned])
            if study is None or settings.plan:
                return set()
            about = {"objective": search.objective, "scales": space.scales}
            trials = Search(
                directory,
                space,
                search,
                study,
                plan=lambda cells: preflight(cells, self._read, checked),
                enter=lambda planned: self._enter(command, [planned], space.axes, about)[0][0],
                say=lambda line: progress.console.print(escape(line), style="yellow"),
            )
            command.launcher.is_search = True
            outcomes = self._run_all(command, progress, trials.rounds(), trials.ended)
            return outcomes | ({"diverged"} if study.diverged else set())

    def _check(
        self,
        cells: Sequence[tuple[str, ...]],
        settings: SweepSettings,
        checked: Checked,
        known: Known = nothing_known,
    ) -> tuple[list[Planned], list[Refused]]:
        """Look at every cell before the first is started.

        Raises:
            ConfigError: one of them cannot be run and is not to be left out, or none can.
        """
        planned, refused = preflight(
            cells, self._read, checked, all_or_none=not settings.skip_invalid, known=known, watched=looking
        )
        if refused and not (settings.skip_invalid and planned):
            raise refusal(refused, len(cells))
        return planned, refused

    def _axes_of_the_config(self) -> list[str]:
        """``hydra.sweeper.params`` as overrides; like typed ones they may name any key of a signature."""
        groups = self._context.config_loader.list_groups("")
        is_group = {key: key in groups or "/" in key for key in map(str, self.params)}
        values = {key: "null" if value is None else value for key, value in self.params.items()}
        return [f"{key if is_group[key] else f'++{key}'}={value}" for key, value in values.items()]

    def _sample(self, grid: Grid) -> Composed:
        """The first cell that can be composed: what is no axis is the same in all.

        Raises:
            ConfigError: none can be; what the first one lacks.
        """
        first: ConfigError | None = None
        for overrides in itertools.islice(grid.samples(), LARGEST_LOOK):
            try:
                return self._composer.compose(overrides)
            except ConfigError as error:
                first = first or error
        raise first or ConfigError(["an axis has no value"])

    def _settings(self, sample: Composed, grid: Grid) -> SweepSettings:
        """The sweep's own settings, the same for all its cells."""
        config = sample.config
        own = _plain({name: config[name] for name in config_parameters(SweepSettings) if name in config})
        settings: SweepSettings = describe_call(SweepSettings, {**own, **grid.own}, key="")()
        if settings.sweep is not None and not SWEEP_NAME.fullmatch(settings.sweep):
            raise ConfigError([f"sweep={settings.sweep}: allowed: up to 200 letters, digits and . _ - +"])
        return settings

    def _read(self, overrides: Sequence[str]) -> Job:
        composed = self._composer.compose(overrides)
        job = read_task(composed.config, composed.choices, composed.overrides).pinned(self._contents)
        if job.settings.checkpoints == "auto":  # a single run keeps all that resuming needs, a cell its best weights
            job = job.changed(checkpoints="best")
        nodes = job.parts["trainer"].arguments["num_nodes"]
        if nodes > 1:
            raise ConfigError([f"trainer.num_nodes={nodes}: a sweep runs each of its cells on one machine; allowed: 1"])
        return job

    def _enter(self, command: _Command, planned: Sequence[Planned], axes: Axes, search: About = None) -> Todo:
        """Give every cell its place in the ledger; a plan leaves the folder untouched."""
        if command.settings.plan:
            return self._merge(Ledger.open(command.directory), command, planned, axes, search)
        with locked(command.directory):
            ledger = Ledger.open(command.directory)
            cells = self._merge(ledger, command, planned, axes, search)
            ledger.write()
        return cells

    def _merge(self, ledger: Ledger, command: _Command, planned: Sequence[Planned], axes: Axes, search: About) -> Todo:
        figures = [name for name in command.figures if name not in OF_A_RUN]
        typed = shlex.join(["python", Path(sys.argv[0]).name, *(bare(argument) for argument in sys.argv[1:])])
        ledger.merge(typed, axes, figures, search, command.grid.names)
        todo: dict[str, tuple[Cell, Planned]] = {}  # by key: two ways to write one setting are one cell
        for each in planned:
            identity = each.job.identity
            name = cell_name(each.overrides, [*ledger.axes], fallback=each.job.choices.get("model", "run"))
            todo[identity.key] = ledger.enter(name, identity, each.overrides), each
        return list(todo.values())

    def _launcher(self) -> CellLauncher:
        """What runs the cells: a launcher of ours; in this process, one by one, for Hydra's own ``basic``.

        Raises:
            ConfigError: there is no such launcher here, or a key of it is wrong.
        """
        container = OmegaConf.to_container(self._config.hydra.launcher, resolve=True)
        assert isinstance(container, dict)
        node = {str(key): value for key, value in container.items()}
        target = node.pop("_target_", None)
        if target == BASIC:
            return describe_call(OneByOne, node, key="hydra.launcher")()
        kinds = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in Plugins.instance().discover(Launcher)}
        kind = kinds.get(str(target))
        if kind is None or not issubclass(kind, CellLauncher):
            ours = [name for name, found in kinds.items() if issubclass(found, CellLauncher)]
            raise ConfigError([f"hydra.launcher._target_={target}: allowed: {', '.join([BASIC, *ours])}"])
        launcher: CellLauncher = describe_call(kind, node, key="hydra.launcher")()
        return launcher

    def _confirm(self, command: _Command, progress: Progress, running: Running) -> None:
        """Train the best setting again with fresh seeds, where that was asked for and the best is known."""
        count, directory = command.settings.confirm, command.directory
        if not count:
            return
        undone = {*running.outcomes.values()} - {"finished", "pruned", "diverged"}
        if undone:
            progress.console.print(f"confirm={count}: the best is known when no cell is {' or '.join(sorted(undone))}")
            return
        todo: Todo = []
        with locked(directory):
            ledger = Ledger.open(directory)
            for again in best_again(directory, ledger, count, self._allowed()):
                planned = [check_again(job, command.launcher) for job in again.runs(ledger)]
                todo += [(_confirming_cell(ledger, each, again.group), each) for each in planned]
            ledger.write()
        progress.confirms(len(todo))
        running.run(todo)

    def _allowed(self) -> tuple[str, ...]:
        """Import paths that the command line allows configs to name."""
        settings: Settings = describe_call(Settings, _plain({"allow": self._config.get("allow") or []}), key="")()
        return settings.allow

    def _run_all(
        self,
        command: _Command,
        progress: Progress,
        rounds: Iterable[Iterable[Work]],
        on_end: OnEnd = lambda cell, status: None,
    ) -> set[str]:
        """Run what is not done; the summary is written however this ends. How the cells ended.

        Args:
            rounds: cells; those of a round begin when all before it have ended.
            on_end: told how each cell stands.
        """
        running = Running(command.directory, resuming_command(), command.launcher, progress, on_end)
        with running.heeding_signals():
            try:
                for cells in rounds:
                    running.run(cells)
                    if running.stopped:
                        break
                else:
                    self._confirm(command, progress, running)
            finally:
                page = summarize(command.directory)
                if page is not None:
                    progress.console.print(f"summary: {page}", soft_wrap=True)
        return {*running.outcomes.values(), *(["interrupted"] if running.stopped else [])}


@dataclass(frozen=True)
class _Command:
    """What a command comes to."""

    directory: Path
    grid: Grid
    settings: SweepSettings
    figures: tuple[str, ...]
    launcher: CellLauncher

    def taking_part(self) -> AbstractContextManager[None]:
        """Work in the sweep's folder; a plan only looks at it."""
        return nullcontext() if self.settings.plan else in_use(self.directory, fresh=self.settings.fresh)


def _refuse_what_leads_out(directory: Path, ledger: Ledger) -> None:
    """Refuse a sweep's folder in which something leads elsewhere; what lies in its cells is each one's own matter."""
    try:
        refuse_what_leads_out(directory, without={cell.name for cell in ledger.cells.values()})
    except ValueError as error:
        raise ConfigError([str(error)]) from None


def summarize(directory: Path) -> Path | None:
    """Write the summary and print what was found; the page's path, None where it could not be written."""
    # With pandas and its kin, which the refusal of a command needs not.
    from cifarlab.summary.terminal import report
    from cifarlab.summary.write import write_summary

    page, findings = write_summary(directory, None, ())
    report(findings)
    return page


def check_again(job: Job, launcher: CellLauncher) -> Planned:
    """Look at a run with a fresh seed before it is started."""
    planned, refused = preflight([job.overrides], lambda _: job, Checked(launcher.where))
    if refused:
        raise refusal(refused, 1)
    return planned[0]


def _confirming_cell(ledger: Ledger, planned: Planned, group: str) -> Cell:
    name = cell_name(planned.overrides, [*ledger.axes, "seed"], fallback="run")
    return ledger.enter(f"confirm+{name}", planned.job.identity, planned.overrides, confirms=group)


def resuming_command() -> tuple[str, ...]:
    """The script that this process runs, absolute: what ``resume=RUN_DIR`` is added to."""
    return (str(Path(sys.argv[0]).absolute()),)


def _figures_asked(sample: Composed) -> tuple[str, ...]:
    """The sweep's and the runs' figures that were asked for; none where nothing was said."""
    asked = _plain({"figures": sample.config.get("figures") or []})
    settings: Settings = describe_call(Settings, asked, key="")()
    return settings.figures


def _search_settings(sample: Composed) -> SearchSettings:
    described = describe_call(SearchSettings, _plain(sample.config.get("search") or {}), key="search")
    settings: SearchSettings = described()
    refuse_what_no_search_reads(described.deviations(), settings)
    return settings


def _plain(node: Any) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(node)))


def _check_place(sweep: DictConfig) -> None:
    """Refuse a folder of the user's own: a sweep must find its cells again by its name."""
    given = cast(dict[str, Any], OmegaConf.to_container(sweep, resolve=False))
    ours = {"dir": str(MULTIRUN), "subdir": "${hydra.job.num}"}
    wrong = [f"hydra.sweep.{key}={value}" for key, value in given.items() if value != ours.get(key)]
    if wrong:
        raise ConfigError([f"{each}: a sweep lies in {MULTIRUN}/NAME, which sweep=NAME chooses" for each in wrong])
