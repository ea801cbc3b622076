"""What the page's charts have in common: text made safe, numbers made short, menus, layout.

A chart is a plotly figure in plain data, {"data": [traces], "layout": {...}}. Axes and metric are chosen by plotly's
own menus: one shows the traces of a pair of axes, the other puts another metric's numbers into all traces, so the two
choices are independent. Plotly reads a little HTML in texts, so texts from configs are escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from cifarlab.figures.style import INK
from cifarlab.summary.load import Sweep

Chart = dict[str, Any]
FONT = {"family": "system-ui, Segoe UI, Roboto, sans-serif", "size": 13, "color": INK}
AXIS = {"gridcolor": "#e6e9ee", "linecolor": "#c9ced6", "zeroline": False, "automargin": True}


def text(value: object) -> str:
    """Text for plotly with nothing left that it would take for HTML."""
    return html.escape(str(value), quote=False)


def rounded(values: Any) -> Any:
    """Numbers as nested lists with six digits, None for what is not finite."""
    array = np.asarray(values, dtype=float)
    if array.ndim > 1:
        return [rounded(row) for row in array]
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in array]


def menu(entries: Sequence[Chart], place: float) -> Chart:
    """A drop-down above the chart, `place` of its width from the left."""
    return {
        "buttons": list(entries),
        "x": place,
        "y": 1.0,
        "yanchor": "bottom",
        "xanchor": "left",
        "pad": {"b": 12},
        "bgcolor": "white",
        "bordercolor": "#c9ced6",
        "showactive": True,
    }


def layout(height: int, **more: Any) -> Chart:
    """The common look."""
    base = {
        "height": height,
        "font": FONT,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 70, "r": 20, "t": 80, "b": 60},
        "hoverlabel": {"align": "left"},
    }
    return base | more


def title_of(metric: str) -> str:
    """A metric's name in a menu."""
    return f"{metric} (not for choosing)" if metric.startswith("test/") else metric


def metric_button(metric: str, updates: Sequence[Chart], traces: Sequence[int]) -> Chart:
    """A menu entry that puts a metric into `traces`; the updates of traces are in their order."""
    changed = {key: [update[key] for update in updates] for key in updates[0] if key not in ("colorscale", "colorbar")}
    if "colorbar" in updates[0]:
        changed["colorbar.title.text"] = [update["colorbar"]["title"]["text"] for update in updates]
    return {"label": title_of(metric), "method": "restyle", "args": [changed, list(traces)]}


def category(sweep: Sweep, knob: str) -> Chart:
    """A plotly axis over the values of a knob."""
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": [text(value) for value in sweep.labels(knob)],
        "title": {"text": text(knob)},
    }
