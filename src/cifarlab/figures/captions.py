"""What a figure is of, in small letters below it: run, data and split, epoch."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cifarlab.figures.style import LETTERS, LINE, QUIET, literal


def in_words(
    directory: Path | None = None, *, data: str = "", split: str = "", selected: Mapping[str, Any] | None = None
) -> str:
    """`run outputs/r20; cifar10, test; weights of epoch 3 (the first is 0), chosen by val/acc`.

    Args:
        directory: of the run, named with the folder that it lies in.
        data: name of the data set.
        split: of it.
        selected: `by` and `epoch` of the weights, as `result.json` has them.
    """
    run = "/".join(directory.resolve().parts[-2:]) if directory is not None else ""
    parts = [f"run {run}" if run else "", ", ".join(filter(None, [data, split]))]
    if selected:
        by = f", chosen by {selected['by']}" if "/" in str(selected["by"]) else ""
        parts.append(f"weights of epoch {selected['epoch']} (the first is 0){by}")
    return "; ".join(filter(None, parts))


def caption(figure: Figure, text: str) -> None:
    """Say in small letters below a figure what it is of: run, split, epoch. The figure grows for it."""
    lines = textwrap.wrap(text, max(int(figure.get_figwidth() * LETTERS), 20))
    before, more = figure.get_figheight(), LINE * (len(lines) + 0.7)
    places = [axes.get_position() for axes in figure.axes]
    figure.set_figheight(before + more)
    if figure.get_layout_engine() is not None:
        above = [figure.get_supxlabel()] if figure.get_supxlabel() else []
        figure.supxlabel("\n".join([*above, *map(literal, lines)]), fontsize=8, color=QUIET)
        return
    share = before / (before + more)
    for axes, box in zip(figure.axes, places, strict=True):
        axes.set_position((box.x0, 1 - share * (1 - box.y0), box.width, share * box.height))
    for words in figure.texts:
        x, y = words.get_position()
        words.set_position((x, 1 - share * (1 - y)))
    figure.text(0.1 / figure.get_figwidth(), 0.4 * LINE / (before + more), literal("\n".join(lines)), fontsize=8).set(
        color=QUIET, va="bottom"
    )
