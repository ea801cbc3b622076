"""Heatmap, marginals, cube, cost and confusion: the numbers that they show."""

import numpy as np
import pytest

from cifarlab.figures.confusion import confusion
from cifarlab.figures.cost import Cost, cost, pareto
from cifarlab.figures.grid3d import grid3d
from cifarlab.figures.heatmap import heatmap
from cifarlab.figures.marginals import Marginal, marginal
from cifarlab.figures.surface import Axis, Surface

MEAN = np.array([[0.5, np.nan], [0.75, 0.6]])
SD = np.array([[0.01, np.nan], [np.nan, 0.02]])
N = np.array([[3, 0], [1, 2]])
FAILED = np.array([[0, 3], [2, 0]])


def surface(mean=MEAN, metric="val/acc"):
    axes = (Axis(name="kernel", values=["2", "3"]), Axis(name="blocks", values=["1", "3"]))
    return Surface(metric=metric, axes=axes, mean=mean, sd=SD, n=np.where(np.isnan(mean), 0, N), failed=FAILED)


def test_heatmap_writes_mean_sd_n_and_marks_failures():
    figure = heatmap({"": surface()})
    panel = figure.axes[0]
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("blocks", "kernel")
    texts = {text.get_position(): text.get_text() for text in panel.texts}
    assert texts[(0, 0)] == "0.5000 ± 0.0100\nn=3"
    assert texts[(0, 1)] == "0.7500\nn=1"
    assert "3 not\nfinished" in texts[(1, 0)]
    assert any(text.endswith(" 2") for text in texts.values())
    assert panel.get_images()[0].norm.vmax == 0.75


def test_heatmap_facets_share_one_scale_and_survive_nothing_finished():
    figure = heatmap({"a": surface(metric="val/loss"), "b": surface(MEAN - 0.3, "val/loss")})
    assert {image.norm.vmin for panel in figure.axes[:2] for image in panel.get_images()} == {0.2}
    assert len(heatmap({"": surface(np.full((2, 2), np.nan))}).axes) == 1


def test_a_surface_is_cut_along_its_first_axis():
    parts = surface().slices()
    assert list(parts) == ["kernel=2", "kernel=3"]
    assert [axis.name for axis in parts["kernel=3"].axes] == ["blocks"]
    assert parts["kernel=3"].mean.tolist() == [0.75, 0.6]
    assert parts["kernel=2"].is_lost.tolist() == [False, True]


def test_marginal_shows_every_run_and_mean_with_quartiles():
    samples = [np.array([0.1, 0.2, 0.3, 0.6]), np.array([]), np.array([0.5])]
    data = Marginal(metric="val/acc", axis=Axis(name="lr", values=["0.1", "0.2", "0.3"]), samples=samples)
    every, means = marginal(data).axes
    points = sorted(value for collection in every.collections for _, value in collection.get_offsets())
    assert points == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.6])
    assert means.get_lines()[0].get_xydata().tolist() == pytest.approx(np.array([[0, 0.3], [2, 0.5]]))
    assert means.collections[1].get_segments()[0][:, 1].tolist() == pytest.approx([0.175, 0.375])
    assert [text.get_text().split("\n")[1] for text in every.get_xticklabels()] == ["(n=4)", "(n=0)", "(n=1)"]


def test_names_are_not_joined_by_a_line():
    samples = [np.array([0.1, 0.2]), np.array([0.3])]
    axis = Axis(name="optimizer", values=["sgd", "adam"], is_scale=False)
    means = marginal(Marginal(metric="val/acc", axis=axis, samples=samples)).axes[1]
    assert means.get_lines()[0].get_linestyle() == "None"
    assert len(means.collections) == 1  # the quartiles, and no band


@pytest.mark.parametrize(("metric", "best"), [("val/acc", [1, 1, 1]), ("val/loss", [0, 0, 1])])
def test_cube_has_a_ball_a_triple_a_cross_for_the_lost_and_a_ring_around_the_best(metric, best):
    mean = np.arange(8.0).reshape(2, 2, 2)
    mean[0, 0, 0] = np.nan
    lost = np.isnan(mean)
    axes = tuple(Axis(name=name, values=["1", "2"]) for name in "abc")
    figure = grid3d(Surface(metric=metric, axes=axes, mean=mean, sd=0 * mean, n=~lost * 1, failed=3 * lost))
    balls, ring, crosses = figure.axes[0].collections
    assert sorted(balls.get_array()) == [1, 2, 3, 4, 5, 6, 7]
    assert [np.ravel(side).tolist() for side in ring._offsets3d] == [[place] for place in best]
    assert [np.ravel(side).tolist() for side in crosses._offsets3d] == [[0], [0], [0]]


def test_pareto_front_keeps_what_nothing_cheaper_beats():
    assert pareto([3, 1, 2, 2, 4], [0.8, 0.5, 0.7, 0.6, 0.8]).tolist() == [1, 2, 0]
    assert pareto([], []).tolist() == []


def test_cost_draws_a_panel_a_known_cost():
    costs = {"seconds": np.array([10.0, 20]), "FLOPs": np.array([np.nan, np.nan])}
    figure = cost(Cost(metric="val/acc", names=["a", "b"], gains=np.array([0.5, 0.6]), costs=costs))
    assert [axis.get_xlabel() for axis in figure.axes] == ["seconds\n\n1 a\n2 b"]
    assert {text.get_text() for text in figure.axes[0].texts} == {"1", "2"}
    with pytest.raises(ValueError, match="no setting has both val/acc and one of seconds"):
        cost(Cost(metric="val/acc", names=["a", "b"], gains=np.full(2, np.nan), costs=costs))


def test_confusion_writes_counts_rates_and_accuracy():
    figure = confusion([[8, 2], [0, 0]], ["cat", "dog$"])
    axis = figure.axes[0]
    assert {text.get_position(): text.get_text() for text in axis.texts} == {(0, 0): "0.80\n8", (1, 0): "0.20\n2"}
    assert axis.get_title(loc="left") == "accuracy 0.8000  (8 of 10)"
    assert axis.get_images()[0].get_array().tolist() == [[0.8, 0.2], [0, 0]]
    with pytest.raises(ValueError, match=r"shape \(1, 2\) does not fit 2 classes"):
        confusion([[1, 2]], ["a", "b"])


def test_a_hundred_classes_are_coloured_but_not_written():
    figure = confusion(np.eye(100, dtype=int), [f"class {place}" for place in range(100)])
    assert len(figure.axes[0].texts) == 0
    assert len(figure.axes[0].get_xticklabels()) == 100
