"""What figures say in words: tick labels that do not touch, scales, and the line below that says what is shown."""

import io
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from cifarlab.figures.captions import caption, in_words
from cifarlab.figures.confusion import confusion
from cifarlab.figures.cost import Cost, cost
from cifarlab.figures.curves import curves
from cifarlab.figures.formats import rendered
from cifarlab.figures.heatmap import heatmap
from cifarlab.figures.marginals import Marginal, marginal
from cifarlab.figures.pictures import samples
from cifarlab.figures.search import TrialKnob, Trials, search
from cifarlab.figures.style import canvas
from cifarlab.figures.surface import Axis, Surface

NETS = ["tiny_vgg", "tiny_vgg batch_norm=true", "tiny_vgg blocks=3", "tiny_resnet"]
RATES = ["0.001", "0.01", "0.1", "100"]
MANY = [f"class_number_{place}" for place in range(130)]


def touching(figure):
    """Pairs of neighbouring tick labels that touch, of every axis."""
    drawn = FigureCanvasAgg(figure)
    drawn.draw()
    found = []
    for axis in (axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)):
        labels = [label for label in axis.get_ticklabels() if label.get_text() and label.get_visible()]
        for one, other in itertools.pairwise(labels):
            if one.get_rotation():
                assert one.get_rotation() == 45
                places = [axis.axes.transData.transform((label.get_position()[0], 0))[0] for label in (one, other)]
                touch = abs(np.diff(places)[0]) * np.sin(np.pi / 4) < one.get_fontsize() * figure.dpi / 72
            else:
                touch = one.get_window_extent().overlaps(other.get_window_extent())
            if touch:
                found.append((one.get_text(), other.get_text()))
    return found


def by(values, *, is_scale):
    samples = [np.array([0.1, 0.2 + 0.01 * place]) for place, _ in enumerate(values)]
    return Marginal(metric="val/acc", axis=Axis(name="axis", values=values, is_scale=is_scale), samples=samples)


def over(values):
    axes = (Axis(name="y", values=values[:3]), Axis(name="x", values=values))
    shape = (len(axes[0].values), len(values))
    ones, none = np.ones(shape, dtype=int), np.zeros(shape, dtype=int)
    return Surface(metric="val/acc", axes=axes, mean=1.0 * ones, sd=1.0 * ones, n=ones, failed=none)


def trials(values):
    count = len(values)
    knob = TrialKnob(numbers=np.arange(count, dtype=float), values=values)
    scores = np.linspace(0.1, 0.9, count)
    return Trials(metric="val/acc", scores=scores, finished=np.ones(count, bool), names=values, knobs={"net": knob})


def costs(spent):
    values = np.array(spent, dtype=float)
    return Cost(metric="val/acc", names=NETS, gains=np.linspace(0.1, 0.9, len(spent)), costs={"parameters": values})


@pytest.mark.parametrize(
    "draw",
    [
        lambda: marginal(by(NETS, is_scale=False)),
        lambda: marginal(by(RATES, is_scale=True)),
        lambda: marginal(by(["1", "2", "3", "99", "100"], is_scale=True)),
        lambda: marginal(by(MANY[:40], is_scale=False)),
        lambda: heatmap({"": over(NETS), "again": over(NETS)}),
        lambda: heatmap({"": over(MANY)}),
        lambda: confusion(np.eye(100, dtype=int), MANY[:100]),
        lambda: confusion(np.eye(20, dtype=int), MANY[:20]),
        lambda: search(trials(NETS)),
        lambda: search(trials(MANY)),
        lambda: cost(costs([0.8, 0.9, 1.25, 1.5])),
        lambda: cost(costs([136_794, 136_794.5, 137_900, 139_000])),
    ],
)  # fmt: skip
def test_tick_labels_do_not_touch(draw):
    assert touching(draw()) == []


def test_the_check_sees_labels_that_touch():
    figure, axes = canvas(3, 2)
    axes[0, 0].set_xticks(range(4), NETS)
    assert len(touching(figure)) == 3


def test_rates_stand_where_their_logarithms_do_and_names_side_by_side():
    every, means = marginal(by(RATES, is_scale=True)).axes
    assert every.get_xticks().tolist() == [0, 1, 2, 3]
    assert means.get_xticks().tolist() == pytest.approx([0, 0.6, 1.2, 3])
    assert means.get_xlabel() == "axis (log scale)"
    assert Axis(name="p", values=["0", "0.1", "0.5"]).along.tolist() == pytest.approx([0, 0.4, 2])
    assert not Axis(name="p", values=["0", "0.1", "0.5"]).is_log
    assert Axis(name="net", values=NETS, is_scale=False).along.tolist() == [0, 1, 2, 3]


def test_a_rate_over_epochs_has_a_log_axis_where_it_spans_a_factor_of_ten():
    def scale(rates):
        return curves({"lr": rates}).axes[0].get_yscale()

    assert (scale([0.1, 0.1, 0.05]), scale([0.1, 0.01, 0.001]), scale([0.1, 0.005, 0.0])) == ("linear", "log", "log")
    assert curves({"lr": [0.1, 0.05, 1e-9]}).axes[0].get_ylim()[0] == pytest.approx(0.7e-5)


def test_a_loss_that_explodes_leaves_the_others_visible():
    assert curves({"train/loss": [2.3, 1.0, 0.1]}).axes[0].get_yscale() == "linear"
    assert curves({"train/loss": [2.3, 1.0, 4e11]}).axes[0].get_yscale() == "log"


def test_costs_that_are_all_the_same_have_no_panel_where_others_differ():
    data = Cost(
        metric="val/acc",
        names=["a", "b"],
        gains=np.array([0.5, 0.6]),
        costs={"seconds": np.array([1.0, 2.0]), "FLOPs": np.array([5.0, 5.0])},
    )
    assert data.kinds == ["seconds"]


def test_run_data_split_and_epoch_in_one_line(tmp_path):
    words = in_words(tmp_path / "lab" / "lr-0.1", data="cifar10", split="test", selected={"by": "val/acc", "epoch": 7})
    assert words == "run lab/lr-0.1; cifar10, test; weights of epoch 7 (the first is 0), chosen by val/acc"
    assert in_words(selected={"by": "last", "epoch": 7}) == "weights of epoch 7 (the first is 0)"
    assert in_words(data="cifar10", split="train") == "cifar10, train"


def test_a_caption_lies_below_everything_and_the_figure_grows_for_it():
    images = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    for figure in (samples(images, [0, 1], ["a", "b"], note="above"), confusion(np.eye(3, dtype=int), list("abc"))):
        before = figure.get_figheight()
        caption(figure, "run $1 of a long name; " * 6)
        assert figure.get_figheight() > before
        FigureCanvasAgg(figure).draw()
        words = next(text for text in figure.findobj(lambda one: "run" in str(getattr(one, "get_text", str)())))
        below = words.get_window_extent()
        assert below.x0 >= 0
        assert below.y0 >= 0
        assert below.x1 <= figure.bbox.x1
        assert all(panel.get_tightbbox().y0 >= below.y1 - 1 for panel in figure.axes)


def test_formats_are_what_they_say_and_the_same_twice():
    def draw(*given):
        return rendered(confusion([[8, 2], [0, 1]], ["cat", "dog"]), *given)

    sizes = [Image.open(io.BytesIO(draw("png", dpi))).size for dpi in (None, 300)]
    assert sizes[1][0] == pytest.approx(2.5 * sizes[0][0], abs=2)
    svg, pdf = draw("svg"), draw("pdf")
    assert b"<svg" in svg[:1000]
    assert b"<!-- cat -->" in svg
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert (svg, pdf) == (draw("svg"), draw("pdf"))


def test_thousands_are_short_and_seconds_are_no_thousandths():
    for spent, shown in (([0.8, 0.9, 1.2, 1.5], "0.8"), ([136_000, 137_000, 138_000, 140_000], "138k")):
        figure = cost(costs(spent))
        FigureCanvasAgg(figure).draw()
        assert shown in [label.get_text() for label in figure.axes[0].get_xticklabels()]
