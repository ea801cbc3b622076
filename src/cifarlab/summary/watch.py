"""A running sweep, looked at from beside it: `python summarize.py SWEEP_DIR watch=true`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from cifarlab.heartbeat import RUNNING
from cifarlab.summary.findings import counts
from cifarlab.summary.history import read_history
from cifarlab.summary.load import Sweep, read_sweep
from cifarlab.summary.tables import column, score

SECONDS = 2.0
SHOWN = 20


def watch(sweep_dir: str | Path, console: Console | None = None, wait: Callable[[float], None] = time.sleep) -> None:
    """Show a sweep's runs until none is left to end; Ctrl-C leaves it alone."""
    sweep = read_sweep(sweep_dir)
    with Live(view(sweep), console=console, auto_refresh=False) as live:
        try:
            while sweep.states.isin(["missing", RUNNING]).any():
                wait(SECONDS)
                sweep = read_sweep(sweep_dir)
                live.update(view(sweep), refresh=True)
        except KeyboardInterrupt:
            pass


def view(sweep: Sweep) -> Group:
    """Counts, the runs at work with their epoch, and the last that have ended with what they reached."""
    table = Table(box=None, header_style="bold")
    for title in ("run", "stands", score(sweep)):
        table.add_column(title, overflow="fold", justify="right" if title == score(sweep) else "left")
    values = column(sweep, score(sweep))
    rows = []
    for name, status, value in zip(sweep.runs["name"], sweep.runs["status"], values, strict=True):
        at_work = status.startswith(RUNNING)
        history = read_history(sweep.directory / name / "history.csv") if at_work or status == "missing" else {}
        epochs = max((len(each) for each in history.values()), default=0)
        begun = at_work or ((sweep.directory / name).is_dir() and status == "missing")
        if begun or status != "missing":
            last = history.get(score(sweep))
            shown = value if last is None else last[-1]
            rows.append((begun, name, f"running, {epochs} epochs done" if begun and not at_work else status, shown))
    for _, name, stands, shown in sorted(rows, key=lambda row: row[0])[-SHOWN:]:
        table.add_row(escape(name), stands, f"{shown:.4f}" if shown == shown else "")
    return Group(f"{escape(sweep.name)}  {counts(sweep)}", table)
