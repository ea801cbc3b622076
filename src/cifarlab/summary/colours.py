"""What the curves of a sweep are coloured by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cifarlab.summary.load import Sweep
from cifarlab.summary.tables import column, score, settings_in_words
from cifarlab.summary.values import label


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
    numbers = column(sweep, score(sweep))[sweep.is_finished].dropna()
    groups = [group.to_numpy() for _, group in numbers.groupby(texts[numbers.index])]
    sizes, means = np.array([group.size for group in groups]), np.array([group.mean() for group in groups])
    return float(np.average((means - np.average(means, weights=sizes)) ** 2, weights=sizes)) if groups else 0.0
