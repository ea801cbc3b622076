"""`index.html`: one page that holds everything, asks no server for anything, and opens from disk.

Charts are plotly's, tables DataTables' (sorting, search, a filter in each column's head) as the package itables bundles
it; both libraries are written into the page. Every text from a config or an error goes through `escape`.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from cifarlab.figures import OfSweep
from cifarlab.summary.comparison import METHOD, about, brief
from cifarlab.summary.findings import Findings, caveats, measured, ranking, settings, verdict
from cifarlab.summary.history import History
from cifarlab.summary.load import STATUSES
from cifarlab.summary.markdown import cell_text
from cifarlab.summary.plots import histories_of
from cifarlab.summary.tables import setting
from cifarlab.summary.values import absent, label, numeric, ordered

MOST_ERRORS = 200
MOST_ROWS = 500  # of a table that is written out
HEADINGS: Mapping[OfSweep, tuple[str, str]] = {
    "heatmap": ("Heatmap", "Choose axes and metric above the chart; a red cross marks a place where no run finished."),
    "marginal": ("One knob at a time", "Every run, and the mean with its spread."),
    "grid3d": ("Three knobs at a time", "Drag to turn; a cross marks a place where no run finished."),
    "search": (
        "Search",
        "Trials in their order, or one knob against what it gave; rings were pruned.",
    ),
    "curves": ("Curves", "Click a name in the legend to hide it, twice to show it alone."),
    "cost": ("Accuracy against cost", "The red line is the Pareto front: nothing cheaper is better."),
}


SETTINGS = "Best validation first; n counts finished runs. Test accuracies are in cells.csv: they are not for choosing."
RUNS = "The name opens the run's directory."


def page(findings: Findings, histories: Mapping[str, History], figures: Sequence[str]) -> str:
    """The whole page as text; `figures` are the PNGs beside it."""
    from itables.utils import read_package_file
    from plotly.offline import get_plotlyjs

    from cifarlab.summary.charts import charts  # needs plotly, which nothing else does
    from cifarlab.summary.charts.look import in_the_dark

    drawn: dict[OfSweep, dict[str, Any]] = {}
    for part in findings.parts or (findings,):
        for name, done in charts(part.sweep, histories_of(part.sweep, histories)).items():
            drawn.setdefault(name, {})[part.sweep.name if findings.parts else ""] = done
    sections = [
        result(findings),
        *(chart(name, drawn[name]) for name in drawn if name in ("search", "heatmap", "marginal", "grid3d")),
        comparison(findings),
        section("Settings", settings_tables(findings), "settings", SETTINGS),
        *(chart(name, drawn[name]) for name in drawn if name in ("curves", "cost")),
        troubles(findings),
        section("Runs", data_table(*run_rows(findings)), "runs", RUNS),
    ]
    content = embedded(
        {
            chart_id(name, place): done.to_plotly_json()
            for name, parts in drawn.items()
            for place, done in enumerate(parts.values())
            if not isinstance(done, str)
        }
    )
    return Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(findings.sweep.name),
        header=header(findings, drawn),
        sections="\n".join(part for part in sections if part),
        footer=footer(findings, figures),
        charts=content,
        dark=embedded(in_the_dark(content)),
        plotly=get_plotlyjs(),
        table_style=read_package_file("html", "dt_bundle.css"),
        table_library=packed(read_package_file("html", "dt_bundle.js")),
    )


def embedded(content: Any) -> str:
    """JSON that is safe inside a script element: no `<`, `>` or `&` is left in it."""
    plain = json.dumps(content, allow_nan=False, separators=(",", ":"), default=_number)
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not for JSON")


def section(heading: str, body: str, name: str, note: str = "") -> str:
    """A titled box."""
    quiet = f'<p class="quiet">{escape(note)}</p>' if note else ""
    return f'<section id="section-{name}"><h2>{escape(heading)}</h2>{quiet}{body}</section>'


def chart(name: OfSweep, parts: Mapping[str, object]) -> str:
    """The box that a chart is drawn into, one for each data set; text in its place says why there is none."""
    heading, note = HEADINGS[name]
    if name in ("heatmap", "grid3d"):
        note += " Means over seeds and over the axes that are not shown."
    body = ""
    for place, (data, content) in enumerate(parts.items()):
        body += f"<h3>{escape(data)}</h3>" if data else ""
        if isinstance(content, str):
            body += f'<p class="warning">This chart could not be drawn: {escape(content)}</p>'
        else:
            body += f'<div class="chart" id="{chart_id(name, place)}"></div>'
    return section(heading, body, name, note)


def chart_id(name: OfSweep, place: int) -> str:
    """`heatmap`, and for further data sets `heatmap-1`."""
    return f"{name}-{place}" if place else name


def header(findings: Findings, drawn: Iterable[OfSweep]) -> str:
    """Name, counts by status, commands and the way to each part."""
    sweep = findings.sweep
    found = sweep.states.value_counts()
    badges = "".join(
        badge(str(status)).replace(f">{escape(str(status))}<", f">{found[status]} {escape(str(status))}<")
        for status in dict.fromkeys([*(name for name in STATUSES if name in found), *found.index])
    )
    commands = f"<pre>{escape(chr(10).join(sweep.commands))}</pre>" if sweep.commands else ""
    parts: dict[str, str] = {name: HEADINGS[name][0] for name in drawn}
    parts |= {"settings": "Settings", "runs": "Runs"}
    if sweep.is_lost.any():
        parts["troubles"] = "Not finished"
    links = "".join(f'<a href="#section-{name}">{escape(heading)}</a>' for name, heading in parts.items())
    many = f"{len(sweep.runs)} runs of {len(findings.cells)} settings"
    return f'<h1>{escape(sweep.name)}</h1><p class="quiet">{many}</p>{badges}{commands}<nav>{links}</nav>'


def badge(status: str) -> str:
    """A status in its colour: `finished`, `running, epoch 4/12`."""
    kind = status.partition(",")[0]
    return f'<span class="badge {kind if kind in STATUSES else ""}">{escape(status)}</span>'


def result(findings: Findings) -> str:
    """The answer: warnings, the best setting with its validation and test accuracy, on what."""
    warnings = "".join(f'<p class="warning"><b>Warning.</b> {escape(text)}</p>' for text in findings.warnings)
    best = findings.best
    if best is None:
        return section("Result", warnings + "".join(f"<p>{escape(line)}</p>" for line in verdict(findings)), "result")
    figures = [("setting", setting(findings.sweep, best), ""), *_best_numbers(best, findings.best_confirmed)]
    numbers = "".join(f"<div>{quiet(name)}<b>{escape(value)}</b>{quiet(more)}</div>" for name, value, more in figures)
    lines = [
        f"Best of {settings(findings)} by mean validation accuracy, measured on {findings.hardware}.",
        *caveats(findings),
    ]
    words = "".join(f'<p class="quiet">{escape(line)}</p>' for line in lines)
    return section("Result", f'{warnings}<div class="best">{numbers}</div>{words}', "result")


def quiet(text: str) -> str:
    """Small grey text."""
    return f'<span class="quiet">{escape(text)}</span>'


def _best_numbers(best: pd.Series, again: pd.Series | None) -> list[tuple[str, str, str]]:
    asked = [("validation accuracy", best, "val/acc"), ("test accuracy", best, "test/acc")]
    if again is not None:
        asked.append(("test accuracy, fresh seeds", again, "test/acc"))
    shown = []
    for name, row, metric in asked:
        value, _, more = measured(row, metric).partition(" (")
        shown.append((name, value, more.rstrip(")")))
    return shown


def comparison(findings: Findings) -> str:
    """The paired comparison, where one was asked for."""
    rows = findings.comparison
    if rows is None:
        return ""
    shown = brief(rows)
    head = "".join(f"<th>{escape(str(name))}</th>" for name in shown)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell_text(cell))}</td>' for cell in row)}</tr>"
        for row in shown.itertuples(index=False)
    )
    table = (
        f'<div class="scroll"><table class="still"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    direction = f"<p>{escape(str(findings.trend))}</p>" if findings.trend else ""
    return section(f"Comparison: {about(rows)}", direction + table, "comparison", METHOD)


Rows = list[list[tuple[str, object]]]


def settings_tables(findings: Findings) -> str:
    """The ranked settings: a table, or one for each data set."""
    if not findings.parts:
        return data_table(*_cells(ranking(findings), {}))
    tables = (f"<h3>{escape(part.sweep.name)}</h3>{data_table(*_cells(ranking(part), {}))}" for part in findings.parts)
    return "".join(tables)


def run_rows(findings: Findings) -> tuple[list[str], Rows]:
    """The runs: name with its link, status, seed, knobs, metrics of training and validation, times and sizes."""
    sweep = findings.sweep
    plain = ["name", "status", "seed", *sweep.knobs]
    plain += [name for name in map(str, sweep.runs) if name.startswith(("train/", "val/"))]
    plain += [
        name
        for name in ("selected_epoch", "seconds_total", "images_per_second", "parameters", "device")
        if name in sweep.runs
    ]
    status = {name: badge(name) for name in sweep.runs["status"].tolist()}
    links = {name: f'<a href="../{quote(name)}/">{escape(name)}</a>' for name in sweep.runs["name"].tolist()}
    return _cells(sweep.runs[list(dict.fromkeys(plain))], {"name": links, "status": status})


def _cells(table: pd.DataFrame, ready: Mapping[str, Mapping[str, str]]) -> tuple[list[str], Rows]:
    """Every cell as safe HTML and as the value to sort by; `ready` has the HTML of a column's values."""
    columns = []
    for name in table:
        values = table[name].tolist()
        made = ready.get(str(name), {})
        shown = [made.get(value) or escape(_shown(value)) for value in values]
        columns.append(list(zip(shown, _by(values), strict=True)))
    return list(map(str, table)), [list(row) for row in zip(*columns, strict=True)]


def _by(values: Sequence[object]) -> list[object]:
    """What a column is sorted by: its values or, where words stand among numbers, their places behind these."""
    if not any(isinstance(value, str) for value in values) or not any(map(numeric, values)):
        return list(values)
    places = {label(value): place for place, value in enumerate(ordered(values, sorted(map(label, values))))}
    return [None if absent(value) else float(places[label(value)]) for value in values]


def _shown(value: object) -> str:
    if isinstance(value, float) and not float(value).is_integer():
        return cell_text(value)
    return "" if absent(value) else label(value)


def data_table(titles: Sequence[str], rows: Rows) -> str:
    """A table that DataTables makes sortable and filterable.

    Without JavaScript it is a plain table; of very many rows the columns are packed, and drawn page by page.
    """
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    opened = f'<table class="data display compact"><thead><tr>{head}</tr></thead>'
    if len(rows) > MOST_ROWS:
        columns = [
            {"shown": [cell for cell, _ in column], "order": _order(column)} for column in zip(*rows, strict=True)
        ]
        return f'{opened}</table><script type="application/octet-stream" class="columns">{packed(columns)}</script>'
    body = "".join(f"<tr>{''.join(_cell(shown, value) for shown, value in row)}</tr>" for row in rows)
    return f"{opened}<tbody>{body}</tbody></table>"


def packed(content: Any) -> str:
    """JSON, compressed (gzip) and in letters (base64)."""
    plain = json.dumps(content, allow_nan=False, separators=(",", ":"), default=_number)
    return base64.b64encode(gzip.compress(plain.encode(), mtime=0)).decode()


def _order(column: Sequence[tuple[str, object]]) -> list[float | None] | None:
    """What a column of numbers is sorted by: seven digits, where five are shown; None for what is sorted as shown."""
    if not any(numeric(value) for _, value in column):
        return None
    return [
        float(f"{value:.7g}") if isinstance(value, (int, float)) and math.isfinite(value) else None
        for _, value in column
    ]


def _cell(shown: str, value: object) -> str:
    # Full digits for sorting: five are shown, and two settings may differ in the sixth.
    return f'<td data-order="{value!r}">{shown}</td>' if numeric(value) else f"<td>{shown}</td>"


def troubles(findings: Findings) -> str:
    """The runs that did not finish, each with its error."""
    runs = findings.sweep.runs
    lost = runs[findings.sweep.is_lost]
    if lost.empty:
        return ""
    parts = []
    for name, status, error in zip(lost["name"], lost["status"], lost["error"], strict=True):
        known = isinstance(error, str) and bool(error.strip())
        last = error.strip().splitlines()[-1][:160] if known else "no error was recorded"
        head = f"{badge(status)} {escape(name)} {quiet(last)}"
        log = f'<a href="../{quote(name)}/">its directory</a>'
        parts.append(
            f"<details><summary>{head}</summary>{f'<pre>{escape(error)}</pre>' if known else ''}{log}</details>"
        )
    more = f'<p class="quiet">and {len(parts) - MOST_ERRORS} more, in runs.csv</p>' if len(parts) > MOST_ERRORS else ""
    return section(f"Not finished ({len(parts)})", "".join(parts[:MOST_ERRORS]) + more, "troubles")


def footer(findings: Findings, figures: Sequence[str]) -> str:
    """TensorBoard's command, and what else the summary wrote."""
    command = f"tensorboard --logdir {shlex.quote(str(findings.sweep.directory))}"
    files = ["runs.csv", "cells.csv", "summary.md", *(f"{name}.png" for name in figures)]
    links = " ".join(f'<a href="{quote(name)}">{escape(name)}</a>' for name in files)
    return f"<p>Curves while they grow:</p><pre>{escape(command)}</pre><p>Beside this page: {links}</p>"
