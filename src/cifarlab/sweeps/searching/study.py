"""A search's memory: an Optuna study in ``study.db`` of the sweep's folder, which several processes may share."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from cifarlab.sweeps.searching.settings import SearchSettings
from cifarlab.sweeps.searching.space import Choice, Dimension, Space, Value

FILE = "study.db"
PATIENCE = 60.0  # seconds to wait for another process that writes to the file
WHY = "why"  # of a trial without a value: what became of it
DIVERGED = "diverged"
AGAIN = "again"  # of a trial: the number of the failed one whose values it tries once more
BEGUN = (TrialState.RUNNING, TrialState.WAITING)
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Proposal:
    """A trial.

    Attributes:
        number: from 0.
        name: ``STUDY/NUMBER``.
        chosen: dimension -> value.
    """

    number: int
    name: str
    chosen: Mapping[str, Value]


class Study:
    """The trials of one space with one objective, most by one sampler, but that may change.

    Args:
        directory: the sweep's folder.
        name: of the study; another space or objective is another study.
        settings: of the search.
        space: what may be chosen.
        epochs: of each run, which Hyperband divides.
    """

    def __init__(self, directory: Path, name: str, settings: SearchSettings, space: Space, epochs: int) -> None:
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.settings = settings
        self.distributions = {name: distribution(dimension) for name, dimension in space.dimensions.items()}
        self._study = optuna.create_study(
            study_name=name,
            storage=storage(directory),
            direction="maximize" if settings.objective == "val/acc" else "minimize",
            pruner=pruner(settings, epochs),
            load_if_exists=True,
        )
        self._study.set_metric_names([settings.objective])

    @property
    def ended(self) -> int:
        """How many trials have a value, or are known to be worse than those."""
        return sum(trial.state in COUNTED for trial in self._trials())

    @property
    def diverged(self) -> bool:
        """Whether a trial has, here or in an earlier start."""
        return any(trial.user_attrs.get(WHY) == DIVERGED for trial in self._trials())

    def ask(self) -> Proposal | None:
        """A new trial, None if there are enough. Hold the ledger's lock, so that no two processes ask at once."""
        trials = self._trials()
        taken = sum(trial.state in (*COUNTED, *BEGUN) for trial in trials) + len(self._failed(trials))
        if taken >= self.settings.trials:
            return None
        # Drawn anew from seed and number, proposals do not depend on how often the search was stopped.
        self._study.sampler = sampler(self.settings, len(trials))
        return self._proposal(self._study.ask(self.distributions).number)

    def again(self, number: int) -> Proposal | None:
        """A failed trial's values once more; None if that is done already. Hold the ledger's lock."""
        trials = self._trials()
        failed = {trial.number: trial for trial in self._failed(trials)}
        if number not in failed:
            return None
        self._study.enqueue_trial(failed[number].params, user_attrs={AGAIN: number})
        return self._proposal(self._study.ask(self.distributions).number)

    def failed(self) -> list[int]:
        """Numbers of the trials that failed and were not tried again."""
        return [trial.number for trial in self._failed(self._trials())]

    def running(self) -> list[Proposal]:
        """The trials that were begun and have not ended, here or in another process, or in one that has died."""
        return [self._read(trial) for trial in self._trials() if trial.state == TrialState.RUNNING]

    def complete(self, number: int, value: float) -> None:
        """A trial has its value."""
        self._study.tell(number, value, skip_if_finished=True)

    def prune(self, number: int, why: str) -> None:
        """A trial is known to be worse than those that are complete."""
        self._note(number, why)
        self._study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def fail(self, number: int, why: str) -> None:
        """A trial could not be run to its end; the next start of the search tries it again."""
        self._note(number, why)
        self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _note(self, number: int, why: str) -> None:
        trial = self._trials()[number]
        if not trial.state.is_finished():
            self._study._storage.set_trial_user_attr(trial._trial_id, WHY, why)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _failed(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        again = {trial.user_attrs.get(AGAIN) for trial in trials}
        return [trial for trial in trials if trial.state == TrialState.FAIL and trial.number not in again]

    def _proposal(self, number: int) -> Proposal:
        return self._read(self._trials()[number])

    def _read(self, trial: FrozenTrial) -> Proposal:
        return Proposal(trial.number, f"{self._study.study_name}/{trial.number}", dict(trial.params))


def storage(directory: Path) -> optuna.storages.RDBStorage:
    """The file of a sweep's folder; made if need be."""
    return optuna.storages.RDBStorage(
        f"sqlite:///{(directory / FILE).absolute()}", engine_kwargs={"connect_args": {"timeout": PATIENCE}}
    )


def distribution(dimension: Dimension) -> BaseDistribution:
    """A dimension in Optuna's terms."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(list(dimension.values))
    interval = dimension.interval
    if interval.whole:
        return IntDistribution(int(interval.low), int(interval.high), log=interval.log, step=interval.step)
    return FloatDistribution(interval.low, interval.high, log=interval.log)


def sampler(settings: SearchSettings, number: int) -> optuna.samplers.BaseSampler:
    """The sampler that proposes a trial of this number."""
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    random = optuna.samplers.RandomSampler(seed)
    if settings.sampler == "tpe":
        # Trials that run elsewhere count as bad ones (constant liar), lest all processes try the same.
        return optuna.samplers.TPESampler(
            n_startup_trials=settings.startup_trials, multivariate=True, constant_liar=True, seed=seed
        )
    if settings.sampler == "gp":
        return optuna.samplers.GPSampler(
            n_startup_trials=settings.startup_trials, independent_sampler=random, seed=seed
        )
    if settings.sampler == "qmc":
        # One sequence for the whole study: the storage knows how far it is.
        return optuna.samplers.QMCSampler(
            scramble=True, seed=settings.seed, independent_sampler=random, warn_independent_sampling=False
        )
    return random


def pruner(settings: SearchSettings, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner of a search, whose steps are epochs that have been trained."""
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(settings.startup_trials, n_warmup_steps=settings.warmup_epochs + 1)
    if settings.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=settings.warmup_epochs + 1, max_resource=epochs)
    return optuna.pruners.NopPruner()
