"""Maps over pictures, and points in a plane: colours, titles and crosses."""

import numpy as np
import pytest

from cifarlab.figures.embedding import embedding
from cifarlab.figures.explanations import Explained, explanations, over
from cifarlab.figures.style import FAILED

GREY = np.full((4, 4, 3), 100, dtype=np.uint8)


def test_heat_is_brightest_where_the_map_is_and_dark_where_it_is_nought():
    values = np.zeros((4, 4))
    values[1, 2] = 5.0
    laid = over(GREY, values, signed=False)
    assert np.unravel_index(laid.sum(-1).argmax(), (4, 4)) == (1, 2)
    assert laid[0, 0] == pytest.approx(0.5 * 100 / 255, abs=0.02)
    assert (laid.min() >= 0, laid.max() <= 1) == (True, True)


def test_what_speaks_for_is_red_and_against_blue():
    values = np.zeros((4, 4))
    values[0, 0], values[3, 3] = 2.0, -2.0
    laid = over(GREY, values, signed=True)
    assert laid[0, 0, 0] > laid[0, 0, 2] + 0.2
    assert laid[3, 3, 2] > laid[3, 3, 0] + 0.2
    assert laid[1, 1] == pytest.approx(laid[1, 1, 0])
    assert np.isfinite(over(GREY, np.zeros((4, 4)), signed=True)).all()


def test_each_answer_stands_beside_its_maps():
    maps = np.ones((4, 4))
    wrong = Explained(GREY, "cat", "dog $5 0.90", False, {"dog": maps, "cat": maps})
    right = Explained(GREY, "cat", "cat 0.80", True, {"cat": maps})
    figure = explanations(
        [wrong, right], text="a text that is longer than the pictures are wide, and is folded", signed=True
    )
    shown = {axis.get_title(): axis.title.get_color() for axis in figure.axes if axis.get_title()}
    assert list(shown) == ["cat", "said dog \\$5 0.90", "for cat", "said cat 0.80"]
    assert (shown["said dog \\$5 0.90"] == FAILED, shown["said cat 0.80"] == FAILED) == (True, False)
    assert "\n" in figure.get_suptitle()
    assert len(explanations([wrong] * 9, text="", signed=False).axes) == 30
    with pytest.raises(ValueError, match="no picture to explain"):
        explanations([], text="", signed=True)


def test_a_dot_for_the_right_and_a_cross_for_the_wrong():
    points = np.arange(24.0).reshape(12, 2)
    labels, said = np.arange(12) % 3, np.r_[np.arange(11) % 3, 0]
    figure = embedding({"one": points, "two": -points}, labels, said, ("a", "b", "c"), text="two planes")
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["one", "two"]
    drawn = [len(part.get_offsets()) for part in figure.axes[0].collections]
    assert (sum(drawn[::2]), sum(drawn[1::2])) == (11, 1)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c", "answered wrong"]
    many = embedding({"one": points}, labels, said, [str(place) for place in range(100)], text="")
    assert many.legends == []
