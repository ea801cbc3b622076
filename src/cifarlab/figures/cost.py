"""Accuracy against what it costs, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cifarlab.figures.style import FAILED, PALETTE, canvas, literal, title

MOST_NAMES = 8


def pareto(costs: ArrayLike, gains: ArrayLike) -> np.ndarray:
    """Indices, by rising cost, of the points that no other point beats: none is as cheap or cheaper with more gain.

    Args:
        costs, gains: (N,) float, finite.
    """
    cost, gain = np.asarray(costs, dtype=float), np.asarray(gains, dtype=float)
    order = np.lexsort((-gain, cost))
    best = np.concatenate([[-np.inf], np.maximum.accumulate(gain[order])[:-1]]) if order.size else gain
    return order[gain[order] > best]


def cost(gains: ArrayLike, costs: Mapping[str, ArrayLike], names: Sequence[str], *, metric: str) -> Figure:
    """One panel a kind of cost: a point a setting, the front as a line with its settings named.

    Args:
        gains: (N,) float, the metric of each setting. costs: what it cost by kind, each (N,) float, NaN where unknown.
        names: (N,) the settings. metric: name of the vertical axis.

    Raises:
        ValueError: no kind of cost is known together with the metric.
    """
    gain = np.asarray(gains, dtype=float)
    known = {kind: np.isfinite(gain) & np.isfinite(np.asarray(spent, dtype=float)) for kind, spent in costs.items()}
    kinds = [kind for kind in costs if known[kind].any()]
    if not kinds:
        raise ValueError(f"no setting has both {metric} and one of {', '.join(costs)}")
    figure, axes = canvas(4.6 * len(kinds), 4.2, 1, len(kinds), sharey=True)
    for panel, kind in zip(axes[0], kinds, strict=True):
        spent, reached = np.asarray(costs[kind], dtype=float)[known[kind]], gain[known[kind]]
        labels = [name for name, kept in zip(names, known[kind], strict=True) if kept]
        front = pareto(spent, reached)
        panel.scatter(spent, reached, s=22 if len(spent) <= 200 else 8, color=PALETTE[0], alpha=0.6, linewidths=0)
        panel.step(spent[front], reached[front], where="post", color=FAILED, linewidth=1.2)
        panel.scatter(spent[front], reached[front], s=26, color=FAILED, zorder=3)
        for point in front[-MOST_NAMES:]:
            panel.annotate(
                literal(labels[point]),
                (spent[point], reached[point]),
                textcoords="offset points",
                xytext=(5, -9),
                fontsize=6.5,
                color="#444444",
            )
        if spent.min() > 0 and spent.max() / spent.min() > 20:
            panel.set_xscale("log")
        panel.margins(x=0.15, y=0.1)
        panel.set_xlabel(kind)
        title(panel, f"{metric} against {kind}")
    axes[0, 0].set_ylabel(metric)
    return figure
