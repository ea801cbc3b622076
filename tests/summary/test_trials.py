"""A search read back: the order of its trials, the best so far, and figures that suit intervals."""

import json

import numpy as np
import pytest

from cifarlab.summary import summarize
from cifarlab.summary.arrange import trials_of
from cifarlab.summary.colours import colour_key
from cifarlab.summary.load import read_sweep


@pytest.fixture
def make_search(tmp_path, make_run):
    """Builds the directory of a search from (lr, width, accuracies by seed, status) for each trial."""

    def make(*tried, objective="val/acc", name="search"):
        cells = []
        for lr, width, accuracies, status in tried:
            for seed, accuracy in enumerate(accuracies):
                knobs = {"lr": lr, "width": width, "seed": seed}
                folder = tmp_path / name / f"lr-{lr}+seed-{seed}+width-{width}"
                changes = {} if status == "finished" else {"status": status, "error": f"it {status}"}
                if status == "diverged":
                    changes["metrics"] = {}
                make_run(folder, knobs, accuracy, **changes)
                cells.append({"name": folder.name})
        plan = {
            "schema": 1, "name": name, "commands": ["python train.py -m search=tpe"], "cells": cells,
            "axes": {"lr": [], "width": ["16", "32"], "seed": ["0", "1"]},
            "search": {"objective": objective, "scales": {"lr": "log"}},
        }  # fmt: skip
        (tmp_path / name / "sweep.json").write_text(json.dumps(plan))
        return tmp_path / name

    return make


TRIED = (
    (0.5, 16, (0.6, 0.8), "finished"),
    (0.01, 32, (0.3,), "pruned"),
    (0.1, 32, (0.9, 0.8), "finished"),
    (0.9, 16, (0.1,), "diverged"),
    (0.2, 16, (0.75, 0.85), "finished"),
)


def test_trials_come_in_their_order_with_the_mean_over_their_seeds(make_search):
    found = trials_of(read_sweep(make_search(*TRIED)))
    assert found.metric == "val/acc"
    assert found.scores == pytest.approx([0.7, 0.3, 0.85, np.nan, 0.8], nan_ok=True)
    assert found.finished.tolist() == [True, False, True, False, True]
    assert found.best == pytest.approx([0.7, 0.7, 0.85, 0.85, 0.85])
    assert found.names[2] == "lr=0.1 width=32"
    assert found.knobs["lr"].numbers.tolist() == [0.5, 0.01, 0.1, 0.9, 0.2]
    assert found.knobs["lr"].scale == "log"
    assert found.knobs["width"].values == ["16", "32"]
    assert found.knobs["width"].numbers.tolist() == [0, 1, 1, 0, 0]


def test_a_loss_is_best_where_it_is_lowest(make_search):
    found = trials_of(read_sweep(make_search(*TRIED, objective="val/loss")))
    assert found.scores == pytest.approx([0.3, 0.7, 0.15, np.nan, 0.2], nan_ok=True)
    assert found.best == pytest.approx([0.3, 0.3, 0.15, 0.15, 0.15])


def test_pruned_trials_are_counted_apart_and_are_no_trouble(make_search):
    sweep = make_search(*TRIED)
    page = summarize(sweep)
    text = (page.parent / "summary.md").read_text()
    assert "8 runs: 6 finished, 1 diverged, 1 pruned" in text
    assert "it diverged" in text
    assert "it pruned" not in text
    assert "Not finished (1)" in page.read_text()
    assert {path.stem for path in page.parent.glob("*.png")} == {"search", "marginal_width", "curves", "cost"}
    charts = json.loads(page.read_text().split('id="charts">')[1].split("</script>")[0])
    assert [trace["y"] for trace in charts["search"]["data"]] == [
        [0.7, 0.85, 0.8],
        [0.3, None],
        [0.7, 0.7, 0.85, 0.85, 0.85],
    ]
    views = charts["search"]["layout"]["updatemenus"][0]["buttons"]
    assert [view["label"] for view in views] == ["trial", "lr", "width"]
    assert views[1]["args"][0]["x"][:2] == [[0.5, 0.1, 0.2], [0.01, 0.9]]
    assert (views[1]["args"][1]["xaxis.type"], views[2]["args"][1]["xaxis.type"]) == ("log", "category")
    assert views[2]["args"][0]["x"][:2] == [["16", "32", "16"], ["32", "16"]]


@pytest.mark.parametrize("tried", [TRIED[1:2], TRIED[3:4], TRIED[:1]])
def test_a_search_of_one_trial_can_be_summed_up(make_search, tried):
    page = summarize(make_search(*tried))
    assert (page.parent / "runs.csv").is_file()


def test_curves_of_many_trials_are_coloured_by_fifths_of_an_interval(make_search):
    many = [(round(0.001 * 1.2**step, 6), 16, (0.5 + 0.01 * step,), "finished") for step in range(20)]
    key, texts, order = colour_key(read_sweep(make_search(*many)))
    assert key == "lr"
    assert order[0] == "0.001 to 0.002"
    assert len(order) == 5
    assert texts.value_counts().tolist() == [4] * 5


def test_a_grid_has_its_settings_as_trials_on_request(make_sweep):
    sweep = make_sweep({"blocks": [1, 2], "seed": [0, 1]}, lambda knobs: 0.1 * knobs["blocks"])
    found = trials_of(read_sweep(sweep))
    assert found.scores == pytest.approx([0.1, 0.2])
    assert found.finished.all()
    assert np.isfinite(found.best).all()
    assert (summarize(sweep, figures=["search"]).parent / "search.png").is_file()
