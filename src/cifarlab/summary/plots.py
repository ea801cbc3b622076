"""Which figures a sweep has, by the name of their file, and how each is drawn from the runs."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from cifarlab.figures import figure_name, figure_names, sweep_figures
from cifarlab.figures.cost import cost
from cifarlab.figures.curves import overlay
from cifarlab.figures.differences import differences
from cifarlab.figures.grid3d import grid3d
from cifarlab.figures.heatmap import heatmap
from cifarlab.figures.marginals import marginal
from cifarlab.figures.search import search
from cifarlab.figures.surface import Surface
from cifarlab.summary.arrange import cost_of, differences_of, marginal_of, overlay_of, surface_of, trials_of
from cifarlab.summary.history import History
from cifarlab.summary.load import Sweep
from cifarlab.summary.tables import column, score

# Beyond these a sweep's figures are drawn on request only (figures=[...]); the page has all pairs in one heatmap.
MOST_HEATMAPS = 6
MOST_MARGINALS = 6
MOST_FACETS = 6
MOST_LISTED = 30
MOST_PAIRS = 45  # of ten values


def draw(sweep: Sweep, histories: Mapping[str, History], name: str) -> Figure:
    """The figure of this name, one of `known`.

    Raises:
        ValueError: there is nothing to draw.
    """
    kind, axes = sweep_figures(known_axes(sweep))[name]
    match kind:
        case "curves":
            return overlay(overlay_of(sweep, histories))
        case "cost":
            return cost(cost_of(sweep))
        case "search":
            return search(trials_of(sweep))
        case "marginal":
            return marginal(marginal_of(sweep, axes[0], score(sweep)))
        case "heatmap":
            return heatmap(panels(sweep, *axes))
        case "grid3d":
            return grid3d(surface_of(sweep, axes, score(sweep)))


def compared(comparison: pd.DataFrame) -> Figure:
    """The first pairs of a comparison, as many as can be read."""
    return differences(differences_of(comparison.head(MOST_PAIRS)))


def planned(sweep: Sweep, histories: Mapping[str, History], asked: Iterable[str]) -> dict[str, tuple[Sweep, str]]:
    """The usual figures and those asked for: name of the file -> the part of the sweep that it shows, and the figure.

    Data sets are not pooled: each has its own, `marginal_lr+cifar10`. A figure over what tells data sets apart shows
    all of them, where it is asked for.

    Raises:
        ValueError: see `chosen`.
    """
    names, parts = chosen(sweep, asked), sweep.by_data()
    if len(parts) == 1:
        return {name: (sweep, name) for name in [*usual(sweep, histories), *names]}
    made: dict[str, tuple[Sweep, str]] = {}
    for part in parts:
        own, possible = histories_of(part, histories), figure_names(known_axes(part))
        for name in [*usual(part, own), *(name for name in names if name in possible)]:
            made[figure_name(f"{name}+{part.name}", ())] = part, name
    over_all = set(names) - {name for _, name in made.values()}
    return made | {name: (sweep, name) for name in names if name in over_all}


def in_words(sweep: Sweep, part: Sweep, name: str) -> str:
    """What a figure is of, for the line below it: sweep, data, split and epoch."""
    data = ", ".join(part.labels("data")) if "data" in part.runs else ""
    if name == "curves":
        shown = "every epoch of each run"
    else:
        split = "validation" if score(part).startswith("val/") else "test"
        shown = f"{split} split, each run with the weights it chose"
    return "; ".join(filter(None, [f"sweep {sweep.name}", data, shown]))


def histories_of(part: Sweep, histories: Mapping[str, History]) -> dict[str, History]:
    """Those of a part's runs."""
    return {name: histories[name] for name in part.runs["name"] if name in histories}


def known_axes(sweep: Sweep) -> list[str]:
    """The axes that figures go over; on request, a knob that others move with too."""
    members = [knob for axis in sweep.axes for knob in sweep.together.get(axis, ())]
    return [*(sweep.swept() or sweep.axes), *members]


def usual(sweep: Sweep, histories: Mapping[str, History]) -> list[str]:
    """The figures that are drawn without being asked for: those of the first axes, as far as there is data."""
    axes = sweep.gridded()
    names = [figure_name("heatmap", pair) for pair in itertools.combinations(axes, 2)][:MOST_HEATMAPS]
    if column(sweep, score(sweep))[sweep.is_finished].notna().any():
        names += [figure_name("marginal", (axis,)) for axis in axes[:MOST_MARGINALS]]
        names += [figure_name("grid3d", axes[:3])] if len(axes) > 2 else []
        names += ["search"] if sweep.objective is not None else []
        names += ["cost"] if cost_of(sweep).kinds else []
    return names + (["curves"] if histories else [])


def chosen(sweep: Sweep, asked: Iterable[str]) -> list[str]:
    """The figures asked for, `.png` at the end or not.

    Raises:
        ValueError: a name that this sweep has no figure for.
    """
    known = figure_names(known_axes(sweep))
    names = [name.removesuffix(".png") for name in asked]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            listed = ", ".join(known[:MOST_LISTED]) + (", ..." if len(known) > MOST_LISTED else "")
            raise ValueError(f"figures: this sweep has no figure {name!r}{hint} There is {listed}")
    return names


def panels(sweep: Sweep, x: str, y: str) -> dict[str, Surface]:
    """The score over two axes: over all runs and, where there is a third axis with few values, in facets by it."""
    metric = score(sweep)
    whole = surface_of(sweep, (y, x), metric)
    others = [axis for axis in sweep.swept() if axis not in (x, y)]
    # With two further axes a facet would still be a mean over one of them: the page's menu has these slices.
    if len(others) != 1 or len(sweep.labels(others[0])) > MOST_FACETS:
        return {"": whole}
    cube = surface_of(sweep, (others[0], y, x), metric)
    note = f"{cube.note}; in the first panel over {others[0]} too"
    return {f"all {others[0]}": replace(whole, note=note), **cube.slices()}
