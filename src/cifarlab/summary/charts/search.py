"""The trials of a search."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from cifarlab.figures.search import PRUNED, TrialKnob, Trials
from cifarlab.figures.style import FAILED, PALETTE
from cifarlab.summary.charts.look import View, chart, rounded, text

FINISHED = {"size": 9, "color": PALETTE[0], "opacity": 0.75}
STOPPED = {"size": 9, "color": PRUNED, "symbol": "circle-open"}


def search(data: Trials) -> go.Figure:
    """A point a trial, over the order in which they were tried, with the best so far, or over one knob."""
    views = {"trial": _view(data, "trial", TrialKnob(numbers=data.numbers.astype(float)))}
    views |= {text(name): _view(data, name, knob) for name, knob in data.knobs.items()}
    base = go.Figure(layout={"height": 440, "showlegend": True, "yaxis": {"title": {"text": data.metric}}})
    return chart({"": views}, base)


def _view(data: Trials, name: str, knob: TrialKnob) -> View:
    names = [text(f"trial {number}: {words}") for number, words in zip(data.numbers, data.names, strict=True)]
    dots, rings = (
        go.Scatter(
            mode="markers",
            name=kind,
            x=_places(knob, among),
            y=rounded(data.scores[among]),
            text=[names[place] for place in np.flatnonzero(among)],
            marker=marker,
            hovertemplate="%{text}<br>%{y:.4f}<extra></extra>",
        )
        for kind, among, marker in (("trial", data.finished, FINISHED), ("pruned", ~data.finished, STOPPED))
    )
    best = go.Scatter(
        mode="lines",
        name="best so far",
        x=rounded(data.numbers),
        y=rounded(data.best),
        line={"color": FAILED, "shape": "hv"},
        hoverinfo="skip",
        visible=name == "trial",
    )
    axis = {
        "type": "category" if knob.values else knob.scale,
        "title": {"text": text(name)},
        "categoryorder": "array",
        "categoryarray": [text(value) for value in knob.values],
    }
    return View(traces=[dots, rings, best], layout={"xaxis": axis})


def _places(knob: TrialKnob, among: np.ndarray) -> list[str | float | None]:
    numbers = knob.numbers[among]
    if not knob.values:
        return list(rounded(numbers))
    return [text(knob.values[int(place)]) if np.isfinite(place) else None for place in numbers]
