"""The histories of all runs in one chart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cifarlab.figures.curves import COLUMNS, Overlay
from cifarlab.summary.charts.look import View, chart, rounded, text, thinned

MOST_POINTS = 100
MOST_CURVES = 300  # of settings, where runs are more


def curves(data: Overlay) -> go.Figure:
    """A trace a colour, over the epochs.

    Raises:
        ValueError: no run has a history.
    """
    if not data.columns:
        raise ValueError("no run has a history of losses or accuracies")
    drawn = replace(data, curves=thinned(data.curves, MOST_CURVES))
    legend = {"title": {"text": text(data.legend_title)}}
    base = go.Figure(
        layout={"height": 480, "showlegend": True, "legend": legend, "xaxis": {"title": {"text": "epoch"}}}
    )
    if len(drawn.curves) < len(data.curves):
        base.update_layout(title={"text": f"{len(drawn.curves)} of {len(data.curves):,} curves", "font": {"size": 13}})
    return chart({"": {COLUMNS[column]: _view(drawn, column) for column in data.columns}}, base)


def _view(data: Overlay, column: str) -> View:
    few = len(data.curves) <= 30
    traces = [
        go.Scatter(
            mode="lines+markers" if few else "lines",
            name=text(entry),
            line={"color": colour, "width": 1.6 if few else 1},
            marker={"size": 4},
            opacity=0.85,
            hovertemplate="%{text}<br>epoch %{x}: %{y:.4f}<extra></extra>",
            **_joined(data, entry, column),
        )
        for entry, colour in data.colours.items()
    ]
    scale = "log" if data.is_log(column) else "linear"
    axis = {"title": {"text": data.title(column)}, "autorange": True, "type": scale}
    limits = data.loss_limits(column)
    if limits is not None:
        axis |= {"autorange": False, "range": limits}
    return View(traces=traces, layout={"yaxis": axis})


def _joined(data: Overlay, entry: str, column: str) -> dict[str, list[Any]]:
    """The curves of one colour as one line with a gap between any two."""
    x: list[Any] = []
    y: list[Any] = []
    names: list[Any] = []
    for curve in data.curves:
        if curve.colour != entry:
            continue
        size = len(next(iter(curve.history.values())))
        kept = np.unique(np.linspace(0, size - 1, min(size, MOST_POINTS)).astype(int))
        values = np.asarray(curve.history.get(column, np.full(size, np.nan)))
        x += [*rounded(np.asarray(curve.history.get("epoch", np.arange(size)))[kept]), None]
        y += [*rounded(values[kept]), None]
        names += [text(curve.name)] * kept.size + [None]
    return {"x": x, "y": y, "text": names}
