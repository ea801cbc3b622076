"""Knobs that move together are one axis with names."""

import pandas as pd
import pytest

from cifarlab.summary import summarize
from cifarlab.summary.arrange import marginal_of
from cifarlab.summary.load import read_sweep
from cifarlab.summary.together import names

NETS = {
    "model": ["tiny_vgg", "tiny_vgg", "tiny_vgg", "tiny_resnet"],
    "batch_norm": [False, True, False, False],
    "blocks": [2, 2, 3, 2],
}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (NETS, ["tiny_vgg", "tiny_vgg batch_norm=true", "tiny_vgg blocks=3", "tiny_resnet"]),
        ({"schedule": ["step", "one_cycle"], "epochs": [50, 10], "lr": [0.1, 3.0]}, ["step", "one_cycle"]),
        ({"lr": [0.1, 0.2], "batch_size": [128, 256]}, ["0.1, 128", "0.2, 256"]),
        ({"model": ["a", "a", "b"], "lr": [0.1, 0.2, 0.1]}, ["a", "a lr=0.2", "b"]),
        ({"model": ["a", "a", "b"], "lr": [0.1, 0.2, 0.3]}, ["a lr=0.1", "a lr=0.2", "b lr=0.3"]),
    ],
)
def test_a_value_is_named_by_what_tells_it_apart(columns, expected):
    rows = list(zip(*columns.values(), strict=True))
    assert list(names(list(columns), rows).values()) == expected


@pytest.fixture
def four_nets(tmp_path, make_run):
    """The four nets of `robustness` with three seeds each, and a ledger."""
    cells = []
    for place, values in enumerate(zip(*NETS.values(), strict=True)):
        for seed in (0, 1, 2):
            knobs = dict(zip(NETS, values, strict=True)) | {"seed": seed}
            name = f"net-{place}+seed-{seed}"
            make_run(tmp_path / name, knobs, 0.6 + 0.05 * place + 0.01 * seed, key=name, group=f"net-{place}")
            cells.append({"name": name, "key": name, "group": f"net-{place}", "overrides": [], "knobs": knobs})
    axes = {"model": ["tiny_vgg", "tiny_resnet"], "model.batch_norm": ["false", "true"], "blocks": ["2", "3"]}
    plan = {"name": "nets", "axes": axes | {"seed": ["0", "1", "2"]}, "cells": cells}
    return tmp_path, plan | {"together": {"net": ["model", "model.batch_norm", "blocks"]}}


def write(folder, plan):
    import json

    (folder / "sweep.json").write_text(json.dumps(plan))
    return folder


def test_a_zipped_group_is_one_axis_in_tables_and_figures(four_nets):
    folder = write(*four_nets)
    sweep = read_sweep(folder)
    assert (sweep.axes, sweep.knobs) == (("net",), ("net", "model", "batch_norm", "blocks"))
    assert sweep.labels("net") == ["tiny_vgg", "tiny_vgg batch_norm=true", "tiny_vgg blocks=3", "tiny_resnet"]
    page = summarize(folder)
    names = {path.stem for path in page.parent.glob("*.png")}
    assert names == {"marginal_net", "cost", "curves"}  # none that pools nets by one of their knobs
    assert "validation accuracy: net=tiny_resnet." in (page.parent / "summary.md").read_text()
    assert pd.read_csv(page.parent / "cells.csv")["net"].tolist() == sweep.labels("net")


def test_the_figure_of_seeds_alone_has_mean_and_standard_deviation(four_nets):
    data = marginal_of(read_sweep(write(*four_nets)), "net", "val/acc")
    mean, low, high = data.spread
    assert mean == pytest.approx([0.61, 0.66, 0.71, 0.76])
    assert (mean - low, high - mean) == (pytest.approx([0.01] * 4), pytest.approx([0.01] * 4))
    assert data.spread_in_words == "mean with standard deviation"


def test_a_group_that_a_later_command_has_crossed_is_none(make_sweep):
    sweep = make_sweep({"lr": [0.1, 0.2], "width": [4, 8]}, together={"lr+width": ["lr", "width"]})
    assert read_sweep(sweep).axes == ("lr", "width")


def test_a_zipped_member_is_drawn_on_request(four_nets):
    page = summarize(write(*four_nets), figures=["marginal_model"])
    assert (page.parent / "marginal_model.png").is_file()
