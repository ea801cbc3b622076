"""A metric over three knobs: the cube of their values, coloured."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cifarlab.figures.style import DPI, FAILED, INK, QUIET, SEQUENTIAL, literal
from cifarlab.figures.surface import Surface


def grid3d(surface: Surface) -> Figure:
    """The 3-D grid (R5.4): a ball a triple of values, coloured by the mean; a cross where no run finished.

    Args:
        surface: over x, y and z.
    """
    figure = Figure(figsize=(8, 6.6), dpi=DPI, layout="constrained", facecolor="white")
    cube: Any = figure.add_subplot(projection="3d")
    known, lost = np.argwhere(np.isfinite(surface.mean)), np.argwhere(surface.is_lost)
    if len(known):
        colours = surface.mean[tuple(known.T)]
        balls = cube.scatter(*known.T, c=colours, cmap=SEQUENTIAL, s=260, alpha=1, depthshade=False, edgecolors="white")
        figure.colorbar(balls, ax=cube, shrink=0.65, label=surface.metric, pad=0.1)
        best = known[int(np.argmin(colours) if surface.lower_is_better else np.argmax(colours))]
        cube.scatter(*best[:, None], s=420, facecolors="none", edgecolors=FAILED, linewidths=2, depthshade=False)
        text = f"{surface.mean[tuple(best)]:.{surface.digits}f}"
        cube.text(*(best + np.array([0, 0, 0.12])), text, color=INK, fontsize=9, ha="center", va="bottom", zorder=9)
    if len(lost):
        cube.scatter(*lost.T, marker="x", s=90, color=FAILED, depthshade=False)
    for axis, side in zip(surface.axes, "xyz", strict=True):
        getattr(cube, f"set_{side}label")(literal(axis.name))
        getattr(cube, f"set_{side}ticks")(range(len(axis.values)), [literal(value) for value in axis.values])
        getattr(cube, f"set_{side}lim")(-0.4, len(axis.values) - 0.6)
        getattr(cube, f"{side}axis").set_pane_color((0.97, 0.97, 0.98))
    cube.tick_params(labelsize=9)
    names = ", ".join(literal(axis.name) for axis in surface.axes)
    cube.set_title(f"{surface.metric} over {names} (best ringed)", fontsize=11, fontweight="bold")
    if surface.note:
        figure.supxlabel(literal(surface.note), fontsize=8, color=QUIET)
    return figure
