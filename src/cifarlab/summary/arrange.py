"""From the table of runs to the data that figures draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cifarlab.figures.cost import Cost
from cifarlab.figures.curves import Curve, Overlay
from cifarlab.figures.differences import Differences
from cifarlab.figures.marginals import Marginal
from cifarlab.figures.search import TrialKnob, Trials
from cifarlab.figures.surface import Axis, Surface
from cifarlab.summary.colours import colour_key
from cifarlab.summary.history import History
from cifarlab.summary.load import Sweep
from cifarlab.summary.replicates import in_words
from cifarlab.summary.statistics import describe
from cifarlab.summary.tables import column, score, settings_in_words

COSTS = {"training seconds": ("seconds_train", "seconds_total"), "parameters": ("parameters",), "FLOPs": ("flops",)}


def axis(sweep: Sweep, knob: str) -> Axis:
    """A knob along a figure."""
    return Axis(name=knob, values=sweep.labels(knob), is_scale=sweep.is_scale(knob))


def surface_of(sweep: Sweep, knobs: Sequence[str], metric: str, where: Mapping[str, str] | None = None) -> Surface:
    """Mean and spread of a metric over all runs that share their values of `knobs`.

    Args:
        where: only runs whose knobs have these labels.
    """
    axes = tuple(axis(sweep, knob) for knob in knobs)
    shape = tuple(len(one.values) for one in axes)
    size = int(np.prod(shape))
    codes = np.zeros(len(sweep.runs), dtype=int)
    kept = np.ones(len(sweep.runs), dtype=bool)
    for knob, length in zip(knobs, shape, strict=True):
        kept &= sweep.places(knob) >= 0
        codes = codes * length + sweep.places(knob)
    for knob, text in (where or {}).items():
        kept &= sweep.places(knob) == sweep.labels(knob).index(text)
    counted = kept & sweep.is_finished.to_numpy()
    statistics = describe(column(sweep, metric).to_numpy()[counted], codes[counted], size)
    others = [knob for knob in sweep.swept() if knob not in (*knobs, *(where or {}))]
    return Surface(
        metric=metric,
        axes=axes,
        mean=statistics["mean"].reshape(shape),
        sd=statistics["sd"].reshape(shape),
        n=statistics["n"].astype(int).reshape(shape),
        failed=np.bincount(codes[kept & sweep.is_lost.to_numpy()], minlength=size).reshape(shape),
        note=f"mean \N{PLUS-MINUS SIGN} sd over {_words([in_words(sweep), *others])}",
    )


def differences_of(comparison: pd.DataFrame) -> Differences:
    """The pairs of a comparison, as `comparison.compare` gives them."""
    first = comparison.iloc[0]
    number, over = int(comparison["pairs"].min()), first["over"]
    return Differences(
        title=f"{first['metric']} by {first['knob']}",
        along=f"{first['metric']}, difference",
        names=[f"{b} \N{MINUS SIGN} {a}" for a, b in zip(comparison["a"], comparison["b"], strict=True)],
        effects=comparison["effect"].to_numpy(dtype=float),
        lows=comparison["low"].to_numpy(dtype=float),
        highs=comparison["high"].to_numpy(dtype=float),
        note=f"95 % intervals of the paired t-test over {number} {over}" if number > 1 else f"a single pair of {over}",
    )


def marginal_of(sweep: Sweep, knob: str, metric: str) -> Marginal:
    """A metric of the finished runs at each value of one axis, over everything else."""
    numbers = column(sweep, metric).to_numpy()
    counted = sweep.is_finished.to_numpy() & np.isfinite(numbers)
    others = [other for other in sweep.swept() if other != knob]
    return Marginal(
        metric=metric,
        axis=axis(sweep, knob),
        samples=[numbers[counted & (sweep.places(knob) == place)] for place in range(len(sweep.labels(knob)))],
        note=f"runs over {_words([in_words(sweep), *others])}",
        repeats=not others,
    )


def cost_of(sweep: Sweep) -> Cost:
    """Mean score of each setting with finished runs, and what it cost by kind (means over its runs)."""
    finished = sweep.finished
    columns = {"score": column(sweep, score(sweep))}
    for kind, sources in COSTS.items():
        source = next((name for name in sources if name in finished and finished[name].notna().any()), None)
        if source:
            columns[kind] = pd.to_numeric(finished[source], errors="coerce").astype(float)
    means = pd.DataFrame(columns).loc[finished.index].groupby(finished["group"], sort=False).mean()
    names = settings_in_words(sweep)[finished.index].groupby(finished["group"], sort=False).first().tolist()
    costs = {kind: means[kind].to_numpy() for kind in COSTS if kind in means}
    return Cost(metric=score(sweep), names=names, gains=means["score"].to_numpy(), costs=costs)


def overlay_of(sweep: Sweep, histories: Mapping[str, History], most: int | None = None) -> Overlay:
    """Every run's history, coloured by what tells the runs apart best.

    Args:
        most: with more runs than these, a curve is a setting's mean over its seeds.
    """
    key, texts, order = colour_key(sweep)
    groups: dict[str, list[Curve]] = {}
    rows = zip(sweep.runs["name"], texts, sweep.is_finished, sweep.runs["group"], strict=True)
    for name, text, finished, group in rows:
        if name in histories:
            curve = Curve(name=name, history=histories[name], colour=text, is_finished=finished)
            groups.setdefault(group if most is not None and len(histories) > most else name, []).append(curve)
    shown = [_mean_curve(group) for group in groups.values()]
    used = {curve.colour for curve in shown}
    return Overlay(curves=shown, legend=[text for text in order if text in used], legend_title=key)


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over runs, up to the epoch that all of them reached."""
    first, *others = curves
    if not others:
        return first
    histories = [curve.history for curve in curves]
    epochs = min(len(next(iter(history.values()))) for history in histories)
    shared = [name for name in first.history if all(name in history for history in histories)]
    return Curve(
        name=f"{first.name} and {len(others)} more seeds",
        history={
            name: np.mean([np.asarray(history[name])[:epochs] for history in histories], axis=0) for name in shared
        },
        colour=first.colour,
        is_finished=all(curve.is_finished for curve in curves),
    )


def trials_of(sweep: Sweep) -> Trials:
    """The trials of a search, or the settings of any sweep, those first that were planned first."""
    metric = sweep.objective or score(sweep)
    runs = sweep.runs
    frame = pd.DataFrame({"score": column(sweep, metric), "done": sweep.is_finished, "group": runs["group"]})
    tried = frame[runs["status"].isin(["finished", "pruned", "diverged"])]
    finished = tried.groupby("group", sort=False)["done"].any()
    # A setting with a finished run is judged by those that finished.
    judged = tried[tried["done"] | ~tried["group"].map(finished).astype(bool)]
    scores = judged.groupby("group", sort=False)["score"].mean().reindex(finished.index)
    first = tried.index[~tried["group"].duplicated()]
    return Trials(
        metric=metric,
        scores=scores.to_numpy(dtype=float),
        finished=finished.to_numpy(dtype=bool),
        names=settings_in_words(sweep).loc[first].tolist(),
        knobs={knob: _trial_knob(sweep, knob, first) for knob in sweep.swept()},
    )


def _trial_knob(sweep: Sweep, knob: str, rows: pd.Index) -> TrialKnob:
    scale = sweep.scales.get(knob)
    if scale is not None:
        numbers = pd.to_numeric(sweep.runs.loc[rows, knob], errors="coerce").to_numpy(dtype=float)
        return TrialKnob(numbers=numbers, scale=scale)
    places = pd.Series(sweep.places(knob), index=sweep.runs.index).loc[rows].to_numpy(dtype=float)
    return TrialKnob(numbers=np.where(places >= 0, places, np.nan), values=sweep.labels(knob))


def _words(names: Sequence[str]) -> str:
    """`seeds and lr, width`."""
    return names[0] + (f" and {', '.join(names[1:])}" if names[1:] else "")
