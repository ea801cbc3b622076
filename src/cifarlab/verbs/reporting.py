"""What a verb says while it works: tables and notes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cifarlab.reading import visible

WIDE = 140  # columns of text where the output is no terminal


def table(heading: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows of equal keys; fractions to four digits."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    shown = Table(title=escape(heading), title_justify="left", box=None, pad_edge=False)
    for name in rows[0]:
        shown.add_column(escape(str(name)), justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        shown.add_row(*(escape(_text(value)) for value in row.values()))
    console.print(shown)


def say(line: str) -> None:
    """A line beside the answer, on standard error."""
    print(visible(line), file=sys.stderr)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4f}"
    return visible(str(value))
