"""Which figures a sweep has, by the name of their file, and how each is drawn from the runs."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cifarlab.figures.cost import cost
from cifarlab.figures.curves import RunCurve, overlay
from cifarlab.figures.grid3d import grid3d
from cifarlab.figures.heatmap import heatmap
from cifarlab.figures.marginals import marginal
from cifarlab.figures.search import search
from cifarlab.summary.arrange import pooled_over, samples, surface
from cifarlab.summary.history import History
from cifarlab.summary.load import Sweep
from cifarlab.summary.tables import column, score, settings_in_words
from cifarlab.summary.trials import trials
from cifarlab.summary.values import label

# Beyond these a sweep's figures are drawn on request only (figures=[...]); the page has all pairs in one heatmap.
MOST_HEATMAPS = 6
MOST_MARGINALS = 6
MOST_FACETS = 6
MOST_LISTED = 30
Draw = Callable[[], Figure]


def drawable(sweep: Sweep, histories: Mapping[str, History]) -> dict[str, Draw]:
    """How to draw each of `figure_names`."""
    axes = sweep.swept() or list(sweep.axes)
    draws: list[Draw] = [
        partial(draw_curves, sweep, histories),
        partial(draw_cost, sweep),
        partial(draw_search, sweep),
        *(partial(draw_marginal, sweep, knob) for knob in axes),
        *(partial(draw_heatmap, sweep, x, y) for x, y in itertools.permutations(axes, 2)),
        *(partial(draw_grid3d, sweep, x, y, z) for x, y, z in itertools.permutations(axes, 3)),
    ]
    return dict(zip(figure_names(axes), draws, strict=True))


def figure_names(axes: Sequence[str]) -> list[str]:
    """Every figure that a sweep over these axes (seeds left out) can be asked for, axes in any order."""
    parts = [file_part(axis) for axis in axes]
    pairs = [f"heatmap_{x}_{y}" for x, y in itertools.permutations(parts, 2)]
    triples = [f"grid3d_{x}_{y}_{z}" for x, y, z in itertools.permutations(parts, 3)]
    return ["curves", "cost", "search", *(f"marginal_{part}" for part in parts), *pairs, *triples]


def usual(sweep: Sweep, histories: Mapping[str, History]) -> list[str]:
    """The figures that are drawn without being asked for: those of the first axes, as far as there is data."""
    parts = [file_part(axis) for axis in sweep.gridded()]
    scored = column(sweep, score(sweep))[sweep.runs["status"] == "finished"].notna().any()
    names = [f"heatmap_{x}_{y}" for x, y in itertools.combinations(parts, 2)][:MOST_HEATMAPS]
    if scored:
        names += [f"marginal_{part}" for part in parts[:MOST_MARGINALS]]
        names += [f"grid3d_{'_'.join(parts[:3])}"] if len(parts) > 2 else []
        names += ["search"] if sweep.objective is not None else []
        names += ["cost"] if _has_cost(sweep) else []
    return names + (["curves"] if histories else [])


def chosen(known: Mapping[str, Draw], asked: Iterable[str]) -> list[str]:
    """The figures asked for, `.png` at the end or not.

    Raises:
        ValueError: a name that this sweep has no figure for.
    """
    names = [name.removesuffix(".png") for name in asked]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            listed = ", ".join([*known][:MOST_LISTED]) + (", ..." if len(known) > MOST_LISTED else "")
            raise ValueError(f"figures: this sweep has no figure {name!r}{hint} There is {listed}")
    return names


def file_part(knob: str) -> str:
    """A knob's name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", knob)


def draw_heatmap(sweep: Sweep, x: str, y: str) -> Figure:
    """The score over two axes: over all runs and, where there is a third axis with few values, in facets by it."""
    metric, note = score(sweep), pooled_over(sweep, (x, y))
    panels = [surface(sweep, (y, x), metric).at(..., "")]
    others = [axis for axis in sweep.swept() if axis not in (x, y)]
    # With two further axes a facet would still be a mean over one of them: the page's menu has these slices.
    third = others[0] if len(others) == 1 and len(sweep.labels(others[0])) <= MOST_FACETS else None
    if third is not None:
        cube = surface(sweep, (third, y, x), metric)
        facets = [cube.at(place, f"{third}={text}") for place, text in enumerate(cube.values[0])]
        panels = [surface(sweep, (y, x), metric).at(..., f"all {third}"), *facets]
        note = f"{pooled_over(sweep, (x, y, third))}; in the first panel over {third} too"
    return heatmap(panels, (x, sweep.labels(x)), (y, sweep.labels(y)), metric=metric, note=note)


def draw_marginal(sweep: Sweep, knob: str) -> Figure:
    """The score at each value of one axis, over everything else."""
    metric = score(sweep)
    others = [axis for axis in sweep.swept() if axis != knob]
    note = f"runs over seeds{' and ' + ', '.join(others) if others else ''}"
    return marginal(knob, sweep.labels(knob), samples(sweep, knob, metric), metric=metric, note=note)


def draw_grid3d(sweep: Sweep, x: str, y: str, z: str) -> Figure:
    """The score over three axes."""
    metric = score(sweep)
    cube = surface(sweep, (x, y, z), metric)
    first, second, third = ((knob, list(texts)) for knob, texts in zip(cube.knobs, cube.values, strict=True))
    return grid3d(cube.mean, cube.failed, (first, second, third), metric=metric, note=pooled_over(sweep, (x, y, z)))


def colour_key(sweep: Sweep) -> tuple[str, pd.Series, list[str]]:
    """What curves are coloured by: the setting where there are at most ten, else the axis that explains the score best.

    Returns:
        The key's title, its text for every run, and these texts in order.
    """
    settings = settings_in_words(sweep)
    distinct = list(dict.fromkeys(settings))
    if len(distinct) <= 10:
        return ("setting" if sweep.axes else "run"), settings, distinct
    axes = sweep.swept() or list(sweep.axes)
    if not axes:
        return "run", settings, distinct
    colours = {axis: _coloured_by(sweep, axis) for axis in axes}
    knob = max(axes, key=lambda axis: _explained(sweep, colours[axis][0]))
    return knob, *colours[knob]


def _coloured_by(sweep: Sweep, knob: str) -> tuple[pd.Series, list[str]]:
    """The text of a knob's value for every run, and these texts in order; an interval is cut into fifths."""
    if knob not in sweep.scales:
        texts = sweep.runs[knob].map(label)
        without = [text for text in dict.fromkeys(texts) if text not in sweep.labels(knob)]
        return texts, sweep.labels(knob) + without
    numbers = pd.to_numeric(sweep.runs[knob], errors="coerce")
    fifths = pd.qcut(numbers, 5, duplicates="drop")
    lowest = numbers.min()  # pandas opens the first fifth a little below it
    names = {fifth: f"{max(fifth.left, lowest):.3g} to {fifth.right:.3g}" for fifth in fifths.cat.categories}
    texts = fifths.map(names).astype(object).fillna(label(None))
    return texts, [text for text in [*names.values(), label(None)] if (texts == text).any()]


def _explained(sweep: Sweep, texts: pd.Series) -> float:
    """Variance of the score's means between groups of runs, each weighted by its runs."""
    numbers = column(sweep, score(sweep))[sweep.runs["status"] == "finished"].dropna()
    groups = [group.to_numpy() for _, group in numbers.groupby(texts[numbers.index])]
    sizes, means = np.array([group.size for group in groups]), np.array([group.mean() for group in groups])
    return float(np.average((means - np.average(means, weights=sizes)) ** 2, weights=sizes)) if groups else 0.0


def draw_curves(sweep: Sweep, histories: Mapping[str, History]) -> Figure:
    """Every run's history in one plot."""
    key, texts, order = colour_key(sweep)
    rows = zip(sweep.runs["name"], texts, sweep.runs["status"], strict=True)
    runs = [RunCurve(histories[name], text, status == "finished") for name, text, status in rows if name in histories]
    used = {run.colour_by for run in runs}
    return overlay(runs, [text for text in order if text in used], key)


COSTS = {"training seconds": ("seconds_train", "seconds_total"), "parameters": ("parameters",), "FLOPs": ("flops",)}


def draw_search(sweep: Sweep) -> Figure:
    """Every setting in the order in which it was tried, the best so far, and each axis against the score."""
    found = trials(sweep)
    return search(found.scores, found.finished, found.best, found.knobs, metric=found.metric)


def draw_cost(sweep: Sweep) -> Figure:
    """The score against seconds, parameters and FLOPs: a point a setting."""
    gains, costs, names = cost_of_settings(sweep)
    return cost(gains, costs, names, metric=score(sweep))


def cost_of_settings(sweep: Sweep) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """Mean score of each setting with finished runs, what it cost by kind (means over its runs), and its name."""
    finished = sweep.finished
    columns = {"score": column(sweep, score(sweep))}
    for kind, sources in COSTS.items():
        source = next((name for name in sources if name in finished and finished[name].notna().any()), None)
        if source:
            columns[kind] = pd.to_numeric(finished[source], errors="coerce").astype(float)
    means = pd.DataFrame(columns).loc[finished.index].groupby(finished["group"], sort=False).mean()
    names = settings_in_words(sweep)[finished.index].groupby(finished["group"], sort=False).first().tolist()
    return means["score"].to_numpy(), {kind: means[kind].to_numpy() for kind in COSTS if kind in means}, names


def _has_cost(sweep: Sweep) -> bool:
    return any(name in sweep.runs and sweep.finished[name].notna().any() for names in COSTS.values() for name in names)
