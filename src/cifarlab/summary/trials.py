"""A search read back: its settings in the order in which they were tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cifarlab.figures.search import Knob
from cifarlab.summary.load import Sweep
from cifarlab.summary.tables import column, score, settings_in_words


@dataclass(frozen=True)
class Trials:
    """What each trial came to.

    Attributes:
        metric: what was sought. lower_is_better: as of a loss.
        scores: (N,) mean over the finished runs of a setting; of a pruned one how far it came; NaN if it diverged.
        finished: (N,) bool, whether a run of it finished.
        names: (N,) the settings in words.
        knobs: axis -> what each trial had there.
    """

    metric: str
    lower_is_better: bool
    scores: np.ndarray
    finished: np.ndarray
    names: list[str]
    knobs: Mapping[str, Knob]

    @property
    def best(self) -> np.ndarray:
        """(N,) the best score of a finished trial so far, NaN before there is one."""
        worst = np.inf if self.lower_is_better else -np.inf
        known = np.where(self.finished & np.isfinite(self.scores), self.scores, worst)
        best = (np.minimum if self.lower_is_better else np.maximum).accumulate(known)
        return np.where(np.isfinite(best), best, np.nan)


def trials(sweep: Sweep) -> Trials:
    """The trials of a search, or the settings of any sweep, those first that were planned first."""
    metric = sweep.objective or score(sweep)
    runs = sweep.runs
    frame = pd.DataFrame({"score": column(sweep, metric), "done": runs["status"] == "finished", "group": runs["group"]})
    tried = runs["status"].isin(["finished", "pruned", "diverged"])
    groups = frame[tried].groupby("group", sort=False)
    finished = groups["done"].any()
    # A setting with a finished run is judged by those that finished.
    means = frame[tried & (frame["done"] | ~frame["group"].map(finished).fillna(False).astype(bool))]
    scores = means.groupby("group", sort=False)["score"].mean().reindex(finished.index)
    first = {group: places[0] for group, places in groups.indices.items()}
    rows = [runs.index[tried][first[group]] for group in finished.index]
    return Trials(
        metric=metric,
        lower_is_better=metric.endswith("loss"),
        scores=scores.to_numpy(dtype=float),
        finished=finished.to_numpy(dtype=bool),
        names=settings_in_words(sweep).loc[rows].tolist(),
        knobs={axis: _knob(sweep, axis, rows) for axis in sweep.swept()},
    )


def _knob(sweep: Sweep, axis: str, rows: list[int]) -> Knob:
    scale = sweep.scales.get(axis)
    if scale is not None:
        return Knob(pd.to_numeric(sweep.runs.loc[rows, axis], errors="coerce").to_numpy(dtype=float), scale=scale)
    places = pd.Series(sweep.places(axis), index=sweep.runs.index).loc[rows].to_numpy(dtype=float)
    return Knob(np.where(places >= 0, places, np.nan), values=tuple(sweep.labels(axis)))
