"""Accuracy against cost."""

from __future__ import annotations

import plotly.graph_objects as go

from cifarlab.figures.cost import Cost
from cifarlab.figures.style import FAILED, PALETTE
from cifarlab.summary.charts.look import View, chart, rounded, text, thinned

MOST_SETTINGS = 2000  # that a page holds, beside the front


def cost(data: Cost) -> go.Figure:
    """A point a setting against what it cost, with the Pareto front."""
    base = go.Figure(layout={"height": 440, "showlegend": True, "yaxis": {"title": {"text": data.metric}}})
    return chart({"": {kind: _view(data, kind) for kind in data.kinds}}, base)


def _view(data: Cost, kind: str) -> View:
    points, front = (
        {
            "x": rounded(data.costs[kind][chosen]),
            "y": rounded(data.gains[chosen]),
            "text": [text(data.names[place]) for place in chosen],
            "hovertemplate": "%{text}<br>%{x}: %{y:.4f}<extra></extra>",
        }
        for chosen in (thinned(data.known(kind), MOST_SETTINGS), data.front(kind))
    )
    settings = go.Scatter(
        mode="markers", name="setting", marker={"color": PALETTE[0], "size": 8, "opacity": 0.65}, **points
    )
    best = go.Scatter(mode="lines+markers", name="Pareto front", line={"color": FAILED, "shape": "hv"}, **front)
    return View(traces=[settings, best], layout={"xaxis": {"title": {"text": kind}}})
