"""Any two knobs as a heatmap with hover."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from cifarlab.figures.style import FAILED
from cifarlab.summary.arrange import Surface, surface
from cifarlab.summary.charts.look import AXIS, Chart, category, layout, menu, metric_button, rounded, text
from cifarlab.summary.load import Sweep
from cifarlab.summary.plots import MOST_FACETS

MOST_VIEWS = 40


def heatmap(sweep: Sweep, axes: Sequence[str], metrics: Sequence[str]) -> Chart:
    """Any pair of axes, over all runs or at one value of a further axis; hover tells mean, sd, n and failures."""
    views = _views(sweep, axes)
    data: list[Chart] = []
    updates: dict[str, list[Chart]] = {metric: [] for metric in metrics}
    for position, (x, y, where) in enumerate(views):
        faces = {metric: surface(sweep, (y, x), metric, where) for metric in metrics}
        for metric, face in faces.items():
            updates[metric].append(colours_of(face, metric))
        xs, ys = ([text(value) for value in sweep.labels(knob)] for knob in (x, y))
        shared = {"visible": position == 0, "hoverinfo": "text"}
        first = updates[metrics[0]][-1]
        data.append(
            {"type": "heatmap", "x": xs, "y": ys, "texttemplate": "%{text}", "xgap": 2, "ygap": 2, **first, **shared}
        )
        data.append(_lost_marks(faces[metrics[0]], xs, ys) | shared)
    buttons = [metric_button(metric, updates[metric], range(0, len(data), 2)) for metric in metrics]
    return {
        "data": data,
        "layout": layout(
            min(720, 230 + 62 * max(len(sweep.labels(axis)) for axis in axes)),
            xaxis=AXIS | category(sweep, views[0][0]),
            yaxis=AXIS | category(sweep, views[0][1]),
            updatemenus=[
                menu([_view_button(sweep, views, place) for place in range(len(views))], 0),
                menu(buttons, 0.5),
            ],
        ),
    }


View = tuple[str, str, dict[str, str]]


def _views(sweep: Sweep, axes: Sequence[str]) -> list[View]:
    """Pairs of axes, then each pair at each value of each further axis, as many as a menu can hold."""
    pairs: list[View] = [(x, y, {}) for x, y in itertools.combinations(axes, 2)]
    slices: list[View] = [
        (x, y, {third: value})
        for x, y, _ in pairs
        for third in axes
        if third not in (x, y) and len(sweep.labels(third)) <= MOST_FACETS
        for value in sweep.labels(third)
    ]
    return (pairs + slices)[: max(MOST_VIEWS, len(axes))]


def colours_of(face: Surface, metric: str) -> Chart:
    percent = "acc" in metric
    factor, digits = (100, 2) if percent else (1, 3)
    short, long = np.full(face.mean.shape, "", dtype=object), np.full(face.mean.shape, "", dtype=object)
    for index in np.ndindex(face.mean.shape):
        mean, sd, n, failed = face.mean[index], face.sd[index], face.n[index], face.failed[index]
        value = f"{factor * mean:.{digits}f}{' %' if percent else ''}" if np.isfinite(mean) else ""
        spread = f"sd {factor * sd:.{digits}f}, " if np.isfinite(sd) else ""
        place = ", ".join(
            f"{text(knob)}={text(face.values[side][index[side]])}" for side, knob in enumerate(face.knobs)
        )
        short[index] = value.removesuffix(" %")
        ended = f"n = {n}" + (f", {failed} not finished" if failed else "")
        long[index] = f"{place}<br>{metric} {value or 'not measured'}<br>{spread}{ended}"
    lower_is_better = metric.endswith("loss") or metric == "seconds"
    return {
        "z": rounded(factor * face.mean),
        "text": short.tolist(),
        "hovertext": long.tolist(),
        "colorscale": "Viridis",
        "reversescale": lower_is_better,
        "colorbar": {"title": {"text": f"{metric} in %" if percent else metric}, "outlinewidth": 0, "thickness": 14},
    }


def _lost_marks(face: Surface, xs: Sequence[str], ys: Sequence[str]) -> Chart:
    lost = np.argwhere((face.n == 0) & (face.failed > 0))
    marks = {"symbol": "x-thin", "size": 14, "line": {"color": FAILED, "width": 3}}
    words = [f"{face.failed[row, place]} not finished, none did" for row, place in lost]
    places = {"x": [xs[place] for _, place in lost], "y": [ys[row] for row, _ in lost]}
    return {"type": "scatter", "mode": "markers", **places, "marker": marks, "hovertext": words, "showlegend": False}


def _view_button(sweep: Sweep, views: Sequence[View], place: int) -> Chart:
    x, y, where = views[place]
    fixed = "".join(f", {knob}={value}" for knob, value in where.items())
    visible = [position // 2 == place for position in range(2 * len(views))]
    moved = {
        f"{side}axis.{key}": value
        for side, knob in (("x", x), ("y", y))
        for key, value in category(sweep, knob).items()
    }
    return {
        "label": text(f"{x} \N{MULTIPLICATION SIGN} {y}{fixed}"),
        "method": "update",
        "args": [{"visible": visible}, moved],
    }
