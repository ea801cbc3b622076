"""What in a picture speaks for a class, laid over it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cifarlab.figures.style import FAILED, HEADLINE, INK, canvas, headline, picture

HEAT, FOR_AND_AGAINST = "inferno", "RdBu_r"
LARGEST = 99.0  # percentile that has the full colour: one pixel alone would make the others pale
FAINT_PICTURE = 0.35  # what shows of a picture below a signed map


class Explained(NamedTuple):
    """One answer about one picture.

    Attributes:
        image: (H, W, 3) uint8.
        truth: name of the picture's class.
        said: the net's answer with its probability.
        right: whether that is the truth.
        maps: by the class that is explained, (H, W) float; heat is at least 0, an attribution has both signs.
    """

    image: ArrayLike
    truth: str
    said: str
    right: bool
    maps: dict[str, ArrayLike]


def explanations(answers: Sequence[Explained], *, text: str, signed: bool) -> Figure:
    """A row an answer: the picture under its true class, then a map for the class that was said and for the true one.

    Args:
        answers: those shown, at least one.
        text: above all.
        signed: red speaks for the class and blue against it; else the brighter the more.

    Raises:
        ValueError: there is no answer to show.
    """
    if not answers:
        raise ValueError("there is no picture to explain")
    columns = 1 + max(len(answer.maps) for answer in answers)
    per_row = max(1, 6 // columns) if len(answers) > 4 else 1
    rows = -(-len(answers) // per_row)
    width = 1.5 * columns * per_row + 0.2
    lines = textwrap.fill(text, int(width * HEADLINE))
    figure, axes = canvas(width, 1.7 * rows + 0.25 * (2 + lines.count("\n")), rows, columns * per_row)
    for axis in axes.flat:
        axis.set_axis_off()
    for place, answer in enumerate(answers):
        own = axes[place // per_row, place % per_row * columns :]
        pixels = np.asarray(answer.image)
        picture(own[0], pixels, answer.truth)
        for number, (name, values) in enumerate(answer.maps.items(), start=1):
            said = number == 1
            colour = FAILED if said and not answer.right else INK
            laid = over(pixels, np.asarray(values, dtype=float), signed=signed)
            picture(own[number], laid, f"said {answer.said}" if said else f"for {name}", colour)
    headline(figure, lines)
    return figure


def over(pixels: np.ndarray, values: np.ndarray, *, signed: bool) -> np.ndarray:
    """A map in colour over its picture, scaled on its own.

    Args:
        pixels: (H, W, 3) uint8. values: (H, W).
        signed: see `explanations`.

    Returns:
        (H, W, 3) in [0, 1].
    """
    top = float(np.percentile(np.abs(values), LARGEST)) or float(np.abs(values).max()) or 1.0
    if not signed:
        heat = mpl.colormaps[HEAT](np.clip(values / top, 0, 1))[..., :3]
        return 0.5 * heat + 0.5 * pixels / 255
    strength = np.clip(np.abs(values) / top, 0, 1)[..., None]
    colours = mpl.colormaps[FOR_AND_AGAINST](np.clip(values / top, -1, 1) / 2 + 0.5)[..., :3]
    grey = 1 - FAINT_PICTURE + FAINT_PICTURE * pixels.mean(-1, keepdims=True) / 255
    return strength * colours + (1 - strength) * grey
