"""Accuracy against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cifarlab.figures.cost import pareto
from cifarlab.figures.style import FAILED, PALETTE
from cifarlab.summary.charts.look import AXIS, Chart, layout, menu, rounded, text
from cifarlab.summary.load import Sweep
from cifarlab.summary.tables import score


def cost(sweep: Sweep, gains: np.ndarray, costs: Mapping[str, np.ndarray], names: Sequence[str]) -> Chart:
    """A point a setting against what it cost, with the Pareto front."""
    parts = {kind: _front(gains, spent, names) for kind, spent in costs.items()}
    kinds = [kind for kind, (points, _) in parts.items() if points["x"]]
    first = parts[kinds[0]] if kinds else ({}, {})
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "setting",
            "marker": {"color": PALETTE[0], "size": 8, "opacity": 0.65},
        },
        {"type": "scatter", "mode": "lines+markers", "name": "Pareto front", "line": {"color": FAILED, "shape": "hv"}},
    ]
    hover = {"hovertemplate": "%{text}<br>%{x}: %{y:.4f}<extra></extra>"}
    buttons = [
        {
            "label": kind, "method": "update",
            "args": [
                {part: [trace[part] for trace in parts[kind]] for part in ("x", "y", "text")},
                {"xaxis.title.text": kind},
            ],
        }
        for kind in kinds
    ]  # fmt: skip
    return {
        "data": [trace | hover | dict(numbers) for trace, numbers in zip(data, first, strict=True)],
        "layout": layout(
            440,
            xaxis=AXIS | {"title": {"text": kinds[0] if kinds else ""}},
            yaxis=AXIS | {"title": {"text": score(sweep)}},
            updatemenus=[menu(buttons, 0)],
            showlegend=True,
        ),
    }


def _front(gains: np.ndarray, spent: np.ndarray, names: Sequence[str]) -> tuple[Chart, Chart]:
    known = np.flatnonzero(np.isfinite(gains) & np.isfinite(spent))
    front = known[pareto(spent[known], gains[known])]
    points, best = (
        {
            "x": rounded(spent[chosen]),
            "y": rounded(gains[chosen]),
            "text": [text(names[int(place)]) for place in chosen],
        }
        for chosen in (known, front)
    )
    return points, best
