"""What one knob does on its own: the distribution at each of its values, and the mean with interquartile range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifarlab.figures.style import FAINT, INK, LETTER, PALETTE, QUIET, canvas, headline, literal, name_ticks, title
from cifarlab.figures.surface import Axis

MOST_LEVEL, MOST_WIDE = 9.5, 16.0  # inches, of figures with level and with slanted names


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """A metric at each value of one knob.

    Attributes:
        metric: its name.
        axis: the knob.
        samples: for each value the (n,) float numbers of its runs, finite, possibly none.
        note: what the runs run over, in words.
        repeats: whether the runs of a value differ in their seeds alone, so that their spread is a standard deviation.
    """

    metric: str
    axis: Axis
    samples: Sequence[np.ndarray]
    note: str = ""
    repeats: bool = False

    @property
    def measured(self) -> list[int]:
        """The places of the values that have a number."""
        return [place for place, sample in enumerate(self.samples) if sample.size]

    @property
    def quartiles(self) -> np.ndarray:
        """(3, measured) float: mean, lower and upper quartile."""
        found = [(sample.mean(), *np.percentile(sample, [25, 75])) for sample in self.samples if sample.size]
        return np.array(found, dtype=float).reshape(-1, 3).T

    @property
    def spread(self) -> np.ndarray:
        """(3, measured) float: mean and the ends of its bar: a standard deviation either way, else the quartiles."""
        if not self.repeats:
            return self.quartiles
        samples = [sample for sample in self.samples if sample.size]
        mean = np.array([sample.mean() for sample in samples])
        sd = np.array([sample.std(ddof=1) if sample.size > 1 else 0.0 for sample in samples])
        return np.array([mean, mean - sd, mean + sd])

    @property
    def spread_in_words(self) -> str:
        """What `spread` is."""
        return "mean with standard deviation" if self.repeats else "mean with interquartile range"


def marginal(data: Marginal) -> Figure:
    """Left, every run over a box of quartiles (R5.3); right, the mean with its spread (R5.4)."""
    values = data.axis.values
    names = [f"{value}\n(n={sample.size})" for value, sample in zip(values, data.samples, strict=True)]
    width, height = _size(names)
    figure, axes = canvas(width, height, 1, 2, sharey=True)
    places, side = data.measured, (width - 1.2) / 2
    _distributions(axes[0, 0], [data.samples[place] for place in places], places)
    _means(axes[0, 1], data)
    for panel, along in zip(axes[0], (np.arange(len(values)), data.axis.along), strict=True):
        panel.set_xlim(along[0] - 0.6, along[-1] + 0.6)
        name_ticks(panel.xaxis, along, names, along * side / (along[-1] - along[0] + 1.2))
        panel.set_xlabel(literal(data.axis.name) + (" (log scale)" if panel is axes[0, 1] and data.axis.is_log else ""))
    axes[0, 0].set_ylabel(data.metric)
    title(axes[0, 0], "every run, with quartiles")
    title(axes[0, 1], data.spread_in_words)
    headline(figure, f"{data.metric} by {data.axis.name}")
    if data.note:
        figure.supxlabel(literal(data.note), fontsize=8, color=QUIET)
    return figure


def _size(names: Sequence[str]) -> tuple[float, float]:
    """Inches: wide enough for the names of the values to stand level or, where these are long, high enough to slant."""
    longest = max(len(line) for name in names for line in name.split("\n"))
    level = 1.3 + 2 * (len(names) + 0.2) * (longest + 1) * LETTER
    if level <= MOST_LEVEL:
        return max(7.5, 2.4 + 1.1 * len(names), level), 3.6
    return min(max(7.5, 2.4 + 1.1 * len(names)), MOST_WIDE), 3.2 + max(map(len, names)) * LETTER / np.sqrt(2)


def _distributions(panel: Axes, samples: Sequence[np.ndarray], places: Sequence[int]) -> None:
    if samples:
        line = {"color": INK, "linewidth": 1}
        panel.boxplot(
            samples,
            positions=places,
            widths=0.5,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": "#DCE9F5", "edgecolor": FAINT},
            medianprops=line,
            whiskerprops={"color": FAINT},
            capprops={"color": FAINT},
        )
    for place, sample in zip(places, samples, strict=True):
        # A fixed sideways spread keeps the figure the same each time it is drawn.
        aside = 0.18 * np.sin(2.4 * np.arange(sample.size)) if sample.size > 1 else np.zeros(1)
        size, alpha = (14, 0.75) if sample.size <= 100 else (4, 0.3)
        panel.scatter(place + aside, sample, s=size, alpha=alpha, color=PALETTE[0], linewidths=0, zorder=3)


def _means(panel: Axes, data: Marginal) -> None:
    places, (mean, low, high) = data.axis.along[data.measured], data.spread
    if data.axis.is_scale:
        panel.fill_between(places, low, high, color=PALETTE[0], alpha=0.15, linewidth=0)
    panel.vlines(places, low, high, color=PALETTE[0], linewidth=2, alpha=0.6)
    panel.plot(places, mean, "o-" if data.axis.is_scale else "o", color=PALETTE[0], markersize=5)
    for place, value in zip(places, mean, strict=True):
        panel.annotate(f"{value:.4f}", (place, value), textcoords="offset points", xytext=(6, 5), fontsize=8, color=INK)
