"""The trials of a search."""

from __future__ import annotations

import numpy as np

from cifarlab.figures.search import PRUNED, Knob
from cifarlab.figures.style import FAILED, PALETTE
from cifarlab.summary.charts.look import AXIS, Chart, layout, menu, rounded, text
from cifarlab.summary.load import Sweep
from cifarlab.summary.trials import trials


def search(sweep: Sweep) -> Chart:
    """A point a trial, over the order in which they were tried, with the best so far, or over one knob."""
    found = trials(sweep)
    groups = {"trial": found.finished, "pruned": ~found.finished}
    numbers = np.arange(1, found.scores.size + 1)
    names = [text(f"trial {number}: {name}") for number, name in zip(numbers, found.names, strict=True)]
    data: list[Chart] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": rounded(numbers[among]),
            "y": rounded(found.scores[among]),
            "text": [names[place] for place in np.flatnonzero(among)],
            "marker": {"size": 9, "color": PALETTE[0], "opacity": 0.75}
            if name == "trial"
            else {"size": 9, "color": PRUNED, "symbol": "circle-open"},
            "hovertemplate": "%{text}<br>%{y:.4f}<extra></extra>",
        }
        for name, among in groups.items()
    ]
    data.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best so far",
            "x": rounded(numbers),
            "y": rounded(found.best),
            "line": {"color": FAILED, "shape": "hv"},
            "hoverinfo": "skip",
        }
    )
    views = {"trial": Knob(numbers.astype(float)), **found.knobs}
    buttons = [
        {
            "label": text(name),
            "method": "update",
            "args": [
                {
                    "x": [*(_places(knob, among) for among in groups.values()), rounded(numbers)],
                    "visible": [True, True, name == "trial"],
                },
                {f"xaxis.{key}": value for key, value in _axis(name, knob).items()},
            ],
        }
        for name, knob in views.items()
    ]
    return {
        "data": data,
        "layout": layout(
            440,
            xaxis=AXIS | _axis("trial", views["trial"]),
            yaxis=AXIS | {"title": {"text": found.metric}},
            updatemenus=[menu(buttons, 0)],
            showlegend=True,
        ),
    }


def _places(knob: Knob, among: np.ndarray) -> list[str | float | None]:
    numbers = knob.numbers[among]
    if not knob.values:
        return list(rounded(numbers))
    return [text(knob.values[int(place)]) if np.isfinite(place) else None for place in numbers]


def _axis(name: str, knob: Knob) -> Chart:
    kind = "category" if knob.values else knob.scale
    order = [text(value) for value in knob.values]
    return {"type": kind, "title": {"text": text(name)}, "categoryorder": "array", "categoryarray": order}
