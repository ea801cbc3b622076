"""The confusion matrix with counts and rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cifarlab.figures.style import canvas, name_ticks, tidy, title

ANNOTATED_CLASSES = 20


def confusion(matrix: ArrayLike, classes: Sequence[str]) -> Figure:
    """Rows are the true classes, columns the predicted ones; colour is the share of the row, text share and count.

    Args:
        matrix: (C, C) int, counts >= 0. classes: C names.

    Raises:
        ValueError: the matrix is not square or does not fit the names.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"matrix of shape {counts.shape} does not fit {len(classes)} classes")
    totals = counts.sum(axis=1, keepdims=True)
    rates = counts / np.maximum(totals, 1)
    annotated = len(classes) <= ANNOTATED_CLASSES
    side = 0.62 * len(classes) + 2 if annotated else 11
    figure, axes = canvas(max(side, 4), max(side - 0.6, 3.6))
    panel = axes[0, 0]
    tidy(panel, grid=False)
    panel.grid(False)
    image = panel.imshow(rates, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=panel, shrink=0.8, label="share of the true class")
    size = 9 if annotated else 5
    places = np.arange(len(classes))
    for axis in (panel.xaxis, panel.yaxis):
        name_ticks(axis, places, classes, places * (side - 2.5) / len(classes), size)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    accuracy = np.trace(counts) / max(int(counts.sum()), 1)
    title(panel, f"accuracy {accuracy:.4f}  ({int(np.trace(counts))} of {int(counts.sum())})")
    if annotated:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                text = f"{rates[row, column]:.2f}\n{count}"
                colour = "white" if rates[row, column] > 0.5 else "#222222"
                panel.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    return figure
