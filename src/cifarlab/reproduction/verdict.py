"""Ours against a report's number, by one rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cifarlab.reproduction.results import Kept
from cifarlab.reproduction.rows import Entry
from cifarlab.summary.statistics import FEWEST, describe

RULE = f"""\
A number is **beaten** where the lower end of our 95 % interval (Student's t over {FEWEST} seeds or more) lies above it,
**missed** where the upper end lies below it, **level** else. Fewer runs have no interval: they are above or below, with
their n, and no more is claimed; nor is it of runs with `recipe=strong` that are shorter or longer than it says. A run
on other data, with `limit`, or of the report's protocol at another length is compared with nothing."""


@dataclass(frozen=True)
class Measured:
    """Mean of a metric over the runs of a command, fractions; `low` and `high` are NaN below FEWEST runs."""

    n: int
    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, runs: Sequence[Kept], metric: str) -> Measured:
        values = [run.result.metrics[metric] for run in runs if metric in run.result.metrics]
        found = describe(values, np.zeros(len(values), dtype=int), 1, (0.0, 1.0))
        return cls(len(values), *(float(found[name][0]) for name in ("mean", "low", "high")))

    def __str__(self) -> str:
        if not self.n:
            return ""
        return f"{between(self.mean, self.low, self.high)} (n = {self.n})"


def between(mean: float, low: float, high: float, form: str = ".4f") -> str:
    """``0.7055, 0.6828 to 0.7282``; the mean alone where there is no interval."""
    return format(mean, form) if np.isnan(low) else f"{mean:{form}}, {low:{form}} to {high:{form}}"


def own_length(entry: Entry) -> str | None:
    """``8 epochs``, where the command says another length than its recipe has."""
    typed = dict(each.split("=", 1) for each in entry.overrides)
    return f"{typed['epochs']} epochs" if "epochs" in typed else None


def departures(entry: Entry, runs: Sequence[Kept]) -> list[str]:
    """What of the runs is not as the row has it, so that its number is not theirs to beat: data, number of pictures,
    and of the report's protocol its length."""
    knobs = [run.result.knobs for run in runs]
    found = []
    if others := {str(each["data"]) for each in knobs} - {entry.row.data}:
        found.append(f"on {' and '.join(sorted(others))}")
    if limits := {str(each["limit"]) for each in knobs if each.get("limit") is not None}:
        found.append(f"at most {' and '.join(sorted(limits))} pictures a split")
    if (length := own_length(entry)) and not entry.is_strong:
        found.append(length)
    return found


def verdict(measured: Measured, report: float, *, whole: bool = True) -> str:
    """``beaten``, ``level`` or ``missed``; ``above`` and ``below`` of few runs, or of runs that are not the whole
    recipe."""
    if not measured.n:
        return ""
    if np.isnan(measured.low) or not whole:
        return f"{'above' if measured.mean > report else 'below'} (n = {measured.n})"
    if measured.low > report:
        return "beaten"
    return "missed" if measured.high < report else "level"
