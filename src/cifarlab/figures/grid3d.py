"""A metric over three knobs: the cube of their values, coloured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cifarlab.figures.style import DPI, FAILED, INK, SEQUENTIAL, literal

Axis = tuple[str, Sequence[str]]


def grid3d(
    mean: np.ndarray, failed: np.ndarray, axes: tuple[Axis, Axis, Axis], *, metric: str, note: str = ""
) -> Figure:
    """The 3-D grid (R5.4): a ball a triple of values, coloured by the mean; a cross where all of its runs failed.

    Args:
        mean: (len x, len y, len z) float, NaN where nothing finished. failed: (len x, len y, len z) int.
        axes: name and values of x, y and z.
    """
    figure = Figure(figsize=(8, 6.6), dpi=DPI, layout="constrained", facecolor="white")
    cube: Any = figure.add_subplot(projection="3d")
    known = np.argwhere(np.isfinite(mean))
    lost = np.argwhere(~np.isfinite(mean) & (failed > 0))
    if len(known):
        colours = mean[tuple(known.T)]
        balls = cube.scatter(*known.T, c=colours, cmap=SEQUENTIAL, s=260, alpha=1, depthshade=False, edgecolors="white")
        figure.colorbar(balls, ax=cube, shrink=0.65, label=metric, pad=0.1)
        best = known[int(np.argmax(colours))]
        cube.scatter(*best[:, None], s=420, facecolors="none", edgecolors=FAILED, linewidths=2, depthshade=False)
        cube.text(
            *(best + np.array([0, 0, 0.12])),
            f"{colours.max():.4f}",
            color=INK,
            fontsize=9,
            ha="center",
            va="bottom",
            zorder=9,
        )
    if len(lost):
        cube.scatter(*lost.T, marker="x", s=90, color=FAILED, depthshade=False)
    for (name, values), side in zip(axes, "xyz", strict=True):
        getattr(cube, f"set_{side}label")(literal(name))
        getattr(cube, f"set_{side}ticks")(range(len(values)), [literal(value) for value in values])
        getattr(cube, f"set_{side}lim")(-0.4, len(values) - 0.6)
        getattr(cube, f"{side}axis").set_pane_color((0.97, 0.97, 0.98))
    cube.tick_params(labelsize=9)
    cube.set_title(
        f"{metric} over {', '.join(literal(name) for name, _ in axes)} (best ringed)", fontsize=11, fontweight="bold"
    )
    if note:
        figure.supxlabel(literal(note), fontsize=8, color="#666666")
    return figure
