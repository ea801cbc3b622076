"""Where a net puts pictures, as points in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from cifarlab.figures.style import INK, PALETTE, canvas, headline, literal, title

MOST_NAMED = 20  # classes that a legend is of use for


def embedding(
    panels: Mapping[str, ArrayLike], labels: ArrayLike, predicted: ArrayLike, classes: Sequence[str], *, text: str
) -> Figure:
    """A panel a projection: a dot a picture in the colour of its class, a cross where the net said another one.

    Args:
        panels: (N, 2) by title.
        labels: (N,) int in [0, C), the truth. predicted: likewise, what the net said.
        classes: C names. text: above all.
    """
    truth, said = np.asarray(labels), np.asarray(predicted)
    colours = _colours(len(classes))
    figure, axes = canvas(5.2 * len(panels) + 1.6, 5.2, 1, len(panels))
    for axis, (name, points) in zip(axes[0], panels.items(), strict=True):
        places = np.asarray(points, dtype=float)
        for label in np.unique(truth):
            right = (truth == label) & (said == label)
            wrong = (truth == label) & (said != label)
            axis.scatter(*places[right].T, s=7, color=colours[label], linewidths=0, alpha=0.8)
            axis.scatter(*places[wrong].T, s=14, color=colours[label], marker="x", linewidths=0.9)
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        title(axis, name)
    if len(classes) <= MOST_NAMED:
        handles = [
            Line2D([], [], marker="o", linestyle="", markersize=5, color=colours[place], label=literal(name))
            for place, name in enumerate(classes)
        ]
        handles.append(Line2D([], [], marker="x", linestyle="", color=INK, label="answered wrong"))
        figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=9)
    headline(figure, text)
    return figure


def _colours(count: int) -> Sequence[str]:
    """As many as there are classes; alike where nobody could tell them apart."""
    if count <= len(PALETTE):
        return PALETTE
    return [to_hex(colour) for colour in mpl.colormaps["turbo"](np.linspace(0, 1, count))]
