"""What corruptions leave of a net's accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cifarlab.figures.style import FAILED, PALETTE, SEQUENTIAL, canvas, headline, title


def corruptions(accuracy: ArrayLike, names: Sequence[str], *, clean: float, note: str) -> Figure:
    """Left, accuracy by corruption and strength; right, the mean over strengths beside the clean accuracy.

    Args:
        accuracy: (N, S) fractions. names: N corruptions. clean: accuracy on pictures as they are. note: the title.
    """
    values = np.asarray(accuracy, dtype=float)
    count, strengths = values.shape
    figure, axes = canvas(9.5, 0.32 * count + 1.6, 1, 2, sharey=True, width_ratios=[3, 2])
    left, right = axes[0]
    left.grid(False)
    left.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value < 0.55 else "black"
        left.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=8, color=colour)
    left.set_yticks(range(count), [name.replace("_", " ") for name in names])
    left.set_xticks(range(strengths), [str(strength + 1) for strength in range(strengths)])
    left.set_xlabel("strength")
    title(left, "accuracy")
    right.barh(range(count), values.mean(axis=1), color=PALETTE[0], height=0.7)
    right.axvline(clean, color=FAILED, linewidth=1.2)
    right.set(xlim=(0, 1), xlabel="mean over strengths")
    title(right, f"red: clean, {clean:.4f}")
    headline(figure, note)
    return figure
