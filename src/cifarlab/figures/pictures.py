"""Grids of pictures: samples, augmentations, mistakes, filters, feature maps, and what activation maximisation painted.

Images are (H, W, 3) or (H, W), uint8 or float in [0, 1].
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cifarlab.figures.style import (
    DPI,
    FAILED,
    HEADLINE,
    INK,
    LETTERS,
    LINE,
    PALETTE,
    canvas,
    headline,
    literal,
    picture,
    title,
)

SIDE, GAP = 1.05, 0.1  # inches: of a picture, and between two
NARROW = 17  # letters above one picture
SIDE_BY_SIDE = 12  # channels of a layer


def samples(
    images: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str],
    *,
    columns: int = 10,
    per_class: int = 1,
    note: str = "",
) -> Figure:
    """The first pictures of each class that occurs, below each other under its name (R4.1, R5.1).

    Args:
        images: (N, H, W, 3). labels: (N,) int in [0, C). classes: C names.
        columns: classes side by side. per_class: pictures of a class, or as many as there are.
        note: a line above, such as counts and sizes.

    Raises:
        ValueError: there is no picture.
    """
    pictures, targets = np.asarray(images), np.asarray(labels)
    if not len(pictures):
        raise ValueError("there is no picture to show")
    present = np.unique(targets)
    columns = min(columns, len(present))
    tiles: list[np.ndarray | None] = []
    names: list[str] = []
    for start in range(0, len(present), columns):
        block = present[start : start + columns]
        places = [np.flatnonzero(targets == target)[:per_class] for target in block]
        for row in range(max(len(own) for own in places)):
            tiles += [pictures[own[row]] if row < len(own) else None for own in places]
            tiles += [None] * (columns - len(block))
            names += [classes[int(target)] if row == 0 else "" for target in block] + [""] * (columns - len(block))
    return _grid(tiles, names, columns, note)


def augmentations(original: ArrayLike, augmented: Mapping[str, ArrayLike]) -> Figure:
    """A row an augmentation: the picture as it is, then draws of its augmented copy (R5.5).

    Args:
        original: (H, W, 3). augmented: (draws, H, W, 3) by name, draws at least 1.
    """
    source = np.asarray(original)
    rows = {name: [source, *np.asarray(copies)] for name, copies in augmented.items()}
    return _rows(rows, ["original"])


def contact_sheet(images: ArrayLike, names: Sequence[str], *, note: str = "") -> Figure:
    """Pictures row by row under their names.

    Args:
        images: (N, H, W, 3), at least one. names: N texts of one or two lines, cut to the width. note: a line above.
    """
    cut = ["\n".join(_shortened(line) for line in name.split("\n")) for name in names]
    return _grid(list(np.asarray(images)), cut, min(10, max(len(names), 1)), note)


def mistakes(images: ArrayLike, predicted: Sequence[str], truth: Sequence[str], *, wrong: int, tested: int) -> Figure:
    """Wrong answers in the order given: above the picture in red what was predicted, below it what is true.

    Args:
        images: (M, H, W, 3), those shown. predicted, truth: M texts.
        wrong: how many answers were wrong. tested: of how many.
    """
    shown = np.asarray(images)
    columns = min(8, max(len(shown), 1))
    rows = max(-(-len(shown) // columns), 1)
    figure, axes = canvas(max(1.35 * columns, 2.7), 1.9 * rows + 0.4, rows, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, above, below in zip(axes.flat, shown, predicted, truth, strict=False):
        picture(axis, image, f"predicted\n{above}", FAILED)
        words = literal(f"true\n{below}")
        axis.text(0.5, -0.04, words, transform=axis.transAxes, ha="center", va="top", fontsize=7.5, color=INK)
    figure.set_layout_engine("constrained", hspace=0.12)
    share = f"{wrong} of {tested} wrong ({wrong / max(tested, 1):.4f}), the surest first"
    headline(figure, textwrap.fill(share, max(int(1.35 * columns * HEADLINE), 20)))
    return figure


def filters(weights: ArrayLike, *, channels: Literal["together", "apart"] = "together", most: int = 64) -> Figure:
    """Filters of a convolution, each scaled to [0, 1] on its own (R1.4, R4.6).

    Args:
        weights: (F, C, h, w) float. channels: `together` shows three channels as one RGB picture, `apart` a grey
            picture for each channel. most: how many filters are shown.

    Raises:
        ValueError: `together` without exactly three channels.
    """
    kernels = np.asarray(weights, dtype=float)[:most]
    if channels == "together":
        if kernels.shape[1] != 3:
            raise ValueError(
                f"channels=together needs 3 input channels, these filters have {kernels.shape[1]}; use channels=apart"
            )
        tiles = [unit(kernel).transpose(1, 2, 0) for kernel in kernels]
        return _grid(tiles, [str(place) for place in range(len(tiles))], min(8, len(tiles)))
    shown = kernels[:, :8]
    names = (
        ["red", "green", "blue"] if kernels.shape[1] == 3 else [f"channel {place}" for place in range(shown.shape[1])]
    )
    side_by_side = 4 if shown.shape[1] <= 3 else 1
    tiles = [unit(kernel)[channel] for kernel in shown for channel in range(shown.shape[1])]
    words = [f"{place} {name}" for place in range(len(shown)) for name in names]
    return _grid(tiles, words, min(side_by_side * shown.shape[1], len(tiles)))


def feature_maps(
    maps: Mapping[str, ArrayLike],
    *,
    kinds: Mapping[str, str],
    channel: int | None = None,
    original: ArrayLike | None = None,
) -> Figure:
    """Intermediate features of one picture (R4.5), each map scaled to [0, 1] on its own.

    Args:
        maps: by layer, (C, h, w) float each. kinds: by layer, its type: `Conv2d`.
        channel: with a number, one picture a layer, of this channel; without, a row a layer with its first channels.
        original: (H, W, 3), the picture itself, shown first.

    Raises:
        ValueError: there is no layer, or one of them has no such channel.
    """
    layers = {name: np.asarray(values, dtype=float) for name, values in maps.items()}
    if not layers:
        raise ValueError("there is no feature map to show")
    if channel is not None:
        narrow = min(layers, key=lambda name: len(layers[name]))
        if channel >= len(layers[narrow]):
            raise ValueError(
                f"channel={channel}: allowed here: 0 to {len(layers[narrow]) - 1}, as {narrow} has no more channels; "
                "layer=NAME leaves out the layers whose name begins otherwise"
            )
        tiles = [unit(values[channel]) for values in layers.values()]
        names = [
            f"{_folded(name)}\n{kinds[name]}\n{values.shape[1]}x{values.shape[2]}, channel {channel}"
            for name, values in layers.items()
        ]
        if original is not None:
            tiles, names = [np.asarray(original), *tiles], ["input", *names]
        return _grid(tiles, names, min(8, len(tiles)))
    rows = {
        f"{name}\n{kinds[name]} {'x'.join(map(str, values.shape))}": [unit(one) for one in values[:SIDE_BY_SIDE]]
        for name, values in layers.items()
    }
    return _rows(rows if original is None else {"input": [np.asarray(original)], **rows})


def ascent(image: ArrayLike, scores: ArrayLike, *, name: str) -> Figure:
    """Activation maximisation: the picture at the end beside the score of every step (R1.5).

    Args:
        image: (H, W, 3). scores: (steps,) float. name: the class or unit.
    """
    steps = np.asarray(scores, dtype=float)
    figure, axes = canvas(9.5, 4.2, 1, 2)
    picture(axes[0, 0], np.asarray(image))
    title(axes[0, 0], name)
    axes[0, 1].plot(np.arange(len(steps)), steps, color=PALETTE[0], linewidth=1.3)
    axes[0, 1].xaxis.get_major_locator().set_params(integer=True)
    axes[0, 1].set_xlabel("step")
    axes[0, 1].set_ylabel("score")
    if len(steps):
        title(axes[0, 1], f"score {steps[0]:.2f} \N{RIGHTWARDS ARROW} {steps[-1]:.2f}")
    return figure


def unit(values: np.ndarray) -> np.ndarray:
    """Values moved and scaled to [0, 1]; all 0.5 where they are all the same."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)


def _grid(tiles: Sequence[np.ndarray | None], names: Sequence[str], columns: int, note: str = "") -> Figure:
    """Pictures row by row, a name above each; laid out by hand, as a hundred axes keep a layout engine busy."""
    columns = max(columns, 1)
    rows = [slice(start, start + columns) for start in range(0, len(tiles), columns)]
    above = [GAP + LINE * max(_lines(name) for name in names[row]) for row in rows]
    width = columns * (SIDE + GAP) + GAP
    words = textwrap.fill(note, max(int(width * LETTERS), 20)) if note else ""
    down = 0.08 + LINE * 1.2 * _lines(words)
    height = down + sum(above) + len(rows) * SIDE + GAP
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    if words:
        figure.text(GAP / width, 1 - 0.08 / height, literal(words), fontsize=9, color=INK, va="top")
    for row, space in zip(rows, above, strict=True):
        down += space + SIDE
        for column, (tile, name) in enumerate(zip(tiles[row], names[row], strict=True)):
            if tile is not None:
                left = GAP + column * (SIDE + GAP)
                axis = figure.add_axes((left / width, 1 - down / height, SIDE / width, SIDE / height))
                picture(axis, tile, name)
    return figure


def _rows(rows: Mapping[str, Sequence[np.ndarray]], heads: Sequence[str] = ()) -> Figure:
    """A row of pictures a name, which stands at its left; `heads` stand above the first row."""
    columns = max((len(tiles) for tiles in rows.values()), default=1)
    margin = 0.15 + max((len(line) for name in rows for line in name.split("\n")), default=0) / LETTERS
    above = GAP + LINE * bool(heads)
    width, height = margin + columns * (SIDE + GAP), above + max(len(rows), 1) * (SIDE + GAP)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    for row, (name, tiles) in enumerate(rows.items()):
        bottom = 1 - (above + row * (SIDE + GAP) + SIDE) / height
        for column, tile in enumerate(tiles):
            left = margin + column * (SIDE + GAP)
            axis = figure.add_axes((left / width, bottom, SIDE / width, SIDE / height))
            picture(axis, tile, heads[column] if row == 0 and column < len(heads) else "")
            if column == 0:
                words = axis.text(-0.08, 0.5, literal(name), transform=axis.transAxes, fontsize=8, color=INK)
                words.set(ha="right", va="center")
    return figure


def _shortened(text: str) -> str:
    return text if len(text) <= NARROW else f"{text[: NARROW - 1]}\N{HORIZONTAL ELLIPSIS}"


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


def _folded(name: str) -> str:
    """A layer's name on two lines where one picture is too narrow for it."""
    if len(name) <= NARROW:
        return name
    middle = len(name) / 2
    cuts = [place + 1 for place, letter in enumerate(name) if letter == "."] or [round(middle)]
    cut = min(cuts, key=lambda place: abs(place - middle))
    return f"{name[:cut]}\n{name[cut:]}"
