"""What the kept runs answer to a question: differences over shared seeds, in words, a table and a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cifarlab.reproduction.questions import Question
from cifarlab.reproduction.rows import Entry
from cifarlab.summary.comparison import Trend, compare, trend
from cifarlab.summary.load import Sweep, read_sweep
from cifarlab.summary.statistics import FEWEST, LEVEL, describe
from cifarlab.summary.tables import column, score

if TYPE_CHECKING:
    from cifarlab.figures.differences import Differences

NET = "net"  # the knob that stands for whole commands


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A question and what its runs say.

    Attributes:
        metric: of validation, that the differences are of.
        levels: a row a value: `name n mean sd low high`, and `test test_low test_high` of the test split; spread and
            intervals are NaN where other knobs vary too.
        gains: a row a value but the one that all are held against: as `compare` gives them.
        trend: over the values, if they are three numbers or more.
    """

    question: Question
    metric: str
    levels: pd.DataFrame
    gains: pd.DataFrame
    trend: Trend | None = None

    @property
    def reference(self) -> pd.Series:
        """The row of `levels` that the others are held against."""
        return self.levels[self.levels["name"] == self.question.against].iloc[0]

    @property
    def sd(self) -> float:
        """Of a run of the reference over its seeds."""
        return float(self.reference["sd"])


def answer(question: Question, entries: Mapping[str, Entry], results: Path) -> Answer | None:
    """What the kept runs say; None where runs of its commands are missing, or fewer than FEWEST seeds are shared.

    Args:
        entries: all commands by name.
        results: the folder of the records.
    """
    folders = [results / name for name in question.commands]
    if not all(folder.is_dir() for folder in folders):
        return None
    sweep, knob = read_sweep(*folders), question.knob or NET
    if sweep.is_finished.sum() < sum(entries[name].whole for name in question.commands):
        return None  # a value of which nothing is there would not be missed
    if not isinstance(question.of, str):
        sweep = _as_wholes(sweep, question.of)
    labels = sweep.labels(knob)
    if len(labels) < 2 or question.against not in labels:
        return None
    try:
        gains = compare(sweep, knob, against=question.against)
    except ValueError:  # no two runs make a pair yet
        return None
    enough = (gains["over"] == "seeds") & (gains["pairs"] >= FEWEST)
    if len(gains) < len(labels) - 1 or not enough.all():
        return None
    return Answer(
        question=question, metric=score(sweep), levels=_levels(sweep, knob), gains=gains, trend=trend(sweep, knob)
    )


def _as_wholes(sweep: Sweep, names: Mapping[str, str]) -> Sweep:
    """The runs with the command that each is of as their one knob."""
    called = {command: name for name, command in names.items()}
    nets = sweep.runs["name"].str.partition("/")[0].map(called)
    runs = sweep.runs.assign(**{NET: nets, "group": nets})
    return replace(sweep, runs=runs, axes=(NET,), knobs=(NET,), written={NET: list(names)}, together={}, _codes={})


def _levels(sweep: Sweep, knob: str) -> pd.DataFrame:
    done = sweep.is_finished.to_numpy()
    labels, places = sweep.labels(knob), sweep.places(knob)[done]
    of = {
        prefix: describe(column(sweep, metric).to_numpy()[done], places, len(labels), (0.0, 1.0))
        for prefix, metric in (("", score(sweep)), ("test", "test/acc"))
    }
    own = {name: of[""][name] for name in ("n", "mean", "sd", "low", "high")}
    test = {"test": of["test"]["mean"], "test_low": of["test"]["low"], "test_high": of["test"]["high"]}
    table = pd.DataFrame({"name": labels, **own, **test}).astype({"n": int})
    if len(sweep.swept()) > 1:  # a spread over seeds and over settings is no spread of seeds
        table[["sd", "low", "high", "test_low", "test_high"]] = math.nan
    return table


def sentences(found: Answer) -> list[str]:
    """The paragraph: what is more than chance, by how much, and what is not told from it."""
    against, reference = found.question.against, found.reference
    named = f"{found.question.knob}={against}" if found.question.knob else against
    start = f"{named} has {found.metric} {reference['mean']:.4f}"
    spread = f", a standard deviation of {found.sd:.4f} over {reference['n']} seeds" if not math.isnan(found.sd) else ""
    clear = found.gains[found.gains["p_holm"] < 1 - LEVEL]
    rest = found.gains[~(found.gains["p_holm"] < 1 - LEVEL)]
    lines = [str(found.trend)] if found.trend else []
    lines.append(f"{start}{spread}.")
    if len(clear):
        lines.append(f"More than chance: {'; '.join(_gain(found, row) for _, row in clear.iterrows())}.")
    if len(rest):
        lines.append(f"Not told from chance: {'; '.join(_gain(found, row) for _, row in rest.iterrows())}.")
    return lines


def _gain(found: Answer, row: pd.Series) -> str:
    """`cutout +0.0210 (0.0105 to 0.0315, p = 0.012)`; where seeds alone vary also how many of their standard deviations
    that is; where chance explains it also how many seeds would tell."""
    text = f"{row['b']} {row['effect']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f}, p = {row['p_holm']:.2g}"
    if not math.isnan(found.sd) and found.sd > 0:
        text += f", {abs(row['effect']) / found.sd:.1f} standard deviations of a run"
    if not row["p_holm"] < 1 - LEVEL and math.isfinite(row["seeds_needed"]) and row["seeds_needed"] > row["pairs"]:
        text += f"; about {row['seeds_needed']:.0f} seeds would tell"
    if row["p_holm"] < 1 - LEVEL and row["alike"] < row["settings"]:  # else noise, which has no sign
        text += f"; not so in {row['settings'] - row['alike']} of {row['settings']} settings of the other knobs"
    return f"{text})"


def method(found: Answer) -> str:
    """How the differences were had, in a line."""
    pairs, settings = int(found.gains["pairs"].min()), int(found.gains["settings"].max())
    over = f" and averaged over {settings} settings of the other knobs" if settings > 1 else ""
    return f"paired over {pairs} shared seeds{over}; 95 % intervals of the paired t-test, p after Holm's correction"


def picture(found: Answer) -> Differences:
    """The gains as a figure shows them."""
    from cifarlab.figures.differences import Differences

    gains = found.gains
    return Differences(
        title=found.question.asks,
        along=f"{found.metric}, difference from {found.question.against}",
        names=[str(name) for name in gains["b"]],
        effects=gains["effect"].to_numpy(dtype=float),
        lows=gains["low"].to_numpy(dtype=float),
        highs=gains["high"].to_numpy(dtype=float),
        note=method(found),
    )
