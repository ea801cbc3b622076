"""The page's charts as plotly figures in plain data: {"data": [traces], "layout": {...}}.

Axes and metric are chosen by plotly's own menus: one menu shows the traces of a pair of axes, the other puts the numbers of
another metric into all traces, so the two choices are independent. Plotly reads a little HTML in texts, so texts from
configs are escaped here.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cifarlab.figures.cost import pareto
from cifarlab.figures.curves import COLUMNS, palette
from cifarlab.figures.style import FAILED, INK, PALETTE
from cifarlab.summary.arrange import Surface, samples, surface
from cifarlab.summary.history import History
from cifarlab.summary.load import Sweep
from cifarlab.summary.plots import MOST_FACETS, colour_key, cost_of_settings
from cifarlab.summary.tables import METRICS, column, score

Chart = dict[str, Any]
MOST_VIEWS = 40
MOST_TRIPLES = 4
MOST_CURVES = 300
MOST_POINTS = 100
FONT = {"family": "system-ui, Segoe UI, Roboto, sans-serif", "size": 13, "color": INK}
AXIS = {"gridcolor": "#e6e9ee", "linecolor": "#c9ced6", "zeroline": False, "automargin": True}


def charts(sweep: Sweep, histories: Mapping[str, History]) -> dict[str, Chart]:
    """Every chart that the sweep has data for, by the id of its element."""
    found: dict[str, Chart] = {}
    metrics = measured(sweep)
    axes = sweep.swept()
    if metrics and len(axes) > 1:
        found["heatmap"] = heatmap(sweep, axes, metrics)
    if metrics and axes:
        found["marginals"] = marginals(sweep, axes, metrics)
    if metrics and len(axes) > 2:
        found["grid3d"] = grid3d(sweep, axes, metrics)
    if histories:
        found["curves"] = curves(sweep, histories)
    gains, costs, names = cost_of_settings(sweep)
    if np.isfinite(gains).any() and costs:
        found["cost"] = cost(sweep, gains, costs, names)
    return found


def measured(sweep: Sweep) -> list[str]:
    """The metrics that some finished run has; what settings are ranked by comes first."""
    done = sweep.runs["status"] == "finished"
    first = score(sweep)
    return [name for name in dict.fromkeys([first, *METRICS]) if column(sweep, name)[done].notna().any()]


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


def heatmap(sweep: Sweep, axes: Sequence[str], metrics: Sequence[str]) -> Chart:
    """Any pair of axes, over all runs or at one value of a further axis; hover tells mean, sd, n and failures."""
    views = _views(sweep, axes)
    data: list[Chart] = []
    updates: dict[str, list[Chart]] = {metric: [] for metric in metrics}
    for position, (x, y, where) in enumerate(views):
        faces = {metric: surface(sweep, (y, x), metric, where) for metric in metrics}
        for metric, face in faces.items():
            updates[metric].append(_colours(face, metric))
        xs, ys = ([text(value) for value in sweep.labels(knob)] for knob in (x, y))
        shared = {"visible": position == 0, "hoverinfo": "text"}
        first = updates[metrics[0]][-1]
        data.append(
            {"type": "heatmap", "x": xs, "y": ys, "texttemplate": "%{text}", "xgap": 2, "ygap": 2, **first, **shared}
        )
        data.append(_lost_marks(faces[metrics[0]], xs, ys) | shared)
    buttons = [_metric_button(metric, updates[metric], range(0, len(data), 2)) for metric in metrics]
    return {
        "data": data,
        "layout": layout(
            min(720, 230 + 62 * max(len(sweep.labels(axis)) for axis in axes)),
            xaxis=AXIS | _category(sweep, views[0][0]),
            yaxis=AXIS | _category(sweep, views[0][1]),
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


def _colours(face: Surface, metric: str) -> Chart:
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


def _metric_button(metric: str, updates: Sequence[Chart], traces: Sequence[int]) -> Chart:
    changed = {key: [update[key] for update in updates] for key in updates[0] if key not in ("colorscale", "colorbar")}
    if "colorbar" in updates[0]:
        changed["colorbar.title.text"] = [update["colorbar"]["title"]["text"] for update in updates]
    return {"label": title_of(metric), "method": "restyle", "args": [changed, list(traces)]}


def _view_button(sweep: Sweep, views: Sequence[View], place: int) -> Chart:
    x, y, where = views[place]
    fixed = "".join(f", {knob}={value}" for knob, value in where.items())
    visible = [position // 2 == place for position in range(2 * len(views))]
    moved = {
        f"{side}axis.{key}": value
        for side, knob in (("x", x), ("y", y))
        for key, value in _category(sweep, knob).items()
    }
    return {
        "label": text(f"{x} \N{MULTIPLICATION SIGN} {y}{fixed}"),
        "method": "update",
        "args": [{"visible": visible}, moved],
    }


def _category(sweep: Sweep, knob: str) -> Chart:
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": [text(value) for value in sweep.labels(knob)],
        "title": {"text": text(knob)},
    }


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
    buttons = [_metric_button(metric, _filled(updates[metric]), range(len(data))) for metric in metrics]
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
            **{side: AXIS | _category(sweep, axes[0]) | {"domain": domain} for side, (domain, _) in halves.items()},
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
    category = _category(sweep, axes[place])
    moved = {f"{side}.{key}": value for side in ("xaxis", "xaxis2") for key, value in category.items()}
    return {"label": text(axes[place]), "method": "update", "args": [{"visible": visible}, moved]}


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
    buttons = [_metric_button(metric, updates[metric], range(len(data))) for metric in metrics]
    return {
        "data": data,
        "layout": layout(
            620,
            scene={
                **_scene(sweep, triples[0]),
                "camera": {"eye": {"x": 1.25, "y": -1.45, "z": 0.7}},
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
    colours = _colours(face, metric)
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
    return {f"{side}axis": panes | _category(sweep, knob) for side, knob in zip("xyz", triple, strict=True)}


def _triple_button(sweep: Sweep, triples: Sequence[Sequence[str]], place: int) -> Chart:
    visible = [position == place for position in range(len(triples))]
    moved = {f"scene.{side}": look for side, look in _scene(sweep, triples[place]).items()}
    words = " \N{MULTIPLICATION SIGN} ".join(triples[place])
    return {"label": text(words), "method": "update", "args": [{"visible": visible}, moved]}


def curves(sweep: Sweep, histories: Mapping[str, History]) -> Chart:
    """All runs' histories, a trace a colour; a sweep of more than MOST_CURVES runs shows each setting's mean over seeds."""
    key, texts, order = colour_key(sweep)
    lines = _lines(sweep, texts, histories)
    shown = [name for name in COLUMNS if any(np.isfinite(history.get(name, [])).any() for _, _, history in lines)]
    used = [name for name in order if any(name == colour for _, colour, _ in lines)]
    traces = [_joined(lines, colour, shown) for colour in used]
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers" if len(lines) <= 30 else "lines",
            "name": text(colour),
            "line": {"color": shade, "width": 1.6 if len(lines) <= 30 else 1},
            "marker": {"size": 4},
            "opacity": 0.85,
            "hovertemplate": "%{text}<br>epoch %{x}: %{y:.4f}<extra></extra>",
            "x": trace["epoch"],
            "y": trace[shown[0]],
            "text": trace["name"],
        }
        for colour, shade, trace in zip(used, palette(len(used)), traces, strict=True)
    ]
    buttons = [
        {
            "label": COLUMNS[name],
            "method": "update",
            "args": [{"y": [trace[name] for trace in traces]}, {"yaxis.title.text": COLUMNS[name]}],
        }
        for name in shown
    ]
    return {
        "data": data,
        "layout": layout(
            480,
            xaxis=AXIS | {"title": {"text": "epoch"}},
            yaxis=AXIS | {"title": {"text": COLUMNS[shown[0]]}},
            legend={"title": {"text": text(key)}},
            showlegend=True,
            updatemenus=[menu(buttons, 0)],
        ),
    }


Line = tuple[str, str, History]


def _lines(sweep: Sweep, texts: pd.Series, histories: Mapping[str, History]) -> list[Line]:
    """(name, colour, history) of every curve to draw."""
    rows = list(zip(sweep.runs["name"], texts, sweep.runs["group"], strict=True))
    if len(histories) <= MOST_CURVES:
        return [(name, colour, histories[name]) for name, colour, _ in rows if name in histories]
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, colour, group in rows:
        if name in histories:
            groups.setdefault(group, []).append((name, colour))
    return [
        (f"{names[0][0]} and {len(names) - 1} more seeds", names[0][1], _mean([histories[name] for name, _ in names]))
        for names in groups.values()
    ]


def _mean(histories: Sequence[History]) -> History:
    """The mean over runs, up to the epoch that all of them reached."""
    epochs = min(len(next(iter(history.values()))) for history in histories)
    shared = [name for name in histories[0] if all(name in history for history in histories)]
    return {name: np.mean([history[name][:epochs] for history in histories], axis=0) for name in shared}


def _joined(lines: Sequence[Line], colour: str, columns: Sequence[str]) -> dict[str, list[Any]]:
    """The curves of one colour as one trace, with a gap between any two: `epoch`, `name` and each column, equally long."""
    parts: dict[str, list[Any]] = {part: [] for part in ("epoch", "name", *columns)}
    for run, shade, history in lines:
        if shade != colour:
            continue
        epochs = history.get("epoch", np.arange(len(next(iter(history.values())))))
        kept = np.unique(np.linspace(0, epochs.size - 1, min(epochs.size, MOST_POINTS)).astype(int))
        parts["epoch"] += [*rounded(epochs[kept]), None]
        parts["name"] += [text(run)] * kept.size + [None]
        for name in columns:
            parts[name] += [*rounded(history[name][kept] if name in history else np.full(kept.size, np.nan)), None]
    return parts


def cost(sweep: Sweep, gains: np.ndarray, costs: Mapping[str, np.ndarray], names: Sequence[str]) -> Chart:
    """A point a setting against what it cost, with the Pareto front."""
    parts = {kind: _front(gains, spent, names) for kind, spent in costs.items()}
    kinds = [kind for kind, (points, _) in parts.items() if points["x"]]
    first = parts[kinds[0]] if kinds else ({}, {})
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "setting",
            "marker": {"color": PALETTE[0], "size": 8, "opacity": 0.65},
        },
        {"type": "scatter", "mode": "lines+markers", "name": "Pareto front", "line": {"color": FAILED, "shape": "hv"}},
    ]
    hover = {"hovertemplate": "%{text}<br>%{x}: %{y:.4f}<extra></extra>"}
    buttons = [
        {
            "label": kind, "method": "update",
            "args": [{part: [one[part] for one in parts[kind]] for part in ("x", "y", "text")}, {"xaxis.title.text": kind}],
        }
        for kind in kinds
    ]  # fmt: skip
    return {
        "data": [trace | hover | dict(numbers) for trace, numbers in zip(data, first, strict=True)],
        "layout": layout(
            440,
            xaxis=AXIS | {"title": {"text": kinds[0] if kinds else ""}},
            yaxis=AXIS | {"title": {"text": score(sweep)}},
            updatemenus=[menu(buttons, 0)],
            showlegend=True,
        ),
    }


def _front(gains: np.ndarray, spent: np.ndarray, names: Sequence[str]) -> tuple[Chart, Chart]:
    known = np.flatnonzero(np.isfinite(gains) & np.isfinite(spent))
    front = known[pareto(spent[known], gains[known])]
    points, best = (
        {"x": rounded(spent[chosen]), "y": rounded(gains[chosen]), "text": [text(names[place]) for place in chosen]}
        for chosen in (known, front)
    )
    return points, best
