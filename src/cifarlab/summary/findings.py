"""What a sweep found: best setting, noise, comparison, hardware; in words for summary.md, the page and the terminal."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from cifarlab.heartbeat import RUNNING
from cifarlab.reading import read_as
from cifarlab.result import MOST_BYTES, Name
from cifarlab.summary.comparison import Trend
from cifarlab.summary.load import STATUSES, Sweep
from cifarlab.summary.noise import Noise, seed_noise, statistic, which_is_better
from cifarlab.summary.replicates import CORRECTED, in_words, overlap
from cifarlab.summary.statistics import FEWEST
from cifarlab.summary.tables import cells_table, ranked, score, setting
from cifarlab.summary.values import absent, label

MOST_FAULTS = 10  # of files, that are said one by one


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that summary.md, the page and the terminal all say.

    Attributes:
        sweep: what was read.
        cells: a row a setting, as met. order: the same, the best first.
        confirmed: a row a setting that was trained again with fresh seeds, like `cells`.
        parts: the findings of each data set, where there are several: their settings are not ranked together.
        noise: whether settings differ by more than seeds do.
        comparison: of a knob's values, where one was asked for. trend: over these, if they are numbers.
        hardware: what the finished runs ran on, and by which versions.
        faults: figures that could not be drawn -> why.
        unwritten: why nothing of this could be written into the folder; None where it was.
    """

    sweep: Sweep
    cells: pd.DataFrame
    order: pd.DataFrame
    confirmed: pd.DataFrame
    parts: tuple[Findings, ...]
    noise: Noise
    comparison: pd.DataFrame | None
    trend: Trend | None
    hardware: str
    faults: Mapping[str, str]
    unwritten: str | None = None

    @property
    def warnings(self) -> list[str]:
        """What a reader must be told before anything else."""
        of_noise = [f"{part.sweep.name}: {text}" for part in self.parts for text in part.noise.warnings]
        return [
            *(of_noise if self.parts else self.noise.warnings),
            *_first(self.sweep.faults),
            *(f"The figure {name} could not be drawn: {fault}" for name, fault in self.faults.items()),
            *([f"The summary could not be written: {self.unwritten}"] if self.unwritten else []),
        ]

    @property
    def best(self) -> pd.Series | None:
        """The setting with the highest mean validation accuracy; None where nothing was validated, or of several data
        sets."""
        if self.parts:
            return None
        return self.order.iloc[0] if np.isfinite(self.order["val/acc_mean"].iloc[0]) else None

    @property
    def best_confirmed(self) -> pd.Series | None:
        """The best setting over fresh seeds alone, where it was trained with them and one has finished."""
        if self.best is None or self.confirmed.empty:
            return None
        rows = self.confirmed[(self.confirmed["group"] == self.best["group"]) & (self.confirmed["n"] > 0)]
        return rows.iloc[0] if len(rows) else None

    @functools.cached_property
    def better(self) -> str | None:
        """Which setting is better and by how much, in a sentence."""
        return which_is_better(self.sweep, self.order, self.noise) if self.best is not None else None


def _first(faults: Sequence[str]) -> list[str]:
    """The first of many lines, and how many there are more."""
    more = [f"and {len(faults) - MOST_FAULTS} more of this kind"] if len(faults) > MOST_FAULTS else []
    return [*faults[:MOST_FAULTS], *more]


def find(
    sweep: Sweep,
    cells: pd.DataFrame,
    comparison: pd.DataFrame | None = None,
    trend: Trend | None = None,
    faults: Mapping[str, str] | None = None,
) -> Findings:
    """Rank, judge and describe a sweep."""
    parts = sweep.by_data()
    return Findings(
        sweep=sweep,
        cells=cells,
        order=ranked(cells),
        confirmed=confirmed(sweep),
        parts=tuple(find(part, cells_table(part)) for part in parts) if len(parts) > 1 else (),
        noise=seed_noise(sweep, cells),
        comparison=comparison,
        trend=trend,
        hardware=hardware(sweep),
        faults=faults or {},
    )


def confirmed(sweep: Sweep) -> pd.DataFrame:
    """A row a setting with runs of fresh seeds; empty where there are none."""
    if sweep.confirming.empty:
        return pd.DataFrame()
    # A fold stands for no split of these: they were trained as the setting is without cross-validation.
    return cells_table(replace(sweep, runs=sweep.confirming, _codes={}))


def hardware(sweep: Sweep) -> str:
    """Devices and precisions of the finished runs, and the versions that the first `environment.json` names."""
    finished = sweep.finished
    parts = []
    for name in ("device", "result.precision" if "result.precision" in finished else "precision"):
        word = "" if name == "device" else "precision "
        parts += sorted({f"{word}{value}" for value in finished[name].dropna()}) if name in finished else []
    parts += versions(sweep)
    return ", ".join(parts) or "unknown hardware"


def versions(sweep: Sweep) -> list[str]:
    """Package versions and commit from the first run that has an `environment.json`."""
    for name in sweep.finished["name"].head(20):
        try:
            content = read_as(_environment(), sweep.directory / name / "environment.json", MOST_BYTES, shown=True)
        except (OSError, ValueError):
            continue
        packages = content.get("packages") or content.get("versions") or {}
        named = [
            f"{package} {packages[package]}" for package in ("torch", "lightning", "cifarlab") if package in packages
        ]
        git: Commit = content.get("git") or {"commit": content.get("commit"), "dirty": content.get("dirty")}
        commit = (git.get("commit") or "")[:10]
        return [*named, *([f"commit {commit}{' (dirty)' if git.get('dirty') else ''}"] if commit else [])]
    return []


class Commit(TypedDict, total=False):
    """The state of the code."""

    commit: Name | None
    dirty: bool | None


class Environment(Commit, total=False):
    """What of an ``environment.json`` is told; those of the first version have no section of its own for git."""

    packages: dict[Name, Name | None]
    versions: dict[Name, Name | None]
    git: Commit


@functools.cache
def _environment() -> TypeAdapter[Environment]:
    return TypeAdapter(Environment)


def counts(sweep: Sweep) -> str:
    """`12 runs: 11 finished, 1 failed`."""
    found = sweep.states.value_counts()
    known = [status for status in (*STATUSES, *found.index) if status in found]
    return f"{len(sweep.runs)} runs: " + ", ".join(f"{found[status]} {status}" for status in dict.fromkeys(known))


def measured(row: pd.Series, metric: str) -> str:
    """`0.9231 ± 0.0012 (95 % interval 0.9201 to 0.9261, n = 3)`; with few runs, that they are too few."""
    mean, n = row[f"{metric}_mean"], int(row["n"])
    if not np.isfinite(mean):
        return "not measured"
    if n < FEWEST:
        spread = f" \N{PLUS-MINUS SIGN} {row[f'{metric}_sd']:.4f}" if n > 1 else ""
        return f"{mean:.4f}{spread} (n = {n}: too few runs for an interval)"
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    return f"{mean:.4f} \N{PLUS-MINUS SIGN} {row[f'{metric}_sd']:.4f} (95 % interval {low:.4f} to {high:.4f}, n = {n})"


def verdict(findings: Findings) -> list[str]:
    """The sentences that answer `which setting, and how good is it`, for each data set where there are several, and
    `is more of it better` where the values of a knob are compared."""
    return [*_best(findings), *([str(findings.trend)] if findings.trend else [])]


def _best(findings: Findings) -> list[str]:
    if findings.parts:
        return [f"{part.sweep.name}: {line}" for part in findings.parts for line in verdict(part)]
    best = findings.best
    if best is None:
        if not findings.order["n"].any():
            return [f"Of {settings(findings)} there is nothing to rank."]
        return [
            "No validation split was kept, so the settings are not ranked: choosing by test accuracy would spoil it."
        ]
    lines = [
        f"Best of {settings(findings)} by mean validation accuracy: {setting(findings.sweep, best)}.",
        f"Validation accuracy {measured(best, 'val/acc')}.",
    ]
    if np.isfinite(best["test/acc_mean"]):
        lines.append(f"Test accuracy of this setting alone: {measured(best, 'test/acc')}; on {findings.hardware}.")
    return lines + caveats(findings)


def settings(findings: Findings) -> str:
    """`4 settings, 2 of them without a finished run`."""
    many, none = len(findings.order), int((findings.order["n"] == 0).sum())
    return f"{many} setting{'s' * (many != 1)}" + (f", {none} of them without a finished run," if none else "")


def caveats(findings: Findings) -> list[str]:
    """What a reader must know of the best setting: whether it is better, that it was chosen, what fresh seeds say."""
    sweep, lines = findings.sweep, []
    if (better := findings.better) is not None:
        lines.append(better)
    again = findings.best_confirmed
    if again is not None:
        lines.append(
            f"Trained again with fresh seeds, which had no part in the choice: test accuracy "
            f"{measured(again, 'test/acc')}. Quote this one."
        )
    elif (findings.order["n"] > 0).sum() > 1:
        lines.append(
            "Both values of the best of several settings are flattered by the choice, as validation and test accuracy "
            "move together from run to run: train the best again with fresh seeds (confirm=5), and quote these."
        )
    test = findings.noise.test
    if test is not None and not test.within_noise:
        lines.append(f"Settings differ by more than {in_words(sweep)} do in {score(sweep)}: {statistic(sweep, test)}.")
    if overlap(sweep).any():
        lines.append(CORRECTED)
    return lines


def ranking(findings: Findings) -> pd.DataFrame:
    """The settings, the best first, for a reader: axes, n, what did not finish, validation, seconds; no test values."""
    rows = findings.order
    shown = pd.DataFrame({axis: rows[axis] for axis in findings.sweep.axes}, index=rows.index)
    shown["n"] = rows["n"]
    lost = rows[[status for status in STATUSES if status not in ("finished", "pruned", RUNNING)]].sum(axis=1)
    if lost.any():
        shown["not finished"] = lost
    metric = score(findings.sweep)
    for name, of_seeds in ((metric, "mean"), ("sd", "sd"), ("low", "low"), ("high", "high")):
        shown[name] = rows[f"{metric}_{of_seeds}"]
    if (rows["n"] < FEWEST).all():
        shown = shown.drop(columns=["low", "high"])
    shown["val/loss"] = rows["val/loss_mean"]
    if "closed_gates_mean" in rows:
        shown["closed gates"], shown["of gates"] = rows["closed_gates_mean"], rows["gates_mean"]
    shown["seconds"] = rows["seconds_mean"].round(1)
    return shown


def in_one_column(rows: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """The axes of each setting in words, those that it does not have left out, in a column of that name."""
    words = [
        " ".join(f"{axis}={label(value)}" for axis, value in zip(axes, values, strict=True) if not absent(value))
        for values in rows[list(axes)].itertuples(index=False)
    ]
    return pd.concat([pd.Series(words, rows.index, name="setting"), rows.drop(columns=list(axes))], axis=1)
