"""Three knobs as a cube to turn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from cifarlab.summary.arrange import Surface, surface
from cifarlab.summary.charts.heatmap import colours_of
from cifarlab.summary.charts.look import Chart, category, layout, menu, metric_button, rounded, text
from cifarlab.summary.load import Sweep

MOST_TRIPLES = 4


def grid3d(sweep: Sweep, axes: Sequence[str], metrics: Sequence[str]) -> Chart:
    """Three axes as a cube to turn with the mouse; a cross where all runs of a triple were lost."""
    triples = list(itertools.combinations(axes, 3))[:MOST_TRIPLES]
    data: list[Chart] = []
    updates: dict[str, list[Chart]] = {metric: [] for metric in metrics}
    for position, triple in enumerate(triples):
        faces = {metric: surface(sweep, triple, metric) for metric in metrics}
        planned = np.argwhere((faces[metrics[0]].n > 0) | (faces[metrics[0]].failed > 0))
        for metric, face in faces.items():
            updates[metric].append(_balls(face, metric, planned))
        names = [[text(value) for value in values] for values in faces[metrics[0]].values]
        places = {side: [names[axis][index[axis]] for index in planned] for axis, side in enumerate("xyz")}
        lost = faces[metrics[0]].n[tuple(planned.T)] == 0
        marks = {"symbol": ["x" if gone else "circle" for gone in lost], "size": [5 if gone else 13 for gone in lost]}
        first = updates[metrics[0]][-1]
        marker = {
            "colorscale": "Viridis",
            "opacity": 1,
            "line": {"color": "white", "width": 1},
            **marks,
            **_nested(first),
        }
        data.append({
            "type": "scatter3d", "mode": "markers", **places, "marker": marker, "hovertext": first["hovertext"],
            "hoverinfo": "text", "visible": position == 0, "showlegend": False,
        })  # fmt: skip
    buttons = [metric_button(metric, updates[metric], range(len(data))) for metric in metrics]
    return {
        "data": data,
        "layout": layout(
            620,
            scene={
                **_scene(sweep, triples[0]),
                "camera": {"eye": {"x": 1.5, "y": -1.7, "z": 0.8}, "center": {"x": 0, "y": 0, "z": -0.15}},
                "aspectmode": "cube",
            },
            margin={"l": 10, "r": 10, "t": 60, "b": 10},
            updatemenus=[
                menu([_triple_button(sweep, triples, place) for place in range(len(triples))], 0),
                menu(buttons, 0.5),
            ],
        ),
    }


def _balls(face: Surface, metric: str, planned: np.ndarray) -> Chart:
    colours = colours_of(face, metric)
    inside = tuple(planned.T)
    return {
        "marker.color": rounded((100 if "acc" in metric else 1) * face.mean[inside]),
        "marker.reversescale": colours["reversescale"],
        "marker.colorbar.title.text": colours["colorbar"]["title"]["text"],
        "hovertext": [np.array(colours["hovertext"], dtype=object)[tuple(index)] for index in planned],
    }


def _nested(update: Chart) -> Chart:
    bar = {"title": {"text": update["marker.colorbar.title.text"]}, "outlinewidth": 0, "thickness": 14}
    return {"color": update["marker.color"], "reversescale": update["marker.reversescale"], "colorbar": bar}


def _scene(sweep: Sweep, triple: Sequence[str]) -> Chart:
    panes = {"showbackground": True, "backgroundcolor": "#f7f8fa", "gridcolor": "#dfe3e9", "zeroline": False}
    return {f"{side}axis": panes | category(sweep, knob) for side, knob in zip("xyz", triple, strict=True)}


def _triple_button(sweep: Sweep, triples: Sequence[Sequence[str]], place: int) -> Chart:
    visible = [position == place for position in range(len(triples))]
    moved = {f"scene.{side}": look for side, look in _scene(sweep, triples[place]).items()}
    words = " \N{MULTIPLICATION SIGN} ".join(triples[place])
    return {"label": text(words), "method": "update", "args": [{"visible": visible}, moved]}
