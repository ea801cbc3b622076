"""The histories of all runs in one chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cifarlab.figures.curves import COLUMNS, palette
from cifarlab.summary.charts.look import AXIS, Chart, layout, menu, rounded, text
from cifarlab.summary.history import History
from cifarlab.summary.load import Sweep
from cifarlab.summary.plots import colour_key

MOST_CURVES = 300
MOST_POINTS = 100


def curves(sweep: Sweep, histories: Mapping[str, History]) -> Chart:
    """A trace a colour; in a sweep of more than MOST_CURVES runs a curve is a setting's mean over its seeds."""
    key, texts, order = colour_key(sweep)
    lines = _lines(sweep, texts, histories)
    shown = [name for name in COLUMNS if any(np.isfinite(history.get(name, [])).any() for _, _, history in lines)]
    used = [name for name in order if any(name == colour for _, colour, _ in lines)]
    traces = [_joined(lines, colour, shown) for colour in used]
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers" if len(lines) <= 30 else "lines",
            "name": text(colour),
            "line": {"color": shade, "width": 1.6 if len(lines) <= 30 else 1},
            "marker": {"size": 4},
            "opacity": 0.85,
            "hovertemplate": "%{text}<br>epoch %{x}: %{y:.4f}<extra></extra>",
            "x": trace["epoch"],
            "y": trace[shown[0]],
            "text": trace["name"],
        }
        for colour, shade, trace in zip(used, palette(len(used)), traces, strict=True)
    ]
    buttons = [
        {
            "label": COLUMNS[name],
            "method": "update",
            "args": [{"y": [trace[name] for trace in traces]}, {"yaxis.title.text": COLUMNS[name]}],
        }
        for name in shown
    ]
    return {
        "data": data,
        "layout": layout(
            480,
            xaxis=AXIS | {"title": {"text": "epoch"}},
            yaxis=AXIS | {"title": {"text": COLUMNS[shown[0]]}},
            legend={"title": {"text": text(key)}},
            showlegend=True,
            updatemenus=[menu(buttons, 0)],
        ),
    }


Line = tuple[str, str, History]


def _lines(sweep: Sweep, texts: pd.Series, histories: Mapping[str, History]) -> list[Line]:
    """(name, colour, history) of every curve to draw."""
    rows = list(zip(sweep.runs["name"], texts, sweep.runs["group"], strict=True))
    if len(histories) <= MOST_CURVES:
        return [(name, colour, histories[name]) for name, colour, _ in rows if name in histories]
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, colour, group in rows:
        if name in histories:
            groups.setdefault(group, []).append((name, colour))
    return [
        (f"{names[0][0]} and {len(names) - 1} more seeds", names[0][1], _mean([histories[name] for name, _ in names]))
        for names in groups.values()
    ]


def _mean(histories: Sequence[History]) -> History:
    """The mean over runs, up to the epoch that all of them reached."""
    epochs = min(len(next(iter(history.values()))) for history in histories)
    shared = [name for name in histories[0] if all(name in history for history in histories)]
    return {name: np.mean([history[name][:epochs] for history in histories], axis=0) for name in shared}


def _joined(lines: Sequence[Line], colour: str, columns: Sequence[str]) -> dict[str, list[Any]]:
    """The curves of one colour as one trace with a gap between any two: `epoch`, `name`, and each column."""
    parts: dict[str, list[Any]] = {part: [] for part in ("epoch", "name", *columns)}
    for run, shade, history in lines:
        if shade != colour:
            continue
        epochs = history.get("epoch", np.arange(len(next(iter(history.values())))))
        kept = np.unique(np.linspace(0, epochs.size - 1, min(epochs.size, MOST_POINTS)).astype(int))
        parts["epoch"] += [*rounded(epochs[kept]), None]
        parts["name"] += [text(run)] * kept.size + [None]
        for name in columns:
            parts[name] += [*rounded(history[name][kept] if name in history else np.full(kept.size, np.nan)), None]
    return parts
