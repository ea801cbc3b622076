"""Two values of a knob against each other, over everything else that is the same."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cifarlab.summary.load import Sweep
from cifarlab.summary.replicates import blocks, overlap
from cifarlab.summary.statistics import FEWEST, PairedTest, holm, paired_test, pairs_needed
from cifarlab.summary.tables import column, refuse_metric, score
from cifarlab.summary.values import absent, label, numeric

COLUMNS = ("knob", "a", "b", "metric", "over", "pairs", "settings", "effect", "sd", "low", "high", "p", "p_holm")
BESIDE = ("seeds_needed", "alike")
METHOD = (
    "Effect is the mean of b minus a over finished runs that share their seed and every other axis, averaged over the "
    "other axes for each seed: runs of one seed are no independent pairs. Interval and p are those of the paired "
    "t-test over these means (95 %, two-sided); p_holm is corrected for the number of comparisons (Holm 1979). Where "
    "only one seed is shared the pairs are settings (column `over`): that says how the effect varies over the other "
    "axes, and nothing of what another seed would give. seeds_needed finds such an effect in four of five "
    "studies at 5 % (noncentral t); alike counts the settings that have the effect's sign: "
    "where not all do, another axis turns it."
)


def compare(sweep: Sweep, knob: str, metric: str | None = None, against: str | None = None) -> pd.DataFrame:
    """A row for each pair of values (a, b) of a knob; columns COLUMNS and BESIDE, METHOD says how.

    Args:
        metric: of validation; what settings are ranked by unless given.
        against: the value that is `a` in all pairs, as `Sweep.labels` has it; every value is, in turn, unless given.
            Fewer pairs are corrected for less.

    Raises:
        ValueError: the knob is unknown, is a seed, has one value only or not the one asked for, or no two runs make a
            pair; or no run has the metric.
    """
    _refuse(sweep, knob)
    if metric is not None:
        refuse_metric(sweep, metric)
    metric = metric or score(sweep)
    grid = _paired(sweep, knob, metric)
    shared = float(overlap(sweep).max())
    rows = []
    for a, b in _pairs(sweep.labels(knob), knob, against):
        differences = (grid[b] - grid[a]).dropna()
        if differences.empty:
            continue
        over, means, effects = _averaged(differences)
        test = paired_test(means, shared if over == "seeds" else 0.0)
        needed = pairs_needed(test.effect, test.sd) if over == "seeds" else np.nan
        measured = (test.n, len(effects), test.effect, test.sd, test.low, test.high, test.p, np.nan)
        alike = int((np.sign(effects) == np.sign(test.effect)).sum())
        rows.append((knob, a, b, metric, over, *measured, needed, alike))
    if not rows:
        raise ValueError(
            f"compare={knob}: no two finished runs differ in {knob} and share seed and {_others(sweep, knob)}"
        )
    table = pd.DataFrame(rows, columns=[*COLUMNS, *BESIDE])
    return table.assign(p_holm=holm(table["p"].to_numpy()))


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How a metric goes with a knob of numbers: the least-squares slope over the places of its values, a seed.

    Attributes:
        values: of the knob, the smallest first.
        settings: of the other knobs, that each seed's slope is averaged over.
        test: of the slopes: what one value more gives on average.
    """

    knob: str
    metric: str
    values: tuple[str, ...]
    settings: int
    test: PairedTest

    def __str__(self) -> str:
        test, over = self.test, f", over {self.settings} settings of the other knobs" if self.settings > 1 else ""
        return (
            f"From each value of {self.knob} ({', '.join(self.values)}) to the next, {self.metric} changes by "
            f"{test.effect:+.4f} on average ({test.low:+.4f} to {test.high:+.4f}, p = {test.p:.2g}; slopes of {test.n} "
            f"seeds{over})."
        )


def trend(sweep: Sweep, knob: str, metric: str | None = None) -> Trend | None:
    """Whether more of a knob is better, as one test: a dose that helps a little at each step is told from chance by
    fewer seeds than its pairs are. None for words, for fewer than three values, or where FEWEST seeds do not share all.

    Args:
        metric: as in `compare`.

    Raises:
        ValueError: as in `compare`.
    """
    _refuse(sweep, knob)
    if metric is not None:
        refuse_metric(sweep, metric)
    metric = metric or score(sweep)
    labels = sweep.labels(knob)
    if len(labels) < 3 or not all(numeric(value) for value in sweep.runs[knob] if not absent(value)):
        return None
    grid = _paired(sweep, knob, metric).dropna()
    places = np.arange(len(labels)) - (len(labels) - 1) / 2
    slopes = (grid * (places / (places @ places))).sum(axis=1)
    if slopes.empty:
        return None
    over, means, effects = _averaged(slopes)
    if over != "seeds" or len(means) < FEWEST:
        return None
    test = paired_test(means, float(overlap(sweep).max()))
    return Trend(knob=knob, metric=metric, values=tuple(labels), settings=len(effects), test=test)


def _pairs(values: Sequence[str], knob: str, against: str | None) -> Iterable[tuple[str, str]]:
    if against is None:
        return itertools.combinations(values, 2)
    if against not in values:
        raise ValueError(f"against={against}: not a value of {knob}, which has {', '.join(values)}")
    return [(against, value) for value in values if value != against]


def _averaged(differences: pd.Series) -> tuple[str, np.ndarray, np.ndarray]:
    """What the pairs are (`seeds` or `settings`), their differences, and the mean of each setting that these are over.

    Means of seeds are comparable if they go over the same settings: where the runs are not complete, the settings
    that not all seeds have are left out, or the seeds that not all settings have, whichever leaves more.
    """
    levels = [name for name in differences.index.names if name != "block"]
    settings = differences.index.to_frame()[levels].astype(str).agg(" ".join, axis=1) if levels else "all"
    frame = pd.DataFrame({"d": differences.to_numpy(), "block": differences.index.get_level_values("block")})
    frame = frame.assign(setting=np.asarray(settings))
    table = frame.pivot_table(index="setting", columns="block", values="d", sort=False)
    numbers = table.to_numpy(dtype=float)
    known = np.isfinite(numbers)
    whole = max(numbers[known.all(axis=1)], numbers[:, known.all(axis=0)], key=lambda part: part.size)
    if whole.shape[1] < 2:  # one seed, or no order in who ran with which: each setting's mean is a pair
        return "settings", np.nanmean(numbers, axis=1), np.nanmean(numbers, axis=1)
    return "seeds", whole.mean(axis=0), whole.mean(axis=1)


def brief(comparison: pd.DataFrame) -> pd.DataFrame:
    """The columns for a reader; the CSV has all."""
    return comparison[["a", "b", "over", "pairs", "effect", "low", "high", "p", "p_holm", "seeds_needed"]]


def about(comparison: pd.DataFrame) -> str:
    """`val/acc by blocks`."""
    return f"{comparison['metric'].iloc[0]} by {comparison['knob'].iloc[0]}"


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
    keys = {axis: sweep.runs[axis].map(label) for axis in _others(sweep, knob)}
    frame = pd.DataFrame({**keys, "block": blocks(sweep), "value": sweep.runs[knob].map(label)}, sweep.runs.index)
    frame = frame.assign(metric=column(sweep, metric))[sweep.is_finished]
    grid = frame.dropna().pivot_table(index=[*keys, "block"], columns="value", values="metric", aggfunc="mean")
    return grid.reindex(columns=sweep.labels(knob))
