"""Heatmap, marginals, cube, cost and confusion: the numbers that they show."""

import numpy as np
import pytest

from cifarlab.figures.confusion import confusion
from cifarlab.figures.cost import cost, pareto
from cifarlab.figures.grid3d import grid3d
from cifarlab.figures.heatmap import Panel, heatmap
from cifarlab.figures.marginals import marginal

MEAN = np.array([[0.5, np.nan], [0.75, 0.6]])
SD = np.array([[0.01, np.nan], [np.nan, 0.02]])
N = np.array([[3, 0], [1, 2]])
FAILED = np.array([[0, 3], [2, 0]])


def test_heatmap_writes_mean_sd_n_and_marks_failures():
    panel = Panel("", MEAN, SD, N, FAILED)
    figure = heatmap([panel], ("blocks", ["1", "3"]), ("kernel", ["2", "3"]), metric="val/acc")
    texts = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert texts[(0, 0)] == "50.00 ± 1.00\nn=3"
    assert texts[(0, 1)] == "75.00\nn=1"
    assert "3 not\nfinished" in texts[(1, 0)]
    assert any(text.endswith(" 2") for text in texts.values())
    assert figure.axes[0].get_images()[0].norm.vmax == 75.0


def test_heatmap_facets_share_one_scale_and_survive_nothing_finished():
    nothing = np.full((2, 2), np.nan)
    panels = [Panel("a", MEAN, SD, N, FAILED), Panel("b", MEAN - 0.3, SD, N, FAILED)]
    figure = heatmap(panels, ("x", ["1", "2"]), ("y", ["1", "2"]), metric="val/loss")
    assert {image.norm.vmin for axis in figure.axes[:2] for image in axis.get_images()} == {0.2}
    empty = heatmap(
        [Panel("", nothing, nothing, 0 * N, FAILED)], ("x", ["1", "2"]), ("y", ["1", "2"]), metric="val/acc"
    )
    assert len(empty.axes) == 1


def test_marginal_shows_every_run_and_mean_with_quartiles():
    samples = [np.array([0.1, 0.2, 0.3, 0.6]), np.array([]), np.array([0.5])]
    figure = marginal("lr", ["0.1", "0.2", "0.3"], samples, metric="val/acc")
    every, means = figure.axes
    points = sorted(value for collection in every.collections for _, value in collection.get_offsets())
    assert points == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.6])
    assert means.get_lines()[0].get_xydata().tolist() == pytest.approx(np.array([[0, 0.3], [2, 0.5]]))
    assert means.collections[1].get_segments()[0][:, 1].tolist() == pytest.approx([0.175, 0.375])
    assert [text.get_text().split("\n")[1] for text in every.get_xticklabels()] == ["(n=4)", "(n=0)", "(n=1)"]


def test_cube_has_a_ball_a_triple_and_a_cross_for_the_lost():
    mean = np.arange(8.0).reshape(2, 2, 2)
    mean[0, 0, 0] = np.nan
    failed = np.zeros((2, 2, 2), dtype=int)
    failed[0, 0, 0] = 3
    figure = grid3d(mean, failed, (("a", ["1", "2"]), ("b", ["1", "2"]), ("c", ["1", "2"])), metric="val/acc")
    balls, ring, crosses = figure.axes[0].collections
    assert sorted(balls.get_array()) == [1, 2, 3, 4, 5, 6, 7]
    assert [np.ravel(side).tolist() for side in ring._offsets3d] == [[1], [1], [1]]
    assert [np.ravel(side).tolist() for side in crosses._offsets3d] == [[0], [0], [0]]


def test_pareto_front_keeps_what_nothing_cheaper_beats():
    assert pareto([3, 1, 2, 2, 4], [0.8, 0.5, 0.7, 0.6, 0.8]).tolist() == [1, 2, 0]
    assert pareto([], []).tolist() == []


def test_cost_draws_a_panel_a_known_cost():
    figure = cost([0.5, 0.6], {"seconds": [10, 20], "FLOPs": [np.nan, np.nan]}, ["a", "b"], metric="val/acc")
    assert [axis.get_xlabel() for axis in figure.axes] == ["seconds"]
    assert {text.get_text() for text in figure.axes[0].texts} == {"a", "b"}
    with pytest.raises(ValueError, match="no setting has both val/acc and one of seconds"):
        cost([np.nan], {"seconds": [1.0]}, ["a"], metric="val/acc")


def test_confusion_writes_counts_rates_and_accuracy():
    figure = confusion([[8, 2], [0, 0]], ["cat", "dog$"])
    axis = figure.axes[0]
    assert {text.get_position(): text.get_text() for text in axis.texts} == {(0, 0): "80 %\n8", (1, 0): "20 %\n2"}
    assert axis.get_title(loc="left") == "accuracy 0.8000  (8 of 10)"
    assert axis.get_images()[0].get_array().tolist() == [[0.8, 0.2], [0, 0]]
    with pytest.raises(ValueError, match=r"shape \(1, 2\) does not fit 2 classes"):
        confusion([[1, 2]], ["a", "b"])


def test_a_hundred_classes_are_coloured_but_not_written():
    figure = confusion(np.eye(100, dtype=int), [f"class {place}" for place in range(100)])
    assert len(figure.axes[0].texts) == 0
    assert len(figure.axes[0].get_xticklabels()) == 100
