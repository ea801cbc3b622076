"""What the page's charts have in common: one look, and menus that choose what is shown.

A chart is a plotly figure over a table of views. One menu chooses the place (axes), which shows that place's traces and
hides the others; the other menu chooses the metric, which puts another view's content into all traces, so the two
choices are independent. Plotly reads a little HTML in texts, so texts from configs are escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cifarlab.figures.style import INK
from cifarlab.figures.surface import Axis

GREY = "#c9ced6"
_AXIS = {"gridcolor": "#e6e9ee", "linecolor": GREY, "zeroline": False, "automargin": True}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, Segoe UI, Roboto, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 70, "r": 20, "t": 80, "b": 60},
        "hoverlabel": {"align": "left"},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


@dataclass(frozen=True, kw_only=True)
class View:
    """What a chart shows under one choice in its menus.

    Attributes:
        traces: of plotly; all views of a chart have the same number, of the same types.
        layout: what goes with them.
    """

    traces: Sequence[Any]
    layout: Mapping[str, Any] = field(default_factory=dict)


def chart(views: Mapping[str, Mapping[str, View]], base: go.Figure, above: int = 12) -> go.Figure:
    """`base` with the first view in it, and menus for the others.

    Args:
        views: place -> metric -> view, each place with the same metrics.
        base: may have a layout of its own.
        above: pixels between the menus and the chart.
    """
    places, metrics = list(views), list(next(iter(views.values())))
    first = [views[place][metrics[0]] for place in places]
    owners = [owner for owner, view in enumerate(first) for _ in view.traces]
    base.add_traces([trace for view in first for trace in view.traces])
    for trace, owner in zip(base.data, owners, strict=True):
        if owner:
            trace.visible = False
    base.update_layout(first[0].layout)
    moved = _changes([[_flat(view.layout)] for view in first])
    choose_place = [
        _button(place, {"visible": [owner == here for owner in owners]}, moved[here], owners)
        for here, place in enumerate(places)
    ]
    traces = [[trace for place in places for trace in views[place][metric].traces] for metric in metrics]
    changed = _changes([[_flat(trace.to_plotly_json()) for trace in variant] for variant in traces])
    named = _changes([[_flat(views[places[0]][metric].layout)] for metric in metrics])
    choose_metric = [_button(metric, changed[here], named[here], owners) for here, metric in enumerate(metrics)]
    menus = [choose_place, choose_metric] if places != [""] else [choose_metric]
    base.update_layout(
        template=TEMPLATE, updatemenus=[_menu(buttons, 0.5 * at, above) for at, buttons in enumerate(menus)]
    )
    return base


def text(value: object) -> str:
    """Text for plotly with nothing left that it would take for HTML."""
    return html.escape(str(value), quote=False)


def rounded(values: Any) -> Any:
    """Numbers as nested lists with six digits, None for what is not finite."""
    array = np.asarray(values, dtype=float)
    if array.ndim > 1:
        return [rounded(row) for row in array]
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in array]


def title_of(metric: str) -> str:
    """A metric's name in a menu."""
    return f"{metric} (not for choosing)" if metric.startswith("test/") else metric


def category(axis: Axis) -> dict[str, Any]:
    """A plotly axis over the values of a knob."""
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": [text(value) for value in axis.values],
        "title": {"text": text(axis.name)},
    }


def _menu(buttons: Sequence[dict[str, Any]], x: float, above: int) -> dict[str, Any]:
    """A drop-down above the chart, `x` of its width from the left."""
    return {
        "buttons": buttons, "x": x, "y": 1, "yanchor": "bottom", "xanchor": "left", "pad": {"b": above},
        "bgcolor": "white", "bordercolor": GREY, "showactive": True,
    }  # fmt: skip


def _button(label: str, changed: Mapping[str, Any], moved: Mapping[str, Any], owners: Sequence[int]) -> dict[str, Any]:
    layout = {key: values[0] for key, values in moved.items()}
    return {"label": label, "method": "update", "args": [changed, layout, list(range(len(owners)))]}


def _changes(variants: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, list[Any]]]:
    """What tells variants of the same elements apart: for each variant, dotted key -> its value in each element."""
    keys = dict.fromkeys(key for variant in variants for element in variant for key in element)
    values = [{key: [element.get(key) for element in variant] for key in keys} for variant in variants]
    differing = [key for key in keys if any(one[key] != values[0][key] for one in values)]
    return [{key: one[key] for key in differing} for one in values]


def _flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """`{"marker": {"size": 5}}` as plotly's menus name it: `{"marker.size": 5}`."""

    def walk(inner: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
        for key, value in inner.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{before}{key}.")
            else:
                yield f"{before}{key}", value

    return dict(walk(nested, ""))
