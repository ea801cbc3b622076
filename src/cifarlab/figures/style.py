"""One look for every figure: size, palette, spines, and text sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, YAxis
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers; yellow left out, too faint for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444", "#8B5A2B", "#7B61A8", "#8CA252")
SEQUENTIAL = "viridis"
INK = "#222222"
FAINT = "#C9CED6"
FAILED = "#B3261E"
QUIET = "#666666"
DPI = 120  # of a PNG on a screen
LETTER = 0.0825  # inches, of the names along an axis, 9 points high: DejaVu Sans is 0.6 as wide as high, or so
LETTERS, HEADLINE = 14, 9  # of small text and of a headline, to an inch
LINE = 0.15  # inches from one line of small text to the next


def canvas(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A Figure of `width` x `height` inches and its axes as an array (rows, columns); `options` go to `subplots`."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for one in axes.flat:
        tidy(one)
    return figure, axes


def tidy(axes: Axes, grid: bool = True) -> None:
    """No box, faint grid, dark grey text."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=9, color=FAINT, labelcolor=INK)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_fontsize(10)
    axes.yaxis.label.set_fontsize(10)
    if grid:
        axes.grid(True, color=FAINT, linewidth=0.5, alpha=0.6)


def title(axes: Axes, text: str) -> None:
    """A panel's title, at its left."""
    axes.set_title(literal(text), loc="left", fontsize=10, color=INK)


def headline(figure: Figure, text: str) -> None:
    """The title of the whole figure."""
    figure.suptitle(literal(text), fontsize=12, fontweight="bold", color=INK)


def name_ticks(axis: Axis, ticks: np.ndarray, names: Sequence[str], spots: np.ndarray, size: float = 9) -> None:
    """Name places along an axis so that no two names touch.

    Names below an axis are level where there is room for all of them, else slanted. Where places lie closer together
    than lines of text, some go without a name; the first and the last have theirs.

    Args:
        axis: of a panel; ``panel.xaxis`` or ``panel.yaxis``.
        ticks: (N,) the places, rising. names: N, of one or two lines. spots: (N,) the places in inches from anywhere.
        size: of the letters, in points.
    """
    line, letter = 1.3 * size / 72, LETTER * size / 9  # inches
    words = [literal(name) for name in names]
    if isinstance(axis, YAxis):
        kept = _apart(spots, [line * (1 + name.count("\n")) for name in names])
        axis.set_ticks(ticks, [name if keep else "" for name, keep in zip(words, kept, strict=True)], fontsize=size)
        return
    widths = [letter * (1 + max(map(len, name.split("\n")), default=0)) for name in names]
    if all(_apart(spots, widths)):
        axis.set_ticks(ticks, words, fontsize=size)
        return
    kept = _apart(spots, [line / np.sin(np.pi / 4)] * len(names))
    shown = [name.replace("\n", " ") if keep else "" for name, keep in zip(words, kept, strict=True)]
    axis.set_ticks(ticks, shown, fontsize=size, rotation=45, ha="right", rotation_mode="anchor")


def _apart(spots: np.ndarray, sizes: Sequence[float]) -> list[bool]:
    """Which of the things at rising places, each so large, can be there without touching; the ends first."""
    kept: list[int] = []
    for place in range(len(spots)):
        if not kept or spots[place] - spots[kept[-1]] >= (sizes[place] + sizes[kept[-1]]) / 2:
            kept.append(place)
    last = len(spots) - 1
    if kept and kept[-1] != last:
        while len(kept) > 1 and spots[last] - spots[kept[-1]] < (sizes[last] + sizes[kept[-1]]) / 2:
            kept.pop()
        if spots[last] - spots[kept[-1]] >= (sizes[last] + sizes[kept[-1]]) / 2:
            kept.append(last)
    return [place in set(kept) for place in range(len(spots))]


def literal(text: str) -> str:
    """Text in which a dollar sign is a dollar sign: matplotlib would read mathematics between two of them."""
    return text.replace("$", r"\$")


def picture(axes: Axes, image: np.ndarray, text: str = "", colour: str = INK) -> None:
    """Show (H, W, 3) or (H, W) in [0, 1] or uint8, pixels as squares, `text` above; grey is not stretched."""
    white = 255 if image.dtype == np.uint8 else 1
    axes.imshow(image, interpolation="nearest", cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=white)
    axes.set_axis_on()
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=FAINT, linewidth=0.6)  # white pixels end somewhere
    if text:
        axes.set_title(literal(text), fontsize=7.5, color=colour, pad=2)
