"""What a sweep found: best setting, noise, comparison, hardware; in words for summary.md, the page and the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cifarlab.summary.load import STATUSES, Sweep
from cifarlab.summary.statistics import FEWEST
from cifarlab.summary.tables import Noise, ranked, score, seed_noise, setting


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that summary.md, the page and the terminal all say.

    Attributes:
        sweep: what was read.
        cells: a row a setting, as met. order: the same, the best first.
        noise: whether settings differ by more than seeds do.
        comparison: of a knob's values, where one was asked for.
        hardware: what the finished runs ran on, and by which versions.
        faults: figures that could not be drawn -> why.
    """

    sweep: Sweep
    cells: pd.DataFrame
    order: pd.DataFrame
    noise: Noise
    comparison: pd.DataFrame | None
    hardware: str
    faults: Mapping[str, str]

    @property
    def warnings(self) -> list[str]:
        """What a reader must be told before anything else."""
        return [
            *self.noise.warnings,
            *(f"The figure {name} could not be drawn: {fault}" for name, fault in self.faults.items()),
        ]

    @property
    def best(self) -> pd.Series | None:
        """The setting with the highest mean validation accuracy; None where nothing was validated."""
        return self.order.iloc[0] if np.isfinite(self.order["val/acc_mean"].iloc[0]) else None


def find(sweep: Sweep, cells: pd.DataFrame, comparison: pd.DataFrame | None, faults: Mapping[str, str]) -> Findings:
    """Rank, judge and describe a sweep."""
    return Findings(
        sweep=sweep,
        cells=cells,
        order=ranked(cells),
        noise=seed_noise(sweep, cells),
        comparison=comparison,
        hardware=hardware(sweep),
        faults=faults,
    )


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
            content = json.loads((sweep.directory / name / "environment.json").read_bytes())
        except (OSError, ValueError):
            continue
        packages = content.get("packages") or content.get("versions") or {}
        named = [
            f"{package} {packages[package]}" for package in ("torch", "lightning", "cifarlab") if package in packages
        ]
        git = content.get("git") if isinstance(content.get("git"), dict) else content
        commit = str(git.get("commit") or "")[:10]
        return [*named, *([f"commit {commit}{' (dirty)' if git.get('dirty') else ''}"] if commit else [])]
    return []


def counts(sweep: Sweep) -> str:
    """`12 runs: 11 finished, 1 failed`."""
    found = sweep.runs["status"].value_counts()
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
    """The sentences that answer `which setting, and how good is it`."""
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
    """What a reader must know of the best setting: that it was chosen, and whether settings differ at all."""
    lines = []
    if (findings.order["n"] > 0).sum() > 1:
        lines.append(
            "Its validation mean is the highest of several and so flattered by choice: quote the test accuracy."
        )
    test = findings.noise.test
    if test is not None and not test.within_noise:
        lines.append(
            f"Settings differ by more than seeds do: F({test.between_freedom}, {test.within_freedom}) = {test.f:.2f}, "
            f"p = {test.p:.2g} (one-way analysis of variance of {score(findings.sweep)})."
        )
    return lines


def ranking(findings: Findings) -> pd.DataFrame:
    """The settings, the best first, for a reader: axes, n, what did not finish, validation, seconds; no test values."""
    rows = findings.order
    shown = pd.DataFrame({axis: rows[axis] for axis in findings.sweep.axes}, index=rows.index)
    shown["n"] = rows["n"]
    lost = rows[[status for status in STATUSES if status not in ("finished", "pruned")]].sum(axis=1)
    if lost.any():
        shown["not finished"] = lost
    metric = score(findings.sweep)
    for name, statistic in ((metric, "mean"), ("sd", "sd"), ("low", "low"), ("high", "high")):
        shown[name] = rows[f"{metric}_{statistic}"]
    if (rows["n"] < FEWEST).all():
        shown = shown.drop(columns=["low", "high"])
    shown["val/loss"] = rows["val/loss_mean"]
    shown["seconds"] = rows["seconds_mean"].round(1)
    return shown
