"""From the table of runs to the arrays that figures draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cifarlab.figures.heatmap import Panel
from cifarlab.summary.load import Sweep
from cifarlab.summary.statistics import describe
from cifarlab.summary.tables import column


@dataclass(frozen=True)
class Surface:
    """A metric over knobs: arrays with one axis a knob.

    Attributes:
        mean, sd: NaN where too few runs finished. n: finished runs. failed: the others, pruned ones left out.
    """

    knobs: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    mean: np.ndarray
    sd: np.ndarray
    n: np.ndarray
    failed: np.ndarray

    def at(self, index: Any, text: str) -> Panel:
        """The part of a Surface over (z, y, x) or (y, x) that an index picks, as a heatmap's panel."""
        return Panel(text, self.mean[index], self.sd[index], self.n[index], self.failed[index])


def surface(sweep: Sweep, knobs: Sequence[str], metric: str, where: Mapping[str, str] | None = None) -> Surface:
    """Mean and spread of a metric over all runs that share their values of `knobs`.

    Args:
        where: only runs whose knobs have these labels.
    """
    values = [sweep.labels(knob) for knob in knobs]
    shape = tuple(len(texts) for texts in values)
    size = int(np.prod(shape))
    codes = np.zeros(len(sweep.runs), dtype=int)
    kept = np.ones(len(sweep.runs), dtype=bool)
    for knob, texts in zip(knobs, values, strict=True):
        kept &= sweep.places(knob) >= 0
        codes = codes * len(texts) + sweep.places(knob)
    for knob, text in (where or {}).items():
        kept &= sweep.places(knob) == sweep.labels(knob).index(text)
    numbers = column(sweep, metric).to_numpy()
    done = (sweep.runs["status"] == "finished").to_numpy()
    lost = sweep.is_lost.to_numpy()
    counted = kept & done
    statistics = describe(numbers[counted], codes[counted], size)
    return Surface(
        knobs=tuple(knobs),
        values=tuple(map(tuple, values)),
        mean=statistics["mean"].reshape(shape),
        sd=statistics["sd"].reshape(shape),
        n=statistics["n"].astype(int).reshape(shape),
        failed=np.bincount(codes[kept & lost], minlength=size).reshape(shape),
    )


def samples(sweep: Sweep, knob: str, metric: str) -> list[np.ndarray]:
    """For each value of a knob the metric of the finished runs, (n,) float."""
    numbers = column(sweep, metric).to_numpy()
    counted = (sweep.runs["status"] == "finished").to_numpy() & np.isfinite(numbers)
    return [numbers[counted & (sweep.places(knob) == place)] for place in range(len(sweep.labels(knob)))]


def pooled_over(sweep: Sweep, shown: Sequence[str]) -> str:
    """What a mean over runs runs over, in words: the seeds, and the axes that the figure does not show."""
    others = [axis for axis in sweep.swept() if axis not in shown]
    return "mean \N{PLUS-MINUS SIGN} sd over seeds" + (f" and {', '.join(others)}" if others else "")
