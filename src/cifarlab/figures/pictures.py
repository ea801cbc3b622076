"""Grids of pictures: samples, augmentations, mistakes, filters, feature maps, and what activation maximisation painted.

Images are (H, W, 3) or (H, W), uint8 or float in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cifarlab.figures.style import DPI, FAILED, INK, PALETTE, canvas, headline, literal, picture, title


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
    drawn = {name: np.asarray(copies) for name, copies in augmented.items()}
    columns = 1 + max((len(copies) for copies in drawn.values()), default=0)
    rows = max(len(drawn), 1)
    figure, axes = canvas(1.1 * columns + 1.2, 1.15 * rows + 0.3, rows, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for place, (row, (name, copies)) in enumerate(zip(axes, drawn.items(), strict=False)):
        picture(row[0], source, "" if place else "original")
        row[0].text(
            -0.12, 0.5, literal(name), transform=row[0].transAxes, ha="right", va="center", fontsize=9, color=INK
        )
        for axis, copy in zip(row[1:], copies, strict=False):
            picture(axis, copy)
    return figure


def mistakes(
    images: ArrayLike,
    labels: ArrayLike,
    predicted: ArrayLike,
    confidence: ArrayLike,
    classes: Sequence[str],
    *,
    most: int = 40,
) -> Figure:
    """The wrong answers that the net was surest of: what it said in red with its confidence, the truth below.

    Args:
        images: (N, H, W, 3). labels, predicted: (N,) int in [0, C). confidence: (N,) float in [0, 1].
        classes: C names. most: how many are shown.
    """
    truth, said, sure = np.asarray(labels), np.asarray(predicted), np.asarray(confidence, dtype=float)
    wrong = np.flatnonzero(truth != said)
    shown = wrong[np.argsort(-sure[wrong], kind="stable")][:most]
    columns = min(8, max(len(shown), 1))
    rows = max(-(-len(shown) // columns), 1)
    figure, axes = canvas(1.35 * columns, 1.65 * rows + 0.4, rows, columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, place in zip(axes.flat, shown, strict=False):
        picture(axis, np.asarray(images)[place], f"{classes[int(said[place])]} {sure[place]:.2f}", FAILED)
        axis.text(
            0.5,
            -0.05,
            literal(classes[int(truth[place])]),
            transform=axis.transAxes,
            ha="center",
            va="top",
            fontsize=7.5,
        )
    headline(figure, f"{len(wrong)} of {len(truth)} wrong ({len(wrong) / max(len(truth), 1):.2%}), the surest first")
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
    maps: Mapping[str, ArrayLike], *, channel: int | None = None, original: ArrayLike | None = None
) -> Figure:
    """Intermediate features of one picture (R4.5), each map scaled to [0, 1] on its own.

    Args:
        maps: by layer, (C, h, w) float each. channel: with a number, one picture a layer, of this channel (modulo C);
            without, a row a layer with its first channels.
        original: (H, W, 3), the picture itself, shown first.

    Raises:
        ValueError: there is no layer.
    """
    layers = {name: np.asarray(values, dtype=float) for name, values in maps.items()}
    if not layers:
        raise ValueError("there is no feature map to show")
    if channel is not None:
        tiles = [unit(values[channel % len(values)]) for values in layers.values()]
        names = [
            f"{name}\n{values.shape[1]}x{values.shape[2]}, {channel % len(values)}" for name, values in layers.items()
        ]
        return _grid(tiles, names, min(6, len(tiles)))
    columns = min(12, max(len(values) for values in layers.values()))
    figure, axes = canvas(0.95 * columns + 1.6, 1.0 * len(layers) + 0.2, len(layers), columns)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (name, values) in zip(axes, layers.items(), strict=True):
        text = f"{literal(name)}\n{' x '.join(map(str, values.shape))}"
        row[0].text(-0.15, 0.5, text, transform=row[0].transAxes, ha="right", va="center", fontsize=8, color=INK)
        for axis, one in zip(row, values, strict=False):
            picture(axis, unit(one))
    return figure


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
    axes[0, 1].set_xlabel("step")
    axes[0, 1].set_ylabel("score")
    if len(steps):
        title(axes[0, 1], f"score {steps[0]:.2f} \N{RIGHTWARDS ARROW} {steps[-1]:.2f}")
    return figure


def unit(values: np.ndarray) -> np.ndarray:
    """Values moved and scaled to [0, 1]; all 0.5 where they are all the same."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)


def _grid(tiles: Sequence[np.ndarray], names: Sequence[str], columns: int, note: str = "") -> Figure:
    """Pictures row by row, a name above each; laid out by hand, as a hundred axes keep a layout engine busy."""
    columns = max(columns, 1)
    rows = max(-(-len(tiles) // columns), 1)
    lines = max((name.count("\n") + 1 for name in names), default=1)
    side, above, top = 1.05, 0.06 + 0.15 * lines, 0.35 if note else 0.08
    width, height = columns * (side + 0.1) + 0.1, rows * (side + above) + top + 0.05
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    for place, (tile, name) in enumerate(zip(tiles, names, strict=True)):
        row, column = divmod(place, columns)
        left, bottom = 0.1 + column * (side + 0.1), height - top - (row + 1) * (side + above)
        axis = figure.add_axes((left / width, bottom / height, side / width, side / height))
        picture(axis, tile, name)
    if note:
        figure.text(0.1 / width, 1 - 0.08 / height, literal(note), fontsize=9, color=INK, va="top")
    return figure
