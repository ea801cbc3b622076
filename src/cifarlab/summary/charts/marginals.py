"""One knob at a time: distribution, and mean with interquartile range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cifarlab.figures.marginals import Marginal
from cifarlab.figures.style import INK, PALETTE
from cifarlab.summary.arrange import marginal_of
from cifarlab.summary.charts.look import BOX, View, along, category, chart, rounded, text, title_of
from cifarlab.summary.load import Sweep

MOST_POINTS = 500  # runs that are drawn one by one
MOST_RUNS = 2000  # that a page holds


def marginals(sweep: Sweep, axes: Sequence[str], metrics: Sequence[str]) -> go.Figure:
    """One axis at a time: every run over a box of quartiles, beside it the mean with the interquartile range."""
    many = len(sweep.runs) > MOST_RUNS
    views = {
        text(knob): {title_of(metric): _view(marginal_of(sweep, knob, metric), many) for metric in metrics}
        for knob in axes
    }
    alone = len(sweep.swept()) < 2  # then runs of a value differ in their seeds alone
    titles = ("every run, with quartiles", f"mean with {'standard deviation' if alone else 'interquartile range'}")
    base = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.06, subplot_titles=titles)
    base.update_layout(height=430, margin={"t": 44})
    base.update_annotations(font_size=13)
    return chart(views, base)


def _view(data: Marginal, many: bool) -> View:
    values = [text(data.axis.values[place]) for place in data.measured]
    samples = [data.samples[place] for place in data.measured]
    mean, low, high = data.spread
    every = go.Box(
        **(_quartiles(values, samples) if many else _runs(values, samples)),
        pointpos=0,
        jitter=0.4,
        fillcolor=BOX,
        marker={"color": PALETTE[0], "size": 5, "opacity": 0.7},
        line={"color": INK, "width": 1},
        showlegend=False,
    )
    bars = {"type": "data", "symmetric": False, "array": rounded(high - mean), "arrayminus": rounded(mean - low)}
    means = go.Scatter(
        mode="lines+markers" if data.axis.is_scale else "markers",
        xaxis="x2",
        yaxis="y2",
        x=rounded(data.axis.along[data.measured]),
        text=values,
        hovertemplate="%{text}: %{y:.4f}<extra></extra>",
        y=rounded(mean),
        error_y=bars | {"thickness": 2},
        line={"color": PALETTE[0]},
        showlegend=False,
    )
    # plotly would leave out the values at which nothing finished.
    look = category(data.axis) | {"range": [-0.5, len(data.axis.values) - 0.5]}
    scaled = along(data.axis)
    return View(
        traces=[every, means], layout={"xaxis": look, "xaxis2": scaled, "yaxis": {"title": {"text": data.metric}}}
    )


def _runs(values: Sequence[str], samples: Sequence[np.ndarray]) -> dict[str, Any]:
    """Every run, from which plotly makes the boxes."""
    return {
        "x": [value for value, sample in zip(values, samples, strict=True) for _ in sample],
        "y": rounded([number for sample in samples for number in sample]),
        "boxpoints": "all" if sum(sample.size for sample in samples) <= MOST_POINTS else "outliers",
    }


def _quartiles(values: Sequence[str], samples: Sequence[np.ndarray]) -> dict[str, Any]:
    """The boxes alone, with whiskers to the extremes."""
    names = ("lowerfence", "q1", "median", "q3", "upperfence")
    shares = zip(names, (0, 0.25, 0.5, 0.75, 1), strict=True)
    return {"x": values} | {name: rounded([np.quantile(each, share) for each in samples]) for name, share in shares}
