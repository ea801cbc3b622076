"""By how much settings differ, with intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from cifarlab.figures.style import (
    FAINT,
    HEADLINE,
    INK,
    LETTER,
    LETTERS,
    LINE,
    PALETTE,
    QUIET,
    canvas,
    headline,
    literal,
)


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Means of paired differences.

    Attributes:
        title: of the figure. along: what the axis measures.
        names: (N,) what is held against what.
        effects, lows, highs: (N,) float, mean difference and the ends of its interval, NaN where unknown.
        note: how the interval was had, in words.
    """

    title: str
    along: str
    names: Sequence[str]
    effects: np.ndarray
    lows: np.ndarray
    highs: np.ndarray
    note: str = ""

    @property
    def is_clear(self) -> np.ndarray:
        """(N,) bool: whether an interval leaves out zero."""
        return (self.lows > 0) | (self.highs < 0)


def differences(data: Differences) -> Figure:
    """A line each: the mean difference as a dot, its interval as a bar, faint where that holds zero."""
    width = max(6.0, 4.6 + max(map(len, data.names)) * LETTER)
    heading = textwrap.wrap(data.title, int(width * HEADLINE))
    note = textwrap.wrap(data.note, int(width * LETTERS))
    height = 1.3 + 0.2 * len(heading) + 0.36 * len(data.names) + LINE * max(len(note) - 1, 0)
    figure, axes = canvas(width, height)
    panel, places = axes[0, 0], np.arange(len(data.names))
    panel.axvline(0, color=INK, linewidth=1)
    for place, low, effect, high, clear in zip(places, data.lows, data.effects, data.highs, data.is_clear, strict=True):
        colour = PALETTE[0] if clear else QUIET
        panel.plot([low, high], [place, place], color=colour, linewidth=2.5, alpha=0.6, solid_capstyle="butt")
        panel.plot([effect], [place], "o", color=colour, markersize=6)
        panel.annotate(
            f"{effect:+.4f}", (effect, place), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8
        )
    panel.set_yticks(places, [literal(name) for name in data.names], fontsize=9)
    panel.set_ylim(len(data.names) - 0.4, -0.7)
    panel.spines["left"].set_visible(False)
    panel.grid(axis="y", color=FAINT, linewidth=0.5, alpha=0.6)
    panel.set_xlabel(literal(data.along))
    headline(figure, "\n".join(heading))
    if note:
        figure.supxlabel("\n".join(map(literal, note)), fontsize=8, color=QUIET)
    return figure
