"""Two values of a knob against each other, over everything else that is the same."""

from __future__ import annotations

import difflib
import itertools

import numpy as np
import pandas as pd

from cifarlab.summary.load import Sweep
from cifarlab.summary.statistics import holm, paired_test, pairs_needed
from cifarlab.summary.tables import column, score
from cifarlab.summary.values import label

COLUMNS = ("knob", "a", "b", "metric", "pairs", "settings", "effect", "sd", "low", "high", "p", "p_holm")
NEEDED = ("pairs_needed", "seeds_needed")
METHOD = (
    "Effect is the mean of b minus a over pairs of finished runs that share their seed and every other axis; interval "
    "and p are those of the paired t-test (95 %, two-sided); p_holm is corrected for the number of comparisons (Holm "
    "1979). "
    "pairs_needed = (z_0.975 + z_0.80)^2 sd^2 / effect^2 + z_0.975^2 / 2 finds such an effect in four of five studies "
    "at 5 %; seeds_needed spreads these pairs over the settings compared (at least two seeds)."
)


def compare(sweep: Sweep, knob: str) -> pd.DataFrame:
    """A row for each pair of values (a, b) of a knob; columns COLUMNS and NEEDED, METHOD says how.

    Raises:
        ValueError: the knob is unknown, is a seed, has one value only, or no two runs make a pair.
    """
    _refuse(sweep, knob)
    metric = score(sweep)
    grid = _paired(sweep, knob, metric)
    rows = []
    for a, b in itertools.combinations(sweep.labels(knob), 2):
        difference = (grid[b] - grid[a]).dropna()
        if difference.empty:
            continue
        keys = difference.index.to_frame().drop(columns="seed")
        settings = len(keys.drop_duplicates()) if len(keys.columns) else 1
        test = paired_test(difference.to_numpy())
        needed = pairs_needed(test.effect, test.sd)
        measured = (test.n, settings, test.effect, test.sd, test.low, test.high, test.p, np.nan)
        rows.append((knob, a, b, metric, *measured, needed, _seeds(needed, settings)))
    if not rows:
        raise ValueError(
            f"compare={knob}: no two finished runs differ in {knob} and share seed and {_others(sweep, knob)}"
        )
    table = pd.DataFrame(rows, columns=[*COLUMNS, *NEEDED])
    return table.assign(p_holm=holm(table["p"].to_numpy()))


def brief(comparison: pd.DataFrame) -> pd.DataFrame:
    """The columns for a reader; the CSV has all."""
    return comparison[["a", "b", "pairs", "effect", "low", "high", "p", "p_holm", "pairs_needed", "seeds_needed"]]


def about(comparison: pd.DataFrame) -> str:
    """`val/acc by blocks`."""
    return f"{comparison['metric'].iloc[0]} by {comparison['knob'].iloc[0]}"


def _seeds(pairs: float, settings: int) -> float:
    return max(2.0, float(np.ceil(pairs / settings))) if np.isfinite(pairs) else pairs


def _others(sweep: Sweep, knob: str) -> list[str]:
    return [axis for axis in sweep.axes if axis != knob]


def _refuse(sweep: Sweep, knob: str) -> None:
    known = [name for name in sweep.knobs if len(sweep.labels(name)) > 1]
    if knob in known:
        return
    if not known:
        raise ValueError(f"compare={knob}: no knob of this sweep has two values")
    near = difflib.get_close_matches(knob, known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"compare={knob}: not a knob with two values in this sweep; there is {', '.join(known)}{hint}")


def _paired(sweep: Sweep, knob: str, metric: str) -> pd.DataFrame:
    """The metric by (other axes, seed) x value of the knob; a run repeated under other names enters by its mean."""
    done = sweep.runs["status"] == "finished"
    keys = {axis: sweep.runs[axis].map(label) for axis in _others(sweep, knob)}
    frame = pd.DataFrame({**keys, "seed": sweep.runs["seed"].map(label), "value": sweep.runs[knob].map(label)})
    frame = frame.assign(metric=column(sweep, metric))[done]
    grid = frame.dropna().pivot_table(index=[*keys, "seed"], columns="value", values="metric", aggfunc="mean")
    return grid.reindex(columns=sweep.labels(knob))
