"""The reliability diagram: what a net is sure of, against what it gets right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifarlab.figures.style import FAINT, INK, PALETTE, canvas, headline, title


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Pictures in bins of similar confidence.

    Attributes:
        pictures: (B,) int, their number. confidence: (B,) their mean. accuracy: (B,) share of right answers.
        error: the mean distance of the two, weighted by their number.
    """

    pictures: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def calibration(panels: Mapping[str, Bins], *, note: str = "") -> Figure:
    """A panel for each entry: accuracy over confidence, on the diagonal where the net is calibrated, and counts below.

    Args:
        panels: at least one by title.
        note: a line at the top.
    """
    figure, axes = canvas(4.4 * len(panels), 4.9, 2, len(panels), sharex=True, height_ratios=[4, 1])
    for column, (name, bins) in enumerate(panels.items()):
        upper, lower = axes[0, column], axes[1, column]
        upper.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, zorder=1)
        _gaps(upper, bins)
        upper.set(xlim=(0, 1), ylim=(0, 1))
        title(upper, f"{name}: ECE {bins.error:.4f}")
        lower.vlines(bins.confidence, 0, bins.pictures, color=PALETTE[0], linewidth=4)
        lower.set_ylim(0, 1.15 * bins.pictures.max())
        lower.set_xlabel("confidence")
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("pictures")
    if note:
        headline(figure, note)
    return figure


def _gaps(panel: Axes, bins: Bins) -> None:
    """Each bin's accuracy, and in colour how far it is from its confidence."""
    over = bins.confidence > bins.accuracy
    for chosen, colour, name in ((over, PALETTE[1], "overconfident"), (~over, PALETTE[2], "underconfident")):
        if chosen.any():
            at = bins.confidence[chosen]
            panel.vlines(at, at, bins.accuracy[chosen], color=colour, linewidth=5, alpha=0.45, label=name)
    panel.plot(bins.confidence, bins.accuracy, "o-", color=INK, markersize=4, linewidth=1)
    panel.legend(loc="upper left", fontsize=8, frameon=False)
