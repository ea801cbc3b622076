"""Curves of one run and of many."""

import numpy as np
import pytest

from cifarlab.figures.curves import Curve, Overlay, curves, overlay, palette

HISTORY = {
    "epoch": [0, 1, 2],
    "train/loss": [2.0, 1.0, 0.5],
    "val/loss": [2.1, np.nan, 0.9],
    "val/acc": [0.2, 0.6, 0.5],
    "train/acc": [0.3, 0.5, 0.7],
    "lr": [0.1, 0.05, 0.0],
}


def test_every_measured_column_is_drawn_and_gaps_are_skipped():
    figure = curves(HISTORY)
    loss, accuracy, rate = figure.axes
    lines = {line.get_label().split()[0]: line.get_xydata().tolist() for line in loss.get_lines()}
    assert lines == {"train": [[0, 2.0], [1, 1.0], [2, 0.5]], "validation": [[0, 2.1], [2, 0.9]]}
    assert any(text.get_text() == "best 0.6000" for text in accuracy.texts)
    assert rate.get_lines()[0].get_ydata().tolist() == [0.1, 0.05, 0.0]


def test_a_change_of_phase_is_marked_in_every_panel():
    def marks(history):
        return [
            [line.get_xdata()[0] for line in panel.get_lines() if line.get_linestyle() == "--"]
            for panel in curves(history).axes
        ]

    assert marks(HISTORY | {"phase": [1, 1, 2]}) == [[1.5]] * 3
    assert marks(HISTORY | {"phase": [1, 1, 1]}) == marks(HISTORY) == [[]] * 3
    panels = curves(HISTORY | {"phase": [1, 1, 2]}).axes
    assert [[text.get_text() for text in panel.texts] for panel in panels] == [["phase 2"], ["best 0.6000"], []]


def test_a_history_without_epochs_counts_them_and_an_empty_one_is_refused():
    assert curves({"train/loss": [1.0, 0.5]}).axes[0].get_lines()[0].get_xdata().tolist() == [0, 1]
    with pytest.raises(ValueError, match="history has none of train/loss"):
        curves({"epoch": [0], "val/acc": [np.nan]})


def test_all_runs_come_in_one_plot_coloured_by_setting():
    runs = [
        Curve(name="", history={"val/acc": [0.1, value]}, colour="a" if value < 0.5 else "b", is_finished=value < 0.9)
        for value in (0.4, 0.6, 0.95)
    ]
    figure = overlay(Overlay(curves=runs, legend=["a", "b"], legend_title="setting"))
    (lines,) = figure.axes[0].collections
    assert [segment[-1, 1] for segment in lines.get_segments()] == [0.4, 0.6, 0.95]
    assert len({tuple(colour[:3]) for colour in lines.get_colors()}) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "not finished"]


def test_a_diverged_run_does_not_flatten_the_losses():
    def drawn(worst, is_finished):
        histories = [{"val/loss": [2.0, 1.0], "val/acc": [0.2, 0.3]}, {"val/loss": [2.5, worst], "val/acc": [0.1, 0.1]}]
        runs = [
            Curve(name="", history=history, colour="a", is_finished=finished)
            for history, finished in zip(histories, (True, is_finished), strict=True)
        ]
        return Overlay(curves=runs, legend=["a"], legend_title="setting")

    accuracy, loss = overlay(drawn(9e4, False)).axes[:2]
    assert loss.get_ylim() == pytest.approx((0.95, 2.05))
    assert accuracy.get_ylim()[0] < 0.1
    titles = [panel.get_title(loc="left") for panel in (accuracy, loss)]
    assert titles == ["validation accuracy", "validation loss (1 of 2 runs leave it)"]
    # One that ended well can have been as wild.
    assert drawn(9e4, True).loss_limits("val/loss") == pytest.approx((0.95, 2.05))
    assert drawn(7.9, True).loss_limits("val/loss") is None
    # Where most are, all are shown.
    wild = [Curve(name="", history={"val/loss": [2.0, last]}, colour="a") for last in (1.0, 90.0, 900.0)]
    (loss,) = overlay(Overlay(curves=wild, legend=["a"], legend_title="setting")).axes
    assert (loss.get_yscale(), loss.get_title(loc="left")) == ("log", "validation loss")
    assert loss.get_ylim()[1] > 900
    assert drawn(1.5, False).loss_limits("val/acc") is None


def test_palettes_have_as_many_different_colours_as_asked():
    assert len(set(palette(7))) == 7
    assert len(set(palette(25))) == 25
