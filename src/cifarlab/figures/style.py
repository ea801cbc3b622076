"""One look for every figure: size, palette, spines, and text sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers; yellow left out, too faint for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444", "#8B5A2B", "#7B61A8", "#8CA252")
SEQUENTIAL = "viridis"
INK = "#222222"
FAINT = "#C9CED6"
FAILED = "#B3261E"
QUIET = "#666666"
DPI = 120  # of a PNG on a screen
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
