"""Accuracy against what it costs, with the Pareto front."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
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


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What settings reached, and what they cost.

    Attributes:
        metric: name of what they reached.
        names: (N,) the settings in words.
        gains: (N,) float, the metric of each, NaN where unknown.
        costs: by kind, (N,) float each, NaN where unknown.
    """

    metric: str
    names: Sequence[str]
    gains: np.ndarray
    costs: Mapping[str, np.ndarray]

    @property
    def kinds(self) -> list[str]:
        """The kinds of cost that are known of a setting whose metric is known; those that differ, if any do."""
        known = [kind for kind in self.costs if self.known(kind).size]
        return [kind for kind in known if np.ptp(self.costs[kind][self.known(kind)]) > 0] or known

    def known(self, kind: str) -> np.ndarray:
        """The places of the settings of which metric and cost are known."""
        return np.flatnonzero(np.isfinite(self.gains) & np.isfinite(self.costs[kind]))

    def front(self, kind: str) -> np.ndarray:
        """The places of the settings on the Pareto front, the cheapest first."""
        known = self.known(kind)
        return known[pareto(self.costs[kind][known], self.gains[known])]


def cost(data: Cost) -> Figure:
    """One panel a kind of cost: a point a setting, the front as a line with its settings named below.

    Raises:
        ValueError: no kind of cost is known together with the metric.
    """
    if not data.kinds:
        raise ValueError(f"no setting has both {data.metric} and one of {', '.join(data.costs)}")
    figure, axes = canvas(4.6 * len(data.kinds), 4.2, 1, len(data.kinds), sharey=True)
    for panel, kind in zip(axes[0], data.kinds, strict=True):
        _panel(panel, data, kind)
    axes[0, 0].set_ylabel(data.metric)
    return figure


def _panel(panel: Axes, data: Cost, kind: str) -> None:
    known, front, spent = data.known(kind), data.front(kind), data.costs[kind]
    size = 22 if known.size <= 200 else 8
    panel.scatter(spent[known], data.gains[known], s=size, color=PALETTE[0], alpha=0.6, linewidths=0)
    panel.step(spent[front], data.gains[front], where="post", color=FAILED, linewidth=1.2)
    panel.scatter(spent[front], data.gains[front], s=26, color=FAILED, zorder=3)
    named = front[-MOST_NAMES:]
    for number, place in enumerate(named, start=1):
        panel.annotate(
            str(number),
            (spent[place], data.gains[place]),
            textcoords="offset points",
            xytext=(-4, 4),
            ha="right",
            fontsize=8,
            color=FAILED,
        )
    if spent[known].min() > 0 and spent[known].max() / spent[known].min() > 20:
        panel.set_xscale("log")
    else:
        panel.xaxis.set_major_locator(MaxNLocator(5))
        panel.xaxis.set_major_formatter(lambda value, _: _in_short(value))
    panel.margins(x=0.15, y=0.1)
    lines = [textwrap.shorten(f"{number} {data.names[place]}", 64) for number, place in enumerate(named, start=1)]
    panel.set_xlabel(literal("\n".join([kind, "", *lines])), fontsize=8, linespacing=1.3)
    title(panel, f"{data.metric} against {kind}")


def _in_short(value: float) -> str:
    """`137k` for 137,000: six digits would touch."""
    return EngFormatter(sep="").format_eng(value) if abs(value) >= 1000 else f"{value:g}"
