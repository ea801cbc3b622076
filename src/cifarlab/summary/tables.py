"""The two tables of a sweep: a row a run (`runs.csv`), a row a setting over its seeds (`cells.csv`)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cifarlab.summary.load import STATUSES, Sweep
from cifarlab.summary.replicates import overlap
from cifarlab.summary.statistics import STATISTICS, describe
from cifarlab.summary.values import label

METRICS = ("val/acc", "test/acc", "val/loss", "seconds")
# What `evaluate.py` adds to them, where it was asked.
JUDGED = ("val/nll", "val/brier", "val/ece", "val/ece_scaled", "test/nll", "test/ece", "test/ece_scaled", "test/mce")
GATES = ("gates", "closed_gates")  # of nets that have some: how many, and how many of them are closed at the end
COLUMN = {"seconds": "seconds_total"}


def column(sweep: Sweep, metric: str) -> pd.Series:
    """(runs,) float: a metric of every run, NaN where it was not measured."""
    name = COLUMN.get(metric, metric)
    found = sweep.runs[name] if name in sweep.runs else pd.Series(np.nan, index=sweep.runs.index)
    return pd.to_numeric(found, errors="coerce").astype(float)


def cells_table(sweep: Sweep) -> pd.DataFrame:
    """A row a setting, in the order in which the settings were met.

    Columns: the knobs that vary (axes first), `n` (finished runs, the only ones that count), how many are `failed`,
    `diverged`, `interrupted`, `missing`, then for each of METRICS `_mean _sd _se _low _high _min _max`, likewise for
    those of JUDGED and GATES that are known, last `group`.
    """
    codes, groups = pd.factorize(sweep.runs["group"])
    first = sweep.runs.groupby("group", sort=False)[list(sweep.knobs)].first()
    table = first.reset_index(drop=True)
    status = sweep.states.to_numpy()
    for name in STATUSES:
        table["n" if name == "finished" else name] = np.bincount(codes[status == name], minlength=len(groups))
    done = sweep.is_finished.to_numpy()
    table["n"] = np.bincount(codes[done], minlength=len(groups))
    shared = overlap(sweep).groupby(codes).max().reindex(range(len(groups))).to_numpy()
    for metric in (*METRICS, *(name for name in (*JUDGED, *GATES) if name in sweep.runs)):
        bounds = (0.0, 1.0) if metric.endswith("/acc") else (-np.inf, np.inf)
        statistics = describe(column(sweep, metric)[done], codes[done], len(groups), bounds, shared)
        for statistic in STATISTICS:
            table[f"{metric}_{statistic}"] = statistics[statistic]
    return table.assign(group=groups)


def score(sweep: Sweep) -> str:
    """What settings are ranked and drawn by: `val/acc`, or `test/acc` in a sweep that kept no validation split."""
    measured = column(sweep, "val/acc")[sweep.is_finished].notna().any()
    tested = column(sweep, "test/acc")[sweep.is_finished].notna().any()
    return "test/acc" if tested and not measured else "val/acc"


def ranked_by(sweep: Sweep, cells: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Axes, `n`, mean and standard deviation of a metric of validation, the best setting first: accuracies from above,
    everything else from below."""
    refuse_metric(sweep, metric)
    order = cells[cells["n"] > 0].sort_values(f"{metric}_mean", ascending=not metric.endswith("/acc"), kind="stable")
    shown = order[[*sweep.axes, "n", f"{metric}_mean", f"{metric}_sd"]]
    return shown.rename(columns={f"{metric}_mean": metric, f"{metric}_sd": "sd"})


def refuse_metric(sweep: Sweep, metric: str) -> None:
    """Settings are ranked and compared by what was measured on validation.

    Raises:
        ValueError: the metric is of another split, or no finished run has it.
    """
    names = [name for name in (*METRICS, *JUDGED) if name.startswith("val/")]
    known = [name for name in names if column(sweep, name)[sweep.is_finished].notna().any()]
    if metric not in known:
        more = "" if "val/ece" in known else "; evaluate.py run=SWEEP_DIR measures calibration"
        raise ValueError(f"metric={metric}: allowed here: {', '.join(known) or 'none'}{more}")


def ranked(cells: pd.DataFrame) -> pd.DataFrame:
    """The settings by mean validation accuracy, the best first, and last those without a finished run; as met, where
    nothing was held out for validation."""
    worth = cells["val/acc_mean"].to_numpy(dtype=float)
    return cells.iloc[np.lexsort((-np.nan_to_num(worth, nan=-np.inf), cells["n"] == 0))]


def setting(sweep: Sweep, row: pd.Series) -> str:
    """A setting in words: `blocks=3 kernel_size=2`."""
    words = [f"{axis}={label(row[axis])}" for axis in sweep.axes]
    return " ".join(words) or sweep.name


def settings_in_words(sweep: Sweep) -> pd.Series:
    """(runs,) the setting of every run in words; its own name in a folder where nothing varies."""
    if not sweep.axes:
        return sweep.runs["name"]
    columns = [sweep.runs[axis].tolist() for axis in sweep.axes]
    words = [
        " ".join(f"{axis}={label(value)}" for axis, value in zip(sweep.axes, values, strict=True))
        for values in zip(*columns, strict=True)
    ]
    return pd.Series(words, index=sweep.runs.index)
