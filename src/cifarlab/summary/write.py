"""`summarize`: tables, statistics, figures and the page of a sweep, from whatever runs exist."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from cifarlab.figures.captions import caption
from cifarlab.figures.formats import Format, rendered
from cifarlab.reading import leads_out
from cifarlab.result import write_bytes
from cifarlab.summary.comparison import compare as compare_values
from cifarlab.summary.comparison import trend
from cifarlab.summary.findings import Findings, find
from cifarlab.summary.history import History, read_histories
from cifarlab.summary.latex import latex
from cifarlab.summary.load import Sweep, read_sweep
from cifarlab.summary.markdown import markdown
from cifarlab.summary.page import page
from cifarlab.summary.plots import compared, draw, in_words, planned
from cifarlab.summary.tables import cells_table, refuse_metric


def summarize(sweep_dir: str | Path, compare: str | None = None, figures: Sequence[str] = ()) -> Path:
    """Write `SWEEP_DIR/summary/`: runs.csv, cells.csv, summary.md, index.html and the PNGs; return the page's path.

    Every file is replaced in one step and nothing else is touched, so two processes may do this at once.

    Args:
        sweep_dir: a sweep's directory, or any folder of runs.
        compare: a knob whose values are compared in pairs; adds `compare_KNOB.csv`, a figure and a section.
        figures: names of figures beyond the usual ones and those that `sweep.json` asks for.

    Raises:
        ValueError: no run is there, or the knob or a figure is unknown.
        OSError: it cannot be written there.
    """
    page, findings = write_summary(sweep_dir, compare, figures)
    if page is None:
        raise OSError(findings.unwritten)
    return page


def write_summary(
    sweep_dir: str | Path,
    compare: str | None,
    figures: Sequence[str],
    beside: Sequence[str | Path] = (),
    table: str | None = None,
    metric: str | None = None,
    form: Format = "png",
    dpi: int | None = None,
) -> tuple[Path | None, Findings]:
    """`summarize`, with what was found. Where the folder takes nothing, there is no path, and a warning says why.

    The figures are PNGs and, where another `form` is asked for, such files beside them: see `figures.formats.rendered`.
    """
    sweep = read_sweep(sweep_dir, *beside)
    histories, damaged = read_histories(sweep.directory, sweep.runs["name"])
    sweep = replace(sweep, faults=(*sweep.faults, *damaged))
    pictures = planned(sweep, histories, [*sweep.figures, *figures])
    if metric is not None:
        refuse_metric(sweep, metric)
    comparison = compare_values(sweep, compare, metric) if compare else None
    direction = trend(sweep, compare, metric) if compare else None
    cells = cells_table(sweep)

    contents = {"runs.csv": csv_text(sweep.all_runs), "cells.csv": csv_text(cells)}
    if comparison is not None:
        contents[f"compare_{compare}.csv"] = csv_text(comparison)
    drawers: dict[str, Callable[[], Figure]] = {
        name: functools.partial(_captioned, sweep, part, histories, shown) for name, (part, shown) in pictures.items()
    }
    if comparison is not None:
        drawers[f"compare_{compare}"] = functools.partial(compared, comparison)
    faults: dict[str, str] = {}
    for name, drawer in drawers.items():
        try:
            figure = drawer()
            contents |= {f"{name}.{one}": rendered(figure, one, dpi) for one in dict.fromkeys(["png", form])}
        except Exception as fault:  # whatever is wrong with one picture, the tables and the page do not wait for it
            faults[name] = f"{type(fault).__name__}: {fault}"
    findings = find(sweep, cells, comparison, direction, faults)
    drawn = [name for name in drawers if name not in faults]
    if table == "latex":
        contents["table.tex"] = latex(findings).encode()
    contents["summary.md"] = markdown(findings, drawn).encode()
    contents["index.html"] = page(findings, histories, drawn).encode()
    folder = sweep.folder
    try:
        if leads_out(folder, sweep.directory):
            raise OSError(f"{folder} is a link out of {sweep.directory}")
        folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            write_bytes(folder / name, content)
    except OSError as error:  # a colleague's sweep, a full disk
        return None, replace(findings, unwritten=str(error))
    return folder / "index.html", findings


def _captioned(sweep: Sweep, part: Sweep, histories: Mapping[str, History], shown: str) -> Figure:
    figure = draw(part, histories, shown)
    caption(figure, in_words(sweep, part, shown))
    return figure


FORMULA = (*"=+-@\t\r", *map(chr, (0xFF1D, 0xFF0B, 0xFF0D, 0xFF20)))  # the last four are = + - @ of full width


def csv_text(table: pd.DataFrame) -> bytes:
    """A table as CSV: full digits, an empty cell for NaN, and no text that a spreadsheet would take for a formula."""
    texts = table.select_dtypes(exclude=["number", "bool"]).columns
    table = table.assign(**{name: table[name].map(_no_formula) for name in texts}).rename(columns=_no_formula)
    return table.to_csv(index=False, lineterminator="\n").encode()


def _no_formula(cell: object) -> object:
    """Text that begins as a formula does gets an apostrophe before it (OWASP, "CSV Injection"); numbers stay."""
    if not isinstance(cell, str) or not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
