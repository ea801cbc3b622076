"""A metric over two knobs: mean and spread in each cell, failures marked, one panel for each value of a third knob."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cifarlab.figures.style import DPI, FAILED, FAINT, QUIET, SEQUENTIAL, headline, literal, name_ticks, tidy, title
from cifarlab.figures.surface import Axis, Surface

# Above this many cells a panel's text would be too small to read and slow to draw; the page's heatmap has hover.
ANNOTATED_CELLS = 120


def heatmap(panels: Mapping[str, Surface]) -> Figure:
    """Heatmaps of one metric on a common colour scale.

    Args:
        panels: at least one by title, over (y, x), all over the same axes; y is drawn from bottom to top.
    """
    surfaces = list(panels.values())
    metric, (y, x) = surfaces[0].metric, surfaces[0].axes
    figure, axes = _sheet(len(panels), x.values, y.values)
    known = np.concatenate([surface.mean[np.isfinite(surface.mean)] for surface in surfaces])
    scale = Normalize(known.min(), known.max()) if known.size else Normalize(0, 1)
    for place, (panel, (text, surface)) in enumerate(zip(axes.flat, panels.items(), strict=False)):
        colours = np.ma.masked_invalid(surface.mean)
        image = panel.imshow(colours, cmap=SEQUENTIAL, norm=scale, origin="lower", aspect="auto")
        _frame(panel, x, y, left=place % axes.shape[1] == 0, bottom=place + axes.shape[1] >= len(panels))
        title(panel, text)
        _annotate(panel, surface, scale)
    for panel in axes.flat[len(panels) :]:
        panel.set_axis_off()
    if known.size:
        figure.colorbar(image, cax=_beside(figure, axes), label=metric)
    headline(figure, f"{metric}: {y.name} \N{MULTIPLICATION SIGN} {x.name}")
    if surfaces[0].note:
        note = literal(surfaces[0].note)
        figure.text(0.5, 0.06 / figure.get_figheight(), note, fontsize=8, color=QUIET, ha="center")
    return figure


def _sheet(num_panels: int, x_values: Sequence[str], y_values: Sequence[str]) -> tuple[Figure, np.ndarray]:
    """Axes in inches laid out by hand: matplotlib's layout engines take as long again as drawing does."""
    columns = min(num_panels, 4)
    rows = -(-num_panels // columns)
    wide, high = _size(x_values, y_values)
    left = 0.6 + 0.08 * max(map(len, y_values))
    bottom = 0.75 + (0.06 * max(map(len, x_values)) if _slants(x_values) else 0)
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


def _frame(panel: Axes, x: Axis, y: Axis, *, left: bool, bottom: bool) -> None:
    tidy(panel, grid=False)
    wide, high = _size(x.values, y.values)
    for axis, names, inches in ((panel.xaxis, x.values, wide), (panel.yaxis, y.values, high)):
        places = np.arange(len(names))
        name_ticks(axis, places, names, places * inches / len(names))
    panel.tick_params(labelbottom=bottom, labelleft=left)
    panel.set_xlabel(literal(x.name) if bottom else "")
    panel.set_ylabel(literal(y.name) if left else "")


def _size(x_values: Sequence[str], y_values: Sequence[str]) -> tuple[float, float]:
    """Width and height of a panel, in inches."""
    wide = max(1.1 * len(x_values), 2.6) if len(x_values) <= 16 else 9.0
    return wide, max(0.62 * len(y_values), 1.7) if len(y_values) <= 16 else 6.5


def _slants(values: Sequence[str]) -> bool:
    return len(values) > 16 or max(map(len, values)) > 9


def _annotate(panel: Axes, surface: Surface, scale: Normalize) -> None:
    for place in np.argwhere(surface.n == 0):
        row, column = map(int, place)
        hatch = "///" if surface.failed[row, column] else ""
        panel.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch=hatch, edgecolor=FAINT))
    if surface.mean.size > ANNOTATED_CELLS:
        return
    for row, column in np.ndindex(surface.mean.shape):
        mean, sd = float(surface.mean[row, column]), float(surface.sd[row, column])
        n, failed = int(surface.n[row, column]), int(surface.failed[row, column])
        if n:
            text = _cell_text(mean, sd, n, surface.digits)
            colour = "white" if scale(mean) < 0.6 else "#111111"
            panel.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
        if failed:
            mark = f"\N{MULTIPLICATION X} {failed}" if n else f"\N{MULTIPLICATION X}\n{failed} not\nfinished"
            where = (column + 0.46, row + 0.44) if n else (column, row)
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            words = panel.text(*where, mark, fontsize=7, color=FAILED, fontweight="bold", bbox=box)
            words.set(ha="right" if n else "center", va="top" if n else "center")


def _cell_text(mean: float, sd: float, n: int, digits: int) -> str:
    spread = f" \N{PLUS-MINUS SIGN} {sd:.{digits}f}" if np.isfinite(sd) else ""
    return f"{mean:.{digits}f}{spread}\nn={n}"
