"""``python reproduce.py``: the reports' numbers beside ours, and with a budget the runs that are missing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cifarlab.reproduction.results import RESULTS, keep, kept
from cifarlab.reproduction.rows import Entry, Row, by_name, read_rows
from cifarlab.result import write_bytes, write_text
from cifarlab.verbs.start import Stopped, stoppable

if TYPE_CHECKING:
    from cifarlab.reproduction.cost import Speeds
    from cifarlab.reproduction.queue import Plan, Task
    from cifarlab.sweeps.grid import Grid

HELP = """\
usage: python reproduce.py [budget=SECONDS] [plan=true] [rows=ROW,...] [kinds=KIND,...] [KEY=VALUE of train.py]

Writes REPRODUCTION.md, a line for each number of the five reports, from the records in results/.

  budget=SECONDS  first runs what is missing for so many seconds: most worth a second first, each command only where it
                  is thought to fit what is left, and the last one stopped in time. The same command goes on
  plan=true       only lists what is missing in that order, with the seconds that each is thought to take here
  rows=ROW,...    of these rows alone (R3.2; R4 means all of report 4), or of experiments by name (resnet20)
  kinds=KIND,...  of these kinds alone: report is a report's protocol, strong today's recipe (recipe=strong); short and
                  others are what takes less or stands beside them
  hydra...= trainer...=   are handed on to train.py: hydra/launcher=local hydra.launcher.jobs=2

Runs lie in multirun/reproduction-NAME; the records of finished ones are copied to results/NAME. Data sets are fetched
by train.py, or read from where CIFARLAB_DATA says. Exit code: 1 where a command failed or was refused, 2 for what was
mistyped."""
HANDED_ON = ("hydra/", "hydra.", "trainer.")
GRACE_SECONDS = 120.0  # for a run that is stopped to write its last state


class UsageError(ValueError):
    """The command line cannot be understood."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The command line of reproduce.py.

    Attributes:
        handed_on: what each `train.py` is given besides.
    """

    budget: float | None = None
    plan: bool = False
    rows: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    handed_on: tuple[str, ...] = ()


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Read the command line.

    Raises:
        UsageError: an argument that does not exist, or a value that it does not take.
    """
    found = Arguments()
    for argument in argv:
        key, _, value = argument.partition("=")
        if argument.startswith(HANDED_ON):
            found = replace(found, handed_on=(*found.handed_on, argument))
        elif key == "budget":
            found = replace(found, budget=_seconds(value))
        elif key == "plan":
            if value not in ("true", "false"):
                raise UsageError(f"plan={value}: allowed: true, false")
            found = replace(found, plan=value == "true")
        elif key in ("rows", "kinds"):
            names = tuple(each for each in value.strip("[]").split(",") if each)
            found = replace(found, rows=names) if key == "rows" else replace(found, kinds=names)
        else:
            raise UsageError(f"{argument}: allowed: budget=, plan=, rows=, kinds=, and hydra and trainer keys")
    return found


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"budget={text}: allowed: a number of seconds above 0")
    return seconds


def chosen(rows: Sequence[Row], arguments: Arguments) -> list[Entry]:
    """The commands that the arguments leave.

    Raises:
        UsageError: a row, an experiment or a kind is unknown.
    """
    entries = [entry for row in rows for entry in row.entries]
    for name in arguments.rows:
        if not any(_names(name, entry) for entry in entries):
            known = ", ".join(dict.fromkeys(entry.row.id for entry in entries))
            raise UsageError(f"rows={name}: allowed: {known}, R1 to R5, and the names of their experiments")
    kinds = dict.fromkeys(entry.kind for entry in entries)
    if unknown := [kind for kind in arguments.kinds if kind not in kinds]:
        raise UsageError(f"kinds={unknown[0]}: allowed: {', '.join(kinds)}")
    return [
        entry
        for entry in entries
        if (not arguments.rows or any(_names(name, entry) for name in arguments.rows))
        and (not arguments.kinds or entry.kind in arguments.kinds)
    ]


def _names(name: str, entry: Entry) -> bool:
    return name in (entry.row.id, entry.row.id.partition(".")[0], entry.experiment, entry.name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        parsed = parse_arguments(arguments)
        rows = read_rows()
        entries = chosen(rows, parsed)
    except UsageError as error:
        print(f"{error}\n\n{HELP}", file=sys.stderr)
        return 2
    try:
        with stoppable():
            lost = Reproduction(rows, entries, parsed).go_on() if parsed.budget or parsed.plan else False
            if not parsed.plan:
                print(write_page(rows))
    except (ValueError, OSError) as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print("stopped; the same command goes on", file=sys.stderr)
        return 128 + int(stopped.args[0])
    return int(lost)


def write_page(rows: Sequence[Row]) -> Path:
    """Write REPRODUCTION.md and its figures; its path."""
    from cifarlab.figures.differences import differences  # late, like pandas below: --help does without them
    from cifarlab.figures.formats import rendered
    from cifarlab.reproduction.answers import answer, picture
    from cifarlab.reproduction.page import FILE, page
    from cifarlab.reproduction.questions import read_questions

    for question in read_questions():
        if found := answer(question, by_name(rows), RESULTS):
            write_bytes(RESULTS / f"{question.name}.png", rendered(differences(picture(found))))
    write_text(FILE, page(rows, RESULTS))
    return FILE


class Reproduction:
    """The missing runs of some commands.

    Args:
        rows: all of them, for the page.
        entries: the commands.
        arguments: the budget, and what is handed on.
    """

    def __init__(self, rows: Sequence[Row], entries: Sequence[Entry], arguments: Arguments) -> None:
        self._rows = rows
        self._entries = entries
        self._arguments = arguments
        self._console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
        self._plans: list[Plan] = []
        self._guess: Speeds | None = None

    def go_on(self) -> bool:
        """List what is missing, and with a budget run it. True where a command was lost."""
        from cifarlab.reproduction.queue import next_task
        from cifarlab.reproduction.running import run

        begun = time.monotonic()
        self._console.print(f"looking at {len(self._entries)} commands")
        self._plans = read_plans(self._entries)
        self._show(self._missing())
        lost: frozenset[str] = frozenset()
        budget = 0.0 if self._arguments.plan else self._arguments.budget or 0.0
        while task := next_task(self._missing(), budget - (time.monotonic() - begun), lost):
            left = budget - (time.monotonic() - begun)
            typed = [*task.entry.arguments(task.seeds), *self._arguments.handed_on]
            name = task.entry.name
            line = f"{left:,.0f} s left; {task.entry.row.id} {name}: {task.runs} runs, about {task.seconds:,.0f} s"
            self._console.print(f"[bold]{escape(line)}[/]", soft_wrap=True)
            before = time.monotonic()
            code = run(typed, left, GRACE_SECONDS)
            there = keep(Path("multirun") / task.entry.sweep, task.entry, RESULTS)
            self._console.print(f"{name}: {there} runs kept, {time.monotonic() - before:,.0f} s")
            if code:
                lost |= {name}
            write_page(self._rows)
        if lost and self._arguments.budget:
            self._console.print(f"not finished: {', '.join(sorted(lost))}", style="yellow")
        return bool(lost)

    def _missing(self) -> list[Task]:
        from cifarlab.reproduction.cost import Speeds
        from cifarlab.reproduction.queue import tasks

        runs = {entry.name: kept(RESULTS, entry) for row in self._rows for entry in row.entries}
        device, name = _device()
        speeds = Speeds.measured(runs, name)
        if not speeds.points:
            speeds = self._guess = self._guess or _probed(device)
        done = {name: Counter(run.result.seed for run in there) for name, there in runs.items()}
        return tasks(self._plans, done, speeds)

    def _show(self, missing: Sequence[Task]) -> None:
        table = Table(box=None, header_style="bold", padding=(0, 1))
        for heading in ("row", "command", "runs", "seconds", "so far"):
            table.add_column(
                heading, justify="left" if heading in ("row", "command") else "right", no_wrap=heading == "row"
            )
        total = 0.0
        for task in missing:
            total += task.seconds
            seeds = f" seed={','.join(map(str, task.seeds))}" if task.seeds else ""
            command = escape(" ".join(task.entry.overrides) + seeds)
            table.add_row(task.entry.row.id, command, str(task.runs), f"{task.seconds:,.0f}", f"{total:,.0f}")
        self._console.print(table if missing else "nothing is missing")


def read_plans(entries: Sequence[Entry]) -> list[Plan]:
    """What the commands come to, by their own configs."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from cifarlab.job.read import read_job
    from cifarlab.reproduction.cost import Size
    from cifarlab.reproduction.queue import Plan
    from cifarlab.sweeps.grid import Grid
    from cifarlab.verbs.command_line import CONF, prepare, register_resolvers

    register_resolvers()
    plans = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for entry in entries:
            typed = [prepare(each, CONF) for each in entry.overrides]
            fixed = [each for each in typed if "," not in each]
            config = compose("train", overrides=fixed, return_hydra_config=True)
            params = config.hydra.sweeper.get("params") or {}
            axes = [prepare(f"{key}={value}", CONF) for key, value in params.items()]
            zipped: Any = OmegaConf.to_container(config.zip) if config.get("zip") else ()
            grid = Grid.parse([*axes, *typed]).combined(zipped, ())
            cells = [compose("train", overrides=list(each), return_hydra_config=True) for each in _ends(grid)]
            sizes = tuple(Size.of(read_job(cell, cell.hydra)) for cell in cells)
            plans.append(Plan(entry=entry, sizes=sizes, settings=grid.size))
    return plans


def _ends(grid: Grid) -> list[tuple[str, ...]]:
    """The first cell of a grid and the last, as far as that is another one."""
    cells = list(grid.samples())
    return list(dict.fromkeys((cells[0], cells[-1])))


def _device() -> tuple[Any, str]:
    """The device of a run, and its name as results have it."""
    import torch

    from cifarlab.training.hardware.device import device_name

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return device, device_name(device)


def _probed(device: Any) -> Speeds:
    from cifarlab.reproduction.cost import probe

    return probe(device)
