"""A sweep on the terminal: its plan, and one line a cell with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cifarlab.sweeps.ledger import Cell
from cifarlab.training.cost import Cost

COLOURS = {"finished": "green", "failed": "red", "diverged": "red", "interrupted": "yellow"}


class Progress:
    """Prints as a sweep goes on."""

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.total = total
        self.number = 0
        self._ran = 0
        self._started = time.perf_counter()

    def plan(self, cells: Sequence[Cell], costs: Sequence[Cost], statuses: Sequence[str]) -> None:
        """The cells with what they cost and how far they are."""
        table = Table(box=None, header_style="bold")
        for title in ("cell", "parameters", "MFLOPs a picture", "status"):
            table.add_column(title, justify="left" if title in ("cell", "status") else "right")
        for cell, cost, status in zip(cells, costs, statuses, strict=True):
            row = (escape(cell.name), f"{cost.parameters:,}", f"{cost.flops / 1e6:,.1f}", status)
            table.add_row(*row)
        self.console.print(table)

    def skipped(self, cell: Cell, why: str) -> None:
        """A cell that is not run now."""
        self.number += 1
        self.console.print(f"[dim]{self._position()} {escape(cell.name)}  {escape(why)}[/]")

    def started(self, cell: Cell) -> None:
        """A cell begins."""
        self.number += 1
        self.console.print(f"{self._position()} {escape(cell.name)}  …")

    def ended(self, cell: Cell, outcome: Mapping[str, Any]) -> None:
        """A cell is done, whatever the outcome."""
        self._ran += 1
        status = str(outcome.get("status", "failed"))
        metrics = outcome.get("metrics", {})
        shown = "  ".join(f"{name} {metrics[name]:.4f}" for name in ("val/acc", "test/acc") if metrics.get(name))
        seconds = outcome.get("seconds", {}).get("total", 0.0)
        colour = COLOURS.get(status, "red")
        self.console.print(
            f"{self._position()} {escape(cell.name)}  [{colour}]{status}[/]  {shown}  {seconds:.1f} s  {self._left()}",
            soft_wrap=True,
        )
        if status != "finished" and outcome.get("error"):
            self.console.print(f"    {escape(str(outcome['error']).strip().splitlines()[-1])}", style="red")

    def _position(self) -> str:
        return f"\\[{self.number}/{self.total}]"

    def _left(self) -> str:
        remaining = self.total - self.number
        if not remaining:
            return ""
        seconds = (time.perf_counter() - self._started) / max(1, self._ran) * remaining
        return f"ETA {timedelta(seconds=round(seconds))}"
