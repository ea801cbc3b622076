"""How a sweep searches beyond a grid."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le

from cifarlab.job.settings import Seed

Sampler = Literal["none", "tpe", "gp", "random", "qmc"]
Pruner = Literal["none", "median", "hyperband"]


class SearchSettings:
    """What a search is told; `cifarlab.sweeps.searching.search` has what is done with it.

    Args:
        sampler: who proposes the next trial; none runs all cells of a grid.
        trials: settings to try in all, those of earlier starts counted.
        objective: of the epoch whose weights were chosen, the mean over a trial's seeds; the test split has no say.
        seed: of the proposals.
        startup_trials: trials at the beginning that are drawn at random, and that the median spares.
        pruner: who stops a trial by the validation curve of its first seed.
        warmup_epochs: epochs of a run before it may be stopped.
        trial: set by a search for the runs that its pruner judges: ``STUDY/NUMBER``.
    """

    def __init__(
        self,
        *,
        sampler: Sampler = "none",
        trials: Annotated[int, Ge(1), Le(100_000)] = 20,
        objective: Literal["val/acc", "val/loss"] = "val/acc",
        seed: Seed = 0,
        startup_trials: Annotated[int, Ge(0)] = 10,
        pruner: Pruner = "none",
        warmup_epochs: Annotated[int, Ge(0)] = 1,
        trial: str | None = None,
    ) -> None:
        self.sampler = sampler
        self.trials = trials
        self.objective = objective
        self.seed = seed
        self.startup_trials = startup_trials
        self.pruner = pruner
        self.warmup_epochs = warmup_epochs
        self.trial = trial
