"""A metric over two knobs: mean and spread in each cell, failures marked, one panel for each value of a third knob."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cifarlab.figures.style import DPI, FAILED, FAINT, SEQUENTIAL, headline, literal, tidy, title

# Above this many cells a panel's text would be too small to read and slow to draw; the page's heatmap has hover.
ANNOTATED_CELLS = 120


@dataclass(frozen=True)
class Panel:
    """One heatmap.

    Attributes:
        title: what the panel shows, empty for none.
        mean: (rows, columns) float, NaN where nothing finished.
        sd: (rows, columns) float, NaN where fewer than two finished.
        n: (rows, columns) int, finished runs.
        failed: (rows, columns) int, runs that were planned and did not finish.
    """

    title: str
    mean: np.ndarray
    sd: np.ndarray
    n: np.ndarray
    failed: np.ndarray


def heatmap(
    panels: Sequence[Panel], x: tuple[str, Sequence[str]], y: tuple[str, Sequence[str]], *, metric: str, note: str = ""
) -> Figure:
    """Heatmaps of one metric on a common colour scale.

    Args:
        panels: at least one, arrays of shape (len(y values), len(x values)).
        x: name of the horizontal knob and its values in order. y: of the vertical one, drawn from bottom to top.
        metric: what the colours mean; accuracies (a name with `acc` in it) are written in per cent.
        note: a line under the title, such as what the means run over.
    """
    name, factor = (f"{metric} in %", 100) if "acc" in metric else (metric, 1)
    figure, axes = _sheet(len(panels), x[1], y[1])
    known = np.concatenate([factor * panel.mean[np.isfinite(panel.mean)] for panel in panels])
    scale = Normalize(known.min(), known.max()) if known.size else Normalize(0, 1)
    for place, (axis, panel) in enumerate(zip(axes.flat, panels, strict=False)):
        colours = np.ma.masked_invalid(factor * panel.mean)
        image = axis.imshow(colours, cmap=SEQUENTIAL, norm=scale, origin="lower", aspect="auto")
        _frame(axis, x, y, left=place % axes.shape[1] == 0, bottom=place + axes.shape[1] >= len(panels))
        title(axis, panel.title)
        _annotate(axis, panel, scale, factor)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    if known.size:
        figure.colorbar(image, cax=_beside(figure, axes), label=name)
    headline(figure, f"{name}: {y[0]} \N{MULTIPLICATION SIGN} {x[0]}")
    if note:
        figure.text(0.5, 0.06 / figure.get_figheight(), literal(note), fontsize=8, color="#666666", ha="center")
    return figure


def _sheet(num_panels: int, x_values: Sequence[str], y_values: Sequence[str]) -> tuple[Figure, np.ndarray]:
    """Axes in inches laid out by hand: matplotlib's layout engines take as long again as drawing does."""
    columns = min(num_panels, 4)
    rows = -(-num_panels // columns)
    wide = max(0.95 * len(x_values), 2.6) if len(x_values) <= 16 else 9.0
    high = max(0.62 * len(y_values), 1.7) if len(y_values) <= 16 else 6.5
    left = 0.6 + 0.08 * max(map(len, y_values))
    bottom = 0.75 + (0.06 * max(map(len, x_values)) if _slant(x_values) else 0)
    between, above, right, top = 0.2, 0.3, 1.0, 0.65
    width = left + columns * wide + (columns - 1) * between + right
    height = bottom + rows * high + (rows - 1) * above + top
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=between / wide,
        hspace=above / high,
    )
    return figure, axes


def _beside(figure: Figure, axes: np.ndarray) -> Axes:
    """A narrow axes for the colour bar, right of all panels."""
    low, high = axes[-1, -1].get_position(), axes[0, -1].get_position()
    width = figure.get_figwidth()
    return figure.add_axes((low.x1 + 0.15 / width, low.y0, 0.14 / width, high.y1 - low.y0))


def _frame(axis: Axes, x: tuple[str, Sequence[str]], y: tuple[str, Sequence[str]], *, left: bool, bottom: bool) -> None:
    tidy(axis, grid=False)
    slant = _slant(x[1])
    names = [literal(value) for value in x[1]] if bottom else []
    axis.set_xticks(range(len(names)), names, rotation=slant, ha="right" if slant else "center")
    names = [literal(value) for value in y[1]] if left else []
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel(literal(x[0]) if bottom else "")
    axis.set_ylabel(literal(y[0]) if left else "")


def _slant(values: Sequence[str]) -> int:
    return 45 if len(values) > 16 or max(map(len, values)) > 9 else 0


def _annotate(axis: Axes, panel: Panel, scale: Normalize, factor: int) -> None:
    written = panel.mean.size <= ANNOTATED_CELLS
    for row, column in np.ndindex(panel.mean.shape):
        mean, sd = float(factor * panel.mean[row, column]), float(factor * panel.sd[row, column])
        n, failed = int(panel.n[row, column]), int(panel.failed[row, column])
        if n == 0:
            hatched = Rectangle(
                (column - 0.5, row - 0.5), 1, 1, fill=False, hatch="///" if failed else "", edgecolor=FAINT
            )
            axis.add_patch(hatched)
        if not written:
            continue
        colour = "white" if n and scale(mean) < 0.6 else "#111111"
        if n:
            axis.text(
                column,
                row,
                _cell_text(mean, sd, n, digits=2 if factor == 100 else 3),
                ha="center",
                va="center",
                fontsize=7.5,
                color=colour,
            )
        if failed:
            mark = f"\N{MULTIPLICATION X} {failed}" if n else f"\N{MULTIPLICATION X}\n{failed} not\nfinished"
            where = (column + 0.46, row + 0.44) if n else (column, row)
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            text = axis.text(*where, mark, fontsize=7, color=FAILED, fontweight="bold", bbox=box)
            text.set(ha="right" if n else "center", va="top" if n else "center")


def _cell_text(mean: float, sd: float, n: int, digits: int) -> str:
    spread = f" \N{PLUS-MINUS SIGN} {sd:.{digits}f}" if np.isfinite(sd) else ""
    return f"{mean:.{digits}f}{spread}\nn={n}"
