"""A search: the best value so far, trial by trial, and each knob's values against what they gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cifarlab.figures.style import FAILED, INK, PALETTE, QUIET, SEQUENTIAL, canvas, headline, literal, name_ticks, title

COLUMNS = 3
MOST_KNOBS = 11
PRUNED = "#9AA3AF"


@dataclass(frozen=True, kw_only=True)
class TrialKnob:
    """What trials had at one knob.

    Attributes:
        numbers: (N,) float, the value of each trial, or its place in `values`; NaN where it has none.
        values: the words that `numbers` are places of; none for numbers that speak for themselves.
        scale: ``linear`` or ``log``.
    """

    numbers: np.ndarray
    values: Sequence[str] = ()
    scale: str = "linear"


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What each trial came to.

    Attributes:
        metric: what was sought.
        scores: (N,) float, in the order of the trials: the mean over the finished runs of a setting; of a pruned one
            how far it came; NaN where it diverged.
        finished: (N,) bool, whether a run of it finished; the others were pruned, or diverged.
        names: (N,) the settings in words.
        knobs: axis -> what each trial had there.
    """

    metric: str
    scores: np.ndarray
    finished: np.ndarray
    names: Sequence[str]
    knobs: Mapping[str, TrialKnob]

    @property
    def numbers(self) -> np.ndarray:
        """(N,) int, the trials counted from 1."""
        return np.arange(1, self.scores.size + 1)

    @property
    def best(self) -> np.ndarray:
        """(N,) the best score of a finished trial so far, NaN before there is one."""
        lower_is_better = self.metric.endswith("loss")
        worst = np.inf if lower_is_better else -np.inf
        known = np.where(self.finished & np.isfinite(self.scores), self.scores, worst)
        best = (np.minimum if lower_is_better else np.maximum).accumulate(known)
        return np.where(np.isfinite(best), best, np.nan)


def search(data: Trials) -> Figure:
    """First the history: every trial, and as a line the best so far; then a scatter for each knob, coloured by trial.

    Trials that were pruned are grey rings at the value they had reached, those without a value crosses at the bottom.
    At most `MOST_KNOBS` are drawn.

    Raises:
        ValueError: no trial has a score.
    """
    known = np.isfinite(data.scores)
    if not known.any():
        raise ValueError(f"no trial has a {data.metric}")
    shown = dict(list(data.knobs.items())[:MOST_KNOBS])
    columns = min(COLUMNS, len(shown) + 1)
    rows = -(-(len(shown) + 1) // columns)
    figure, axes = canvas(4.4 * columns, 3.5 * rows, rows, columns, sharey=True)
    history, *panels = axes.flat
    _points(history, data, data.numbers.astype(float), by_trial=False)
    history.step(data.numbers, data.best, where="post", color=FAILED, linewidth=1.4)
    history.set_xlabel("trial")
    history.xaxis.set_major_locator(MaxNLocator(integer=True))
    title(history, "every trial, and the best so far")
    for panel, (name, knob) in zip(panels, shown.items(), strict=False):
        _knob(panel, data, knob)
        panel.set_xlabel(literal(name))
        title(panel, f"{data.metric} by {name}")
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    for panel in axes[:, 0]:
        panel.set_ylabel(data.metric)
    headline(figure, f"search: {data.metric} of {data.scores.size} trials")
    notes = {"later trials are lighter": True, "grey rings were pruned": (known & ~data.finished).any()}
    notes["red crosses diverged"] = not known.all()
    figure.supxlabel("; ".join(note for note, holds in notes.items() if holds), fontsize=8, color=QUIET)
    return figure


def _knob(panel: Axes, data: Trials, knob: TrialKnob) -> None:
    places = knob.numbers
    if knob.values:
        # A fixed sideways spread keeps the figure the same each time it is drawn.
        places = places + 0.18 * np.sin(2.4 * data.numbers)
        ticks = np.arange(len(knob.values))
        name_ticks(panel.xaxis, ticks, knob.values, ticks * 3.6 / (len(ticks) + 0.2))
        panel.set_xlim(-0.6, len(ticks) - 0.4)
    elif knob.scale == "log":
        panel.set_xscale("log")
    _points(panel, data, places, by_trial=True)


def _points(panel: Axes, data: Trials, x: np.ndarray, *, by_trial: bool) -> None:
    y, finished = data.scores, data.finished
    known = np.isfinite(x) & np.isfinite(y)
    rings, dots, crosses = known & ~finished, known & finished, np.isfinite(x) & ~np.isfinite(y)
    panel.scatter(x[rings], y[rings], s=22, facecolors="none", edgecolors=PRUNED, linewidths=1)
    shade = {"c": data.numbers[dots] / max(1, data.numbers.size), "cmap": SEQUENTIAL, "vmin": 0, "vmax": 1.15}
    look = shade if by_trial else {"color": PALETTE[0]}
    panel.scatter(x[dots], y[dots], s=26, edgecolors=INK, linewidths=0.3, zorder=3, **look)
    bottom = np.full(crosses.sum(), 0.03)
    panel.scatter(x[crosses], bottom, s=22, marker="x", color=FAILED, transform=panel.get_xaxis_transform())
