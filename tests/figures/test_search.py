"""A search in one figure."""

import numpy as np
import pytest

from cifarlab.figures.search import MOST_KNOBS, TrialKnob, Trials, search

SCORES = np.array([0.5, 0.2, 0.7, np.nan, 0.6])
FINISHED = np.array([True, False, True, False, True])


def trials(scores, finished, knobs):
    return Trials(metric="val/acc", scores=scores, finished=finished, names=[""] * scores.size, knobs=knobs)


def points(panel):
    """The rings of pruned trials, the dots of finished ones, and the crosses of those without a value."""
    return [collection.get_offsets().tolist() for collection in panel.collections]


def test_history_and_knobs_show_every_trial_once():
    knobs = {
        "lr": TrialKnob(numbers=np.array([0.1, 0.2, 0.3, 0.4, np.nan]), scale="log"),
        "dropout": TrialKnob(numbers=np.array([0.0, 0.1, 0.2, 0.3, 0.4])),
        "width": TrialKnob(numbers=np.array([0.0, 1, 1, 0, 0]), values=("16", "$32$")),
    }
    figure = search(trials(SCORES, FINISHED, knobs))
    history, lr, dropout, width = figure.axes[:4]
    assert points(history) == [[[2, 0.2]], [[1, 0.5], [3, 0.7], [5, 0.6]], [[4, 0.03]]]
    assert history.lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.5], [3, 0.7], [4, 0.7], [5, 0.7]]
    assert points(lr) == [[[0.2, 0.2]], [[0.1, 0.5], [0.3, 0.7]], [[0.4, 0.03]]]  # the last has no lr
    assert (lr.get_xscale(), dropout.get_xscale()) == ("log", "linear")
    assert [label.get_text() for label in width.get_xticklabels()] == ["16", r"\$32\$"]
    places = [point[0] for part in points(width) for point in part]
    assert np.round(places).tolist() == [1, 0, 1, 0, 0]
    assert len({round(place, 6) for place in places}) == 5  # none lies on another
    figure.canvas.draw()


def test_nothing_reached_is_refused_and_many_knobs_are_cut():
    with pytest.raises(ValueError, match="no trial has a val/acc"):
        search(trials(np.array([np.nan]), np.array([False]), {}))
    knobs = {f"knob{number}": TrialKnob(numbers=np.arange(5.0)) for number in range(20)}
    figure = search(trials(SCORES, FINISHED, knobs))
    assert sum(panel.axison for panel in figure.axes) == MOST_KNOBS + 1
