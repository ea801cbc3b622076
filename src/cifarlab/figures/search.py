"""A search: the best value so far, trial by trial, and each knob's values against what they gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from cifarlab.figures.style import FAILED, INK, PALETTE, SEQUENTIAL, canvas, headline, literal, title

COLUMNS = 3
MOST_KNOBS = 11
PRUNED = "#9AA3AF"


@dataclass(frozen=True)
class Knob:
    """What trials had at one knob.

    Attributes:
        numbers: (N,) float, the value of each trial, or its place in `values`; NaN where it has none.
        values: the words that `numbers` are places of; none for numbers that speak for themselves.
        scale: ``linear`` or ``log``.
    """

    numbers: np.ndarray
    values: Sequence[str] = ()
    scale: str = "linear"


def search(
    scores: ArrayLike, finished: ArrayLike, best: ArrayLike, knobs: Mapping[str, Knob], *, metric: str
) -> Figure:
    """First the history: every trial, and as a line the best so far; then a scatter for each knob, coloured by trial.

    Trials that were pruned are grey rings at the value they had reached, those without a value crosses at the bottom.

    Args:
        scores: (N,) float, what the trials came to, in their order; NaN for those that diverged.
        finished: (N,) bool; the others were pruned, or diverged.
        best: (N,) float, the best of the finished ones so far.
        knobs: at most `MOST_KNOBS` are drawn.
        metric: name of the vertical axis.

    Raises:
        ValueError: no trial has a score.
    """
    reached, done = np.asarray(scores, dtype=float), np.asarray(finished, dtype=bool)
    if not np.isfinite(reached).any():
        raise ValueError(f"no trial has a {metric}")
    numbers = np.arange(1, reached.size + 1)
    shown = dict(list(knobs.items())[:MOST_KNOBS])
    columns = min(COLUMNS, len(shown) + 1)
    rows = -(-(len(shown) + 1) // columns)
    figure, axes = canvas(4.4 * columns, 3.5 * rows, rows, columns, sharey=True)
    history, *panels = axes.flat
    _points(history, numbers, reached, done, np.full(reached.size, 0.0), one_colour=True)
    history.step(numbers, best, where="post", color=FAILED, linewidth=1.4)
    history.set_xlabel("trial")
    history.xaxis.set_major_locator(MaxNLocator(integer=True))
    title(history, "every trial, and the best so far")
    for panel, (name, knob) in zip(panels, shown.items(), strict=False):
        _knob(panel, knob, numbers, reached, done)
        panel.set_xlabel(literal(name))
        title(panel, f"{metric} by {name}")
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    for panel in axes[:, 0]:
        panel.set_ylabel(metric)
    headline(figure, f"search: {metric} of {reached.size} trials")
    known = np.isfinite(reached)
    notes = {"later trials are lighter": True, "grey rings were pruned": (known & ~done).any()}
    notes["red crosses diverged"] = not known.all()
    figure.supxlabel("; ".join(note for note, holds in notes.items() if holds), fontsize=8, color="#666666")
    return figure


def _knob(panel: Axes, knob: Knob, numbers: np.ndarray, scores: np.ndarray, finished: np.ndarray) -> None:
    places = knob.numbers
    if knob.values:
        # A fixed sideways spread keeps the figure the same each time it is drawn.
        places = places + 0.18 * np.sin(2.4 * numbers)
        names = [literal(value) for value in knob.values]
        long = max(map(len, names), default=0) > 9 or len(names) > 8
        panel.set_xticks(range(len(names)), names, rotation=30 if long else 0, ha="right" if long else "center")
        panel.set_xlim(-0.6, len(names) - 0.4)
    elif knob.scale == "log":
        panel.set_xscale("log")
    _points(panel, places, scores, finished, numbers / max(1, numbers.size))


def _points(
    panel: Axes, x: np.ndarray, y: np.ndarray, finished: np.ndarray, shade: np.ndarray, one_colour: bool = False
) -> None:
    known = np.isfinite(x) & np.isfinite(y)
    rings, dots, crosses = known & ~finished, known & finished, np.isfinite(x) & ~np.isfinite(y)
    panel.scatter(x[rings], y[rings], s=22, facecolors="none", edgecolors=PRUNED, linewidths=1)
    look = {"color": PALETTE[0]} if one_colour else {"c": shade[dots], "cmap": SEQUENTIAL, "vmin": 0, "vmax": 1.15}
    panel.scatter(x[dots], y[dots], s=26, edgecolors=INK, linewidths=0.3, zorder=3, **look)
    bottom = np.full(crosses.sum(), 0.03)
    panel.scatter(x[crosses], bottom, s=22, marker="x", color=FAILED, transform=panel.get_xaxis_transform())
