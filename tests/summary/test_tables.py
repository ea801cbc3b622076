"""cells.csv against pandas' own groupby, and the judgement of seed noise."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cifarlab.summary import load, summarize
from cifarlab.summary.load import read_sweep
from cifarlab.summary.noise import seed_noise
from cifarlab.summary.tables import cells_table, ranked, score

AXES = {"blocks": [1, 3], "kernel_size": [2, 3, 4], "seed": [0, 1, 2]}
STATISTICS = ["mean", "sd", "se", "low", "high", "min", "max"]


def test_cells_csv_agrees_with_an_independent_computation(make_sweep, alter):
    sweep = make_sweep(AXES)
    alter(sweep / "blocks-1+kernel_size-2+seed-0", status="failed")
    alter(sweep / "blocks-3+kernel_size-4+seed-1", status="diverged")
    alter(sweep / "blocks-3+kernel_size-4+seed-2", status="interrupted")
    summarize(sweep)
    cells = pd.read_csv(sweep / "summary" / "cells.csv").set_index(["blocks", "kernel_size"])
    runs = load(sweep)
    finished = runs[runs.status == "finished"].rename(columns={"seconds_total": "seconds"})
    assert len(cells) == 6
    for setting, group in finished.groupby(["blocks", "kernel_size"]):
        assert cells.loc[setting, "n"] == len(group)
        for metric in ("val/acc", "test/acc", "val/loss", "seconds"):
            sample = group[metric].to_numpy()
            expected = [np.mean(sample), *[np.nan] * 4, np.min(sample), np.max(sample)]
            if len(sample) > 1:
                expected[1:3] = [np.std(sample, ddof=1), stats.sem(sample)]
            if len(sample) > 2:
                low, high = stats.t.interval(0.95, len(sample) - 1, np.mean(sample), stats.sem(sample))
                expected[3:5] = np.clip([low, high], 0, 1) if metric.endswith("acc") else [low, high]
            got = cells.loc[setting, [f"{metric}_{name}" for name in STATISTICS]].to_numpy(dtype=float)
            np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert cells.loc[(1, 2), ["n", "failed", "diverged", "interrupted", "missing"]].tolist() == [2, 1, 0, 0, 0]
    assert cells.loc[(3, 4), ["n", "failed", "diverged", "interrupted", "missing"]].tolist() == [1, 0, 1, 1, 0]


def test_columns_stand_as_designed(make_sweep):
    sweep = make_sweep(AXES)
    summarize(sweep)
    columns = list(pd.read_csv(sweep / "summary" / "cells.csv"))
    counts = ["n", "failed", "diverged", "interrupted", "missing", "pruned", "running"]
    assert columns[:9] == ["blocks", "kernel_size", *counts]
    wanted = [f"{metric}_{name}" for metric in ("val/acc", "test/acc", "val/loss", "seconds") for name in STATISTICS]
    assert columns[9:] == [*wanted, "group"]
    assert len(pd.read_csv(sweep / "summary" / "runs.csv")) == 18


def test_ranking_is_by_validation_and_never_by_test(make_sweep, alter):
    sweep = make_sweep({"blocks": [1, 2], "seed": [0, 1]}, lambda knobs: 0.5 + 0.1 * knobs["blocks"])
    for seed in (0, 1):
        alter(sweep / f"blocks-1+seed-{seed}", metrics={"val/acc": 0.4, "test/acc": 0.99})
    read = read_sweep(sweep)
    assert ranked(cells_table(read))["blocks"].tolist() == [2, 1]
    for run in sweep.glob("blocks-*"):
        alter(run, metrics={"test/acc": 0.5})
    unvalidated = read_sweep(sweep)
    assert score(unvalidated) == "test/acc"
    assert ranked(cells_table(unvalidated))["blocks"].tolist() == [1, 2]


def test_settings_without_a_finished_run_come_last(make_sweep, alter):
    sweep = make_sweep({"blocks": [1, 2, 3], "seed": [0, 1]}, lambda knobs: 0.1 * knobs["blocks"])
    for seed in (0, 1):
        alter(sweep / f"blocks-2+seed-{seed}", status="diverged", metrics={})
    cells = ranked(cells_table(read_sweep(sweep)))
    assert cells["blocks"].tolist() == [3, 1, 2]
    assert cells[["n", "diverged"]].iloc[-1].tolist() == [0, 2]


@pytest.mark.parametrize(("step", "warned"), [(0.0, True), (0.2, False)])
def test_warning_when_settings_differ_no_more_than_seeds(make_sweep, step, warned):
    sweep = read_sweep(make_sweep(AXES, lambda k: 0.4 + step * k["blocks"] / 3 + 0.01 * [0, 2, 1][k["seed"]]))
    noise = seed_noise(sweep, cells_table(sweep))
    assert any("within seed noise" in text for text in noise.warnings) == warned


def test_warning_when_a_setting_ran_once(make_sweep):
    sweep = read_sweep(make_sweep({"blocks": [1, 2, 3]}))
    (warning,) = seed_noise(sweep, cells_table(sweep)).warnings
    assert warning.startswith("3 of 3 settings ran with one seed only (n = 1)")
