"""`summary.md`: what a sweep found, in words and one table."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cifarlab.summary.comparison import METHOD, about, brief
from cifarlab.summary.findings import Findings, counts, in_one_column, ranking, verdict
from cifarlab.summary.load import Sweep
from cifarlab.summary.values import absent

MOST_ROWS = 30
MOST_AXES = 6


def markdown(findings: Findings, figures: Sequence[str]) -> str:
    """The text of summary.md; `figures` are the PNGs beside it."""
    sweep = findings.sweep
    lines = [f"# {inline(sweep.name)}", "", f"{counts(sweep)}; {len(findings.cells)} settings.", ""]
    lines += [f"    {' '.join(command.split()).replace('<', '&lt;')}" for command in sweep.commands] + (
        [""] if sweep.commands else []
    )
    lines += [f"> **Warning.** {inline(warning)}\n" for warning in findings.warnings]
    lines += ["## Result", "", *(inline(line) + "  " for line in verdict(findings)), ""]
    for part in findings.parts or (findings,):
        lines += [f"## Settings: {inline(part.sweep.name)}" if findings.parts else "## Settings", ""]
        lines += [table(_narrow(ranking(part).head(MOST_ROWS), part.sweep)), ""]
        if len(part.order) > MOST_ROWS:
            lines += [f"The first {MOST_ROWS} of {len(part.order)}; all are in cells.csv.", ""]
    if findings.comparison is not None:
        heading = f"## Comparison: {inline(about(findings.comparison))}"
        lines += [heading, "", table(brief(findings.comparison)), "", METHOD, ""]

    lines += troubles(sweep)
    lines += ["## Figures", "", *(f"![{name}]({name}.png)" for name in figures), ""] if figures else []
    return "\n".join(lines)


def _narrow(rows: pd.DataFrame, sweep: Sweep) -> pd.DataFrame:
    """The table with a column an axis, or with all in one where they are many."""
    return rows if len(sweep.axes) <= MOST_AXES else in_one_column(rows, sweep.axes)


def troubles(sweep: Sweep) -> list[str]:
    """The runs that did not finish, with the last line of their error."""
    lost = sweep.runs[sweep.is_lost]
    if lost.empty:
        return []
    lines = ["## Not finished", ""]
    for name, status, error in zip(lost["name"], lost["status"], lost["error"], strict=True):
        text = (
            str(error).strip().splitlines()[-1] if isinstance(error, str) and error.strip() else "no error was recorded"
        )
        lines.append(f"- {inline(name)}: {inline(status)}: {inline(text[:300])}")
        if len(lines) > 50:
            lines.append(f"- and {len(lost) - 49} more, in runs.csv")
            break
    return [*lines, ""]


def table(rows: pd.DataFrame) -> str:
    """A Markdown table; numbers to five digits, nothing for NaN."""
    header = [f"| {' | '.join(inline(str(name)) for name in rows)} |", f"| {' | '.join('---' for _ in rows)} |"]
    return "\n".join(
        header + [f"| {' | '.join(inline(cell_text(cell)) for cell in row)} |" for row in rows.itertuples(index=False)]
    )


def cell_text(cell: object) -> str:
    """A table's cell as text."""
    if absent(cell):
        return ""
    if isinstance(cell, (float, np.floating)):
        return f"{cell:.5g}"
    return str(cell)


# What begins markup, and what GitHub makes a link of without any; an underscore within a word begins none.
MARKUP = {each: f"\\{each}" for each in "\\`*[]~|"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
MARKUP_OF_LINKS = re.compile(r"(?<=\w):(?=//)|(?i:(?<=www))\.|@|\b_|_\b|^[#=]")


def inline(text: str) -> str:
    """Text without line breaks, and without what Markdown or HTML would read as markup: no link, no picture."""
    flat = "".join(MARKUP.get(each, each) for each in " ".join(text.split()))
    return MARKUP_OF_LINKS.sub(lambda match: f"&#{ord(match[0])};", flat)
