"""Menus: each entry says what its view has different, and nothing else."""

import plotly.graph_objects as go

from cifarlab.summary.charts.look import View, chart


def view(y, title, metric):
    traces = [go.Scatter(x=[1, 2], y=y, marker={"size": 5}), go.Scatter(x=[1], y=[0])]
    return View(traces=traces, layout={"xaxis": {"title": {"text": title}}, "yaxis": {"title": {"text": metric}}})


def test_places_are_shown_or_hidden_and_metrics_put_into_all_traces():
    views = {
        place: {metric: view([at, at + step], place, metric) for step, metric in enumerate(["acc", "loss"])}
        for at, place in enumerate(["a", "b"])
    }
    figure = chart(views, go.Figure())
    assert [trace.visible for trace in figure.data] == [None, None, False, False]
    places, metrics = figure.layout.updatemenus
    assert [button.label for button in (*places.buttons, *metrics.buttons)] == ["a", "b", "acc", "loss"]
    everywhere = (0, 1, 2, 3)
    assert list(places.buttons[1].args) == [
        {"visible": [False, False, True, True]}, {"xaxis.title.text": "b"}, everywhere
    ]  # fmt: skip
    assert list(metrics.buttons[1].args) == [
        {"y": [[0, 1], [0], [1, 2], [0]]}, {"yaxis.title.text": "loss"}, everywhere
    ]  # fmt: skip


def test_a_chart_of_one_place_has_one_menu():
    figure = chart({"": {"acc": view([0, 1], "x", "acc"), "loss": view([1, 2], "x", "loss")}}, go.Figure())
    (menu,) = figure.layout.updatemenus
    assert list(menu.buttons[0].args) == [{"y": [[0, 1], [0]]}, {"yaxis.title.text": "acc"}, (0, 1)]
