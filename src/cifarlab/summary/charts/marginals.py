"""One knob at a time: distribution, and mean with interquartile range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cifarlab.figures.style import INK, PALETTE
from cifarlab.summary.arrange import samples
from cifarlab.summary.charts.look import AXIS, Chart, category, layout, menu, metric_button, rounded, text
from cifarlab.summary.load import Sweep


def marginals(sweep: Sweep, axes: Sequence[str], metrics: Sequence[str]) -> Chart:
    """One axis at a time: every run over a box of quartiles, beside it the mean with the interquartile range."""
    data: list[Chart] = []
    updates: dict[str, list[Chart]] = {metric: [] for metric in metrics}
    for position, knob in enumerate(axes):
        for metric in metrics:
            updates[metric] += _marginal_numbers(sweep, knob, metric)
        box, line = updates[metrics[0]][-2:]
        shared = {"visible": position == 0, "showlegend": False}
        points = "all" if len(sweep.runs) <= 500 else "outliers"
        look = {"marker": {"color": PALETTE[0], "size": 5, "opacity": 0.7}, "line": {"color": INK, "width": 1}}
        data.append(
            {
                "type": "box",
                "boxpoints": points,
                "pointpos": 0,
                "jitter": 0.4,
                "fillcolor": "#dce9f5",
                **look,
                **box,
                **shared,
            }
        )
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "xaxis": "x2",
                "yaxis": "y2",
                "line": {"color": PALETTE[0]},
                **line,
                **shared,
            }
        )
    buttons = [metric_button(metric, _filled(updates[metric]), range(len(data))) for metric in metrics]
    for button, metric in zip(buttons, metrics, strict=True):
        button["method"] = "update"
        button["args"] = [button["args"][0], {"yaxis.title.text": metric}, button["args"][1]]
    halves = {"xaxis": ([0, 0.47], "every run, with quartiles"), "xaxis2": ([0.53, 1], "mean with interquartile range")}
    titles = [
        {
            "text": words,
            "x": domain[0],
            "y": 1,
            "xref": "paper",
            "yref": "paper",
            "xanchor": "left",
            "yanchor": "bottom",
            "showarrow": False,
        }
        for domain, words in halves.values()
    ]
    return {
        "data": data,
        "layout": layout(
            430,
            **{side: AXIS | category(sweep, axes[0]) | {"domain": domain} for side, (domain, _) in halves.items()},
            yaxis=AXIS | {"title": {"text": metrics[0]}},
            yaxis2=AXIS | {"anchor": "x2", "matches": "y", "showticklabels": False},
            annotations=titles,
            margin={"l": 70, "r": 20, "t": 105, "b": 60},
            updatemenus=[
                menu([_knob_button(sweep, axes, place) for place in range(len(axes))], 0) | {"pad": {"b": 40}},
                menu(buttons, 0.5) | {"pad": {"b": 40}},
            ],
        ),
    }


def _marginal_numbers(sweep: Sweep, knob: str, metric: str) -> tuple[Chart, Chart]:
    """What a metric changes in the two traces of a knob: box, and mean line with error bars."""
    groups = list(zip([text(value) for value in sweep.labels(knob)], samples(sweep, knob, metric), strict=True))
    groups = [(name, group) for name, group in groups if group.size]
    mean = np.array([group.mean() for _, group in groups])
    low, high = (np.array([np.percentile(group, share) for _, group in groups]) for share in (25, 75))
    names = [name for name, _ in groups]
    box = {
        "x": [name for name, group in groups for _ in group],
        "y": rounded(np.concatenate([group for _, group in groups])) if groups else [],
    }
    bars = {
        "type": "data",
        "symmetric": False,
        "array": rounded(high - mean),
        "arrayminus": rounded(mean - low),
        "thickness": 2,
    }
    return box, {"x": names, "y": rounded(mean), "error_y": bars}


def _filled(updates: Sequence[Chart]) -> list[Chart]:
    return [{"error_y": None} | update for update in updates]


def _knob_button(sweep: Sweep, axes: Sequence[str], place: int) -> Chart:
    visible = [position // 2 == place for position in range(2 * len(axes))]
    look = category(sweep, axes[place])
    moved = {f"{side}.{key}": value for side in ("xaxis", "xaxis2") for key, value in look.items()}
    return {"label": text(axes[place]), "method": "update", "args": [{"visible": visible}, moved]}
