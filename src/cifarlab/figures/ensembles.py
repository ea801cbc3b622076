"""What an ensemble gains with its members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from cifarlab.figures.style import PALETTE, canvas, headline, literal

MOST_LINES = len(PALETTE)


def ensembles(lines: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    """Test accuracy over the number of members, a line a setting; bars are a standard deviation over subsets.

    Args:
        lines: (setting, (n,) mean, (n,) sd), those of at least two members; the first `MOST_LINES` are drawn.
    """
    figure, axes = canvas(7.5, 4.2)
    panel = axes[0, 0]
    for place, (name, mean, sd) in enumerate(lines[:MOST_LINES]):
        members = np.arange(1, len(mean) + 1) + 0.03 * (place - (min(len(lines), MOST_LINES) - 1) / 2)
        panel.errorbar(
            members, mean, yerr=sd, fmt="o-", markersize=4, capsize=2, color=PALETTE[place], label=literal(name)
        )
    panel.set_xticks(range(1, max(len(mean) for _, mean, _ in lines) + 1))
    panel.set(xlabel="members", ylabel="test accuracy")
    panel.legend(fontsize=8, frameon=False, loc="best")
    headline(figure, "ensembles: mean and deviation over subsets of the runs")
    return figure
