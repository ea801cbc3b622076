"""A metric over two or three knobs: heatmap and cube, with hover."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import hex_to_rgb, sequential

from cifarlab.figures.style import FAILED
from cifarlab.figures.surface import Surface
from cifarlab.summary.arrange import surface_of
from cifarlab.summary.charts.look import GREY, PANE, SHEET, View, category, chart, rounded, text, title_of
from cifarlab.summary.load import Sweep
from cifarlab.summary.plots import MOST_FACETS

# In a notation that a dark page leaves as it is.
SCALE = [f"rgb{hex_to_rgb(colour)}" for colour in sequential.Viridis]
MOST_VIEWS = 40
MOST_TRIPLES = 4


def heatmap(sweep: Sweep, axes: Sequence[str], metrics: Sequence[str]) -> go.Figure:
    """Any pair of axes, over all runs or at one value of a further axis; hover tells mean, sd, n and failures."""
    views = {
        text(f"{x} \N{MULTIPLICATION SIGN} {y}{''.join(f', {knob}={value}' for knob, value in where.items())}"): {
            title_of(metric): _flat_view(surface_of(sweep, (y, x), metric, where)) for metric in metrics
        }
        for x, y, where in _pairs(sweep, axes)
    }
    height = min(680, 190 + 62 * max(len(sweep.labels(axis)) for axis in axes))
    return chart(views, go.Figure(layout={"height": height}))


def grid3d(sweep: Sweep, axes: Sequence[str], metrics: Sequence[str]) -> go.Figure:
    """Three axes as a cube to turn with the mouse; a cross where all runs of a triple were lost."""
    views = {
        text(" \N{MULTIPLICATION SIGN} ".join(triple)): {
            title_of(metric): _cube_view(surface_of(sweep, triple, metric)) for metric in metrics
        }
        for triple in itertools.islice(itertools.combinations(axes, 3), MOST_TRIPLES)
    }
    camera = {"eye": {"x": 1.5, "y": -1.7, "z": 0.8}, "center": {"x": 0, "y": 0, "z": -0.15}}
    scene = {"camera": camera, "aspectmode": "cube"}
    return chart(
        views, go.Figure(layout={"height": 620, "margin": {"l": 10, "r": 10, "t": 10, "b": 10}, "scene": scene})
    )


def _pairs(sweep: Sweep, axes: Sequence[str]) -> list[tuple[str, str, dict[str, str]]]:
    """Pairs of axes, then each pair at each value of each further axis, as many as a menu can hold."""
    pairs: list[tuple[str, str, dict[str, str]]] = [(x, y, {}) for x, y in itertools.combinations(axes, 2)]
    slices = [
        (x, y, {third: value})
        for x, y, _ in pairs
        for third in axes
        if third not in (x, y) and len(sweep.labels(third)) <= MOST_FACETS
        for value in sweep.labels(third)
    ]
    return (pairs + slices)[: max(MOST_VIEWS, len(axes))]


def _flat_view(face: Surface) -> View:
    y, x = face.axes
    short = [[f"{mean:.{face.digits}f}" if np.isfinite(mean) else "" for mean in row] for row in face.mean]
    cells = go.Heatmap(
        x=[text(value) for value in x.values],
        y=[text(value) for value in y.values],
        z=rounded(face.mean),
        text=short,
        texttemplate="%{text}",
        hovertext=_hover(face).tolist(),
        hoverinfo="text",
        xgap=2,
        ygap=2,
        **_colours(face),
    )
    lost = np.argwhere(face.is_lost)
    crosses = go.Scatter(
        mode="markers",
        x=[text(x.values[column]) for _, column in lost],
        y=[text(y.values[row]) for row, _ in lost],
        marker={"symbol": "x-thin", "size": 14, "line": {"color": FAILED, "width": 3}},
        hovertext=[f"{face.failed[row, column]} not finished, none did" for row, column in lost],
        hoverinfo="text",
        showlegend=False,
    )
    return View(traces=[cells, crosses], layout={"xaxis": category(x), "yaxis": category(y)})


def _cube_view(face: Surface) -> View:
    look = {"opacity": 1, "line": {"color": SHEET, "width": 1}, "size": 13}
    known = np.isfinite(face.mean)
    balls = _marks(face, known, look | {"color": rounded(face.mean[known]), **_colours(face)})
    # A trace of its own: plotly takes no gap among the numbers that it colours by.
    crosses = _marks(face, face.is_lost, {"symbol": "x", "size": 5, "color": FAILED})
    pane = {"showbackground": True, "backgroundcolor": PANE, "gridcolor": GREY, "zeroline": False}
    # The ranges keep the balls off the panes, which would hide half of them.
    scene = {
        f"{side}axis": pane | category(axis) | {"range": [-0.5, len(axis.values) - 0.5]}
        for side, axis in zip("xyz", face.axes, strict=True)
    }
    return View(traces=[balls, crosses], layout={"scene": scene})


def _marks(face: Surface, among: np.ndarray, marker: dict[str, Any]) -> go.Scatter3d:
    """A mark at each triple of values that is meant."""
    places = {
        side: [text(axis.values[place]) for place in np.argwhere(among)[:, dimension]]
        for dimension, (side, axis) in enumerate(zip("xyz", face.axes, strict=True))
    }
    words = _hover(face)[among].tolist()
    return go.Scatter3d(mode="markers", **places, marker=marker, hovertext=words, hoverinfo="text", showlegend=False)


def _colours(face: Surface) -> dict[str, Any]:
    bar = {"title": {"text": face.metric}, "outlinewidth": 0, "thickness": 14}
    return {"colorscale": SCALE, "reversescale": face.lower_is_better, "colorbar": bar}


def _hover(face: Surface) -> np.ndarray:
    """What is said of each place, as an array of text."""
    words = np.empty(face.mean.shape, dtype=object)
    for index in np.ndindex(face.mean.shape):
        mean, sd, failed = face.mean[index], face.sd[index], face.failed[index]
        place = ", ".join(text(f"{axis.name}={axis.values[at]}") for axis, at in zip(face.axes, index, strict=True))
        value = f"{mean:.{face.digits}f}" if np.isfinite(mean) else "not measured"
        spread = f"sd {sd:.{face.digits}f}, " if np.isfinite(sd) else ""
        ended = f"n = {face.n[index]}" + (f", {failed} not finished" if failed else "")
        words[index] = f"{place}<br>{face.metric} {value}<br>{spread}{ended}"
    return words
