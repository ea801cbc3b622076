"""What a sweep found, on the terminal: counts, the best settings, the comparison, the answer, warnings."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cifarlab.summary.comparison import about, brief
from cifarlab.summary.findings import Findings, counts, in_one_column, ranking, verdict
from cifarlab.summary.markdown import cell_text
from cifarlab.summary.tables import ranked_by

SHOWN = 12
LESS = ("low", "high", "val/loss", "seconds")  # columns that a narrow terminal does without
WIDE = 140  # columns of text where the output is no terminal


def report(findings: Findings, metric: str | None = None) -> None:
    """Print what was found; with a metric of validation, the settings by it too."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    console.print(f"[bold]{escape(findings.sweep.name)}[/bold]  {escape(counts(findings.sweep))}")
    for part in findings.parts or (findings,):
        of = f"{part.sweep.name}: settings" if findings.parts else "Settings"
        _print(console, f"{of} by validation", ranking(part), part.sweep.axes)
    if metric is not None:
        _print(console, f"Settings by {metric}", ranked_by(findings.sweep, findings.cells, metric), findings.sweep.axes)
    if findings.comparison is not None:
        _print(console, f"Comparison: {about(findings.comparison)}", brief(findings.comparison))
    for sentence in verdict(findings):
        console.print(escape(sentence), highlight=False)
    for warning in findings.warnings:
        console.print(f"[bold yellow]Warning:[/bold yellow] {escape(warning)}", highlight=False)


def _print(console: Console, title: str, rows: pd.DataFrame, axes: Sequence[str] = ()) -> None:
    """A table as wide as the terminal allows: nothing in it is cut, only words are wrapped."""
    if rows.empty:
        return
    title = title if len(rows) <= SHOWN else f"{title} (first {SHOWN} of {len(rows)})"
    rows = rows.head(SHOWN)
    forms = [rows]
    if axes:
        forms.append(in_one_column(rows, axes))
        forms.append(forms[-1].drop(columns=[name for name in LESS if name in rows]))
    made = [_table(title, form) for form in forms]
    console.print(next((each for each in made if _fits(console, each)), made[-1]))


def _fits(console: Console, made: Table) -> bool:
    measure = console.measure(made, options=console.options.update(width=10_000))
    wraps = any(column.header == "setting" for column in made.columns)
    return (measure.minimum if wraps else measure.maximum) <= console.width


def _table(title: str, rows: pd.DataFrame) -> Table:
    made = Table(title=title, title_justify="left")
    for column in rows:
        words = column == "setting"
        made.add_column(escape(str(column)), justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for row in rows.itertuples(index=False):
        made.add_row(*(escape(cell_text(cell)) for cell in row))
    return made
