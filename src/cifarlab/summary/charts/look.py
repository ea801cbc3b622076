"""What the page's charts have in common: one look, by day and in the dark, and menus that choose what is shown.

A chart is a plotly figure over a table of views. One menu chooses the place (axes), which shows that place's traces and
hides the others; the other menu chooses the metric, which puts another view's content into all traces, so the two
choices are independent. The page makes a list to choose from of each menu, which fits on a narrow screen too. Plotly
reads a little HTML in texts, so texts from configs are escaped here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cifarlab.figures.style import FAILED, INK, PALETTE
from cifarlab.figures.surface import Axis

SHEET, GREY, GRID, BOX, PANE = "#ffffff", "#c9ced6", "#e6e9ee", "#dce9f5", "#f7f8fa"
# Each colour of a chart on a dark page; those of lines that are not here are made lighter where they are too dark.
DARK_SHEET = "#1a2029"
DARK = {
    SHEET: DARK_SHEET,
    GREY: "#56606f",
    GRID: "#2c343f",
    BOX: "#23394d",
    PANE: "#202732",
    INK: "#e4e8ee",
    PALETTE[0].lower(): "#4aa8e0",
    FAILED.lower(): "#ff8a80",
}
LEAST_CONTRAST = 3.0  # of lines and marks against what they are on: WCAG 2.1, 1.4.11
_AXIS = {"gridcolor": GRID, "linecolor": GREY, "zeroline": False, "automargin": True}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, Segoe UI, Roboto, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": SHEET,
        "plot_bgcolor": SHEET,
        "margin": {"l": 70, "r": 20, "t": 24, "b": 60},
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


def in_the_dark(content: str) -> dict[str, str]:
    """For every colour that stands in a text as `#rrggbb`, in small letters, what takes its place on a dark page."""
    return {colour: _in_the_dark(colour) for colour in sorted({one.lower() for one in COLOUR.findall(content)})}


def contrast(one: str, other: str) -> float:
    """Of two colours `#rrggbb`, from 1 to 21 (WCAG 2.1, "contrast ratio")."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")


def _in_the_dark(colour: str) -> str:
    if colour in DARK:
        return DARK[colour]
    parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    while contrast(colour, DARK_SHEET) < LEAST_CONTRAST:
        parts = [round(part + 0.15 * (255 - part)) for part in parts]
        colour = "#" + "".join(f"{part:02x}" for part in parts)
    return colour


def _luminance(colour: str) -> float:
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return float(np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def chart(views: Mapping[str, Mapping[str, View]], base: go.Figure) -> go.Figure:
    """`base` with the first view in it, and menus for the others.

    Args:
        views: place -> metric -> view, each place with the same metrics.
        base: may have a layout of its own.
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
    base.update_layout(template=TEMPLATE, updatemenus=[{"buttons": buttons} for buttons in menus])
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


def along(axis: Axis) -> dict[str, Any]:
    """A plotly axis over the values of a knob where each stands by its size or its logarithm, see `Axis.along`."""
    places = axis.along
    name = f"{axis.name} (log scale)" if axis.is_log else axis.name
    return {
        "type": "linear",
        "tickmode": "array",
        "tickvals": rounded(places),
        "ticktext": [text(value) for value in axis.values],
        "range": [float(places[0]) - 0.5, float(places[-1]) + 0.5],
        "title": {"text": text(name)},
    }


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


def thinned(items: Any, most: int) -> list[Any]:
    """At most so many, evenly, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[place] for place in np.unique(np.linspace(0, len(items) - 1, most).astype(int))]
