"""A sweep on the terminal: its plan, and one line a cell with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from cifarlab.job.preflight import Refused
from cifarlab.reading import visible
from cifarlab.sweeps.ledger import Cell
from cifarlab.sweeps.names import bare
from cifarlab.sweeps.searching.settings import SearchSettings
from cifarlab.sweeps.searching.space import Space

if TYPE_CHECKING:
    from cifarlab.training.hardware.counts import Cost

COLOURS = {
    "finished": "green",
    "failed": "red",
    "diverged": "red",
    "damaged": "red",
    "interrupted": "yellow",
    "pruned": "blue",
}

MANY = 100  # cells that are worth a word while they are looked at
EVERY_S = 5.0

Item = TypeVar("Item")


def looking(items: Sequence[Item], doing: str) -> Iterator[Item]:
    """Go through cells, and say on standard error how far it is: a bar on a terminal, now and then a line elsewhere."""
    console = Console(stderr=True, highlight=False)
    if len(items) >= MANY and not console.is_terminal:
        yield from _in_lines(items, doing, console)
    else:
        yield from track(items, f"{doing} cells", console=console, transient=True, disable=len(items) < MANY)


def _in_lines(items: Sequence[Item], doing: str, console: Console) -> Iterator[Item]:
    said = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - said > EVERY_S:
            said = time.monotonic()
            console.print(f"{doing} cells: {number:,} of {len(items):,}")
        yield item


class Progress:
    """Prints as a sweep goes on."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.total = total
        self._numbers: dict[str, int] = {}  # by key
        self._begun: dict[str, float | None] = {}  # when, of those at work, by key; None for those in a queue
        self._durations: list[float] = []
        self._slots = 1

    def plan(self, cells: Sequence[Cell], costs: Sequence[Cost], statuses: Sequence[str]) -> None:
        """The cells with what they cost and how far they are."""
        table = Table(box=None, header_style="bold")
        for title in ("cell", "parameters", "MFLOPs a picture", "status"):
            justify: Literal["left", "right"] = "left" if title in ("cell", "status") else "right"
            table.add_column(title, justify=justify, overflow="fold", no_wrap=title != "cell")  # no name is ever cut
        for cell, cost, status in zip(cells, costs, statuses, strict=True):
            row = (escape(cell.name), f"{cost.parameters:,}", f"{cost.flops / 1e6:,.1f}", status)
            table.add_row(*row)
        self.console.print(table)

    def space(self, space: Space, search: SearchSettings, ended: int, costs: Sequence[Cost]) -> None:
        """What a search may choose, what it is after, and how far it is."""
        table = Table(box=None, show_header=False)
        for name, dimension in space.dimensions.items():
            table.add_row(escape(name), escape(str(dimension)))
        seeds = [" ".join(f"{bare(key)}={value}" for key, value in pairs) for pairs in space.repetitions]
        sizes = [f"{number:,}" for number in sorted({cost.parameters for cost in costs})]
        table.add_row("parameters", f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else sizes[0])
        table.add_row("each trial", ", ".join(seeds) if seeds[0] else "one run")
        table.add_row("objective", f"{search.objective}, its mean over the runs of a trial")
        table.add_row("search", f"{search.sampler}, pruner {search.pruner}, {ended} of {search.trials} trials done")
        self.console.print(table)

    def left_out(self, refused: Sequence[Refused]) -> None:
        """Cells that cannot be run."""
        for cell in refused:
            line = f"left out: {' '.join(cell.overrides)}: {'; '.join(cell.faults)}"
            self.console.print(escape(line), style="yellow")

    def confirms(self, count: int) -> None:
        """The best setting is trained again so many times."""
        self.total += count
        self.console.print(f"confirm: the best setting again, with {count} fresh seeds")

    def skipped(self, cell: Cell, why: str) -> None:
        """A cell that is not run now."""
        self._begun.pop(cell.key, None)
        self.console.print(
            f"[dim]{self._position(cell)} {escape(cell.name)}  {escape(visible(why))}[/]", soft_wrap=True
        )

    def started(self, cell: Cell, slots: int = 1) -> None:
        """A cell begins, one of so many at once."""
        self._slots = slots
        self._begun[cell.key] = time.perf_counter() if len(self._begun) < slots else None
        self.console.print(f"{self._position(cell)} {escape(cell.name)}  …")

    def note(self, line: str) -> None:
        """What happens to a cell besides."""
        self.console.print(escape(visible(line)), style="yellow", soft_wrap=True)

    def ended(self, cell: Cell, outcome: Mapping[str, Any]) -> None:
        """A cell is done, whatever the outcome."""
        status = str(outcome.get("status", "failed"))
        metrics = outcome.get("metrics", {})
        shown = "  ".join(f"{name} {metrics[name]:.4f}" for name in ("val/acc", "test/acc") if metrics.get(name))
        seconds = outcome.get("seconds", {}).get("total", 0.0)
        colour = COLOURS.get(status, "red")
        begun = self._begun.pop(cell.key)
        self._durations.append(seconds if begun is None else time.perf_counter() - begun)
        left = self.seconds_left()
        eta = f"ETA {timedelta(seconds=round(left))}" if left else ""
        self.console.print(
            f"{self._position(cell)} {escape(cell.name)}  [{colour}]{status}[/]  {shown}  {seconds:.1f} s  {eta}",
            soft_wrap=True,
        )
        if status not in ("finished", "pruned") and outcome.get("error"):
            last = visible(str(outcome["error"])).strip().splitlines()[-1]
            self.console.print(f"    {escape(last)}", style="red", soft_wrap=True)

    def seconds_left(self) -> float:
        """How long the rest will take if the cells to come take as long as those so far; 0 at the end."""
        mean = sum(self._durations) / len(self._durations)
        waiting = self.total - len(self._numbers)
        slots = max(1, min(self._slots, waiting + len(self._begun)))
        at_work = min(slots, len(self._begun))  # and half done, at a guess
        return mean * (waiting + len(self._begun) - at_work / 2) / slots

    def _position(self, cell: Cell) -> str:
        number = self._numbers.setdefault(cell.key, len(self._numbers) + 1)
        return f"\\[{number}/{self.total}]"
