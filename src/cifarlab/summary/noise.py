"""Whether settings differ by more than chance: the test over all of them, and the best against each other one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cifarlab.summary.load import Sweep
from cifarlab.summary.replicates import blocks, in_words, overlap
from cifarlab.summary.statistics import LEVEL, PairedTest, SpreadTest, holm, paired_test, pairs_needed, spread_test
from cifarlab.summary.tables import column, score, setting


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How the settings' spread compares with that of seeds: the warnings that a reader must see, and the test."""

    warnings: tuple[str, ...]
    test: SpreadTest | None


def seed_noise(sweep: Sweep, cells: pd.DataFrame) -> Noise:
    """Judge the settings' differences by an analysis of variance over the finished runs."""
    metric = score(sweep)
    done = sweep.is_finished.to_numpy()
    values, groups = column(sweep, metric).to_numpy()[done], pd.factorize(sweep.runs["group"])[0][done]
    test = spread_test(values, groups, blocks(sweep)[done], float(overlap(sweep)[done].max()) if done.any() else 0.0)
    warnings = []
    single = int((cells["n"] == 1).sum())
    if single:
        warnings.append(
            f"{single} of {len(cells)} settings ran with one seed only (n = 1): their differences cannot be told from "
            "seed noise; add seed=0,1,2 to the command."
        )
    if test is not None and test.within_noise:
        warnings.append(
            f"The spread over settings is within seed noise: sd {test.between_sd:.4f} between the settings' mean "
            f"{metric}, {test.within_sd:.4f} between {in_words(sweep)} ({statistic(sweep, test)} >= 0.05). The ranking "
            "may be chance."
        )
    return Noise(warnings=tuple(warnings), test=test)


def statistic(sweep: Sweep, test: SpreadTest) -> str:
    """`analysis of variance, 3 seeds as blocks, F(2.1, 4.3) = 5.10, p = 0.02`."""
    how = f", {test.blocks} {in_words(sweep)} as blocks" if test.blocks else ""
    freedom = f"{test.between_freedom:.3g}, {test.within_freedom:.3g}"
    return f"analysis of variance{how}, F({freedom}) = {test.f:.2f}, p = {test.p:.2g}"


@dataclass(frozen=True, kw_only=True)
class Lead:
    """The best setting against another one.

    Attributes:
        name: of the other, in words.
        gap: by how much the best is ahead in the mean over its runs.
        test: of the differences over the seeds that both have; None with fewer than two.
        p: of it, corrected for the number of settings (Holm).
    """

    name: str
    gap: float
    test: PairedTest | None
    p: float


def leads(sweep: Sweep, order: pd.DataFrame) -> list[Lead]:
    """The first of the ranked settings against each other one that was measured, over the seeds that they share."""
    metric = score(sweep)
    done = sweep.is_finished
    frame = pd.DataFrame({"value": column(sweep, metric), "group": sweep.runs["group"], "block": blocks(sweep)})[done]
    frame = frame.dropna()
    ranked = order[order["group"].isin(frame["group"])]
    if len(ranked) < 2:
        return []
    best, others = ranked.iloc[0], ranked.iloc[1:]
    frame = frame[frame["block"].isin(frame["block"][frame["group"] == best["group"]])]
    table = frame.pivot_table(index="block", columns="group", values="value").reindex(columns=ranked["group"])
    shared = float(overlap(sweep)[done].max())
    tests: list[PairedTest | None] = []
    for group in others["group"]:
        differences = (table[best["group"]] - table[group]).dropna().to_numpy()
        tests.append(paired_test(differences, shared) if differences.size > 1 else None)
    corrected = holm([test.p if test else np.nan for test in tests])
    return [
        Lead(name=setting(sweep, row), gap=best[f"{metric}_mean"] - row[f"{metric}_mean"], test=test, p=float(p))
        for (_, row), test, p in zip(others.iterrows(), tests, corrected, strict=True)
    ]


def which_is_better(sweep: Sweep, order: pd.DataFrame, noise: Noise) -> str | None:
    """One sentence: which setting is better and by how much, or that it cannot be told; None of a single setting.

    A setting is called better only where the settings differ at all (p < 0.05 over all of them) and it beats the other
    one over shared seeds (paired t-test, p < 0.05 after Holm's correction for their number).
    """
    found = leads(sweep, order)
    if not found:
        return None
    best, second, words = setting(sweep, order.iloc[0]), found[0], in_words(sweep)
    beaten = [lead for lead in found if lead.p < 1 - LEVEL]
    clear = noise.test is not None and not noise.test.within_noise
    if all(lead.test is None for lead in found):
        return (
            f"Which setting is better cannot be told: {best} is ahead of {second.name} by {second.gap:.4f}, and no two "
            "seeds are shared that would show what chance does; add seed=0,1,2."
        )
    if not clear or not beaten:
        return (
            f"Which setting is better cannot be told: {best} is ahead of {second.name} by "
            f"{_interval(second, words)}, which chance explains.{_more(second, words)}"
        )
    if second in beaten:
        rest = "" if len(found) == 1 else _beats(beaten, found)
        return f"{best} is better than {second.name} by {_interval(second, words)}, p = {second.p:.2g}{rest}."
    nearest = beaten[0]
    return (
        f"{best} is better than {_count(beaten, found)} other settings, {nearest.name} first, by "
        f"{_interval(nearest, words)}, p = {nearest.p:.2g}; whether it is better than {second.name}, by "
        f"{_interval(second, words)}, cannot be told.{_more(second, words)}"
    )


def _interval(lead: Lead, words: str) -> str:
    if lead.test is None:
        return f"{lead.gap:.4f} (no two {words} shared)"
    test = lead.test
    return f"{test.effect:.4f} (95 % interval {test.low:.4f} to {test.high:.4f}, {test.n} shared {words})"


def _beats(beaten: Sequence[Lead], found: Sequence[Lead]) -> str:
    return ", and than all others" if len(beaten) == len(found) else f", and than {_count(beaten, found)} others in all"


def _count(beaten: Sequence[Lead], found: Sequence[Lead]) -> str:
    return f"{len(beaten)} of the {len(found)}"


def _more(lead: Lead, words: str) -> str:
    """How many runs would tell."""
    if lead.test is None or "folds" in words:
        return ""
    needed = pairs_needed(lead.test.effect, lead.test.sd)
    return f" About {needed:.0f} seeds would tell." if np.isfinite(needed) and needed > lead.test.n else ""
