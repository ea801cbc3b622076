"""Stopping a run by its validation curve, from within its process, wherever that is: the storage is a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import optuna

from cifarlab.sweeps.searching.settings import SearchSettings
from cifarlab.sweeps.searching.study import pruner, storage


class Judge:
    """A run's watch: tells the study of every epoch, and asks its pruner whether that will do.

    Args:
        sweep: the sweep's folder, with the study.
        settings: of the search, with the trial that the run belongs to.
        epochs: of the run.
    """

    def __init__(self, sweep: Path, settings: SearchSettings, epochs: int) -> None:
        assert settings.trial is not None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        name, _, number = settings.trial.rpartition("/")
        study = optuna.load_study(
            study_name=name,
            storage=storage(sweep),
            sampler=optuna.samplers.RandomSampler(),  # nothing is proposed here
            pruner=pruner(settings, epochs),
        )
        self.objective = settings.objective
        self.trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[int(number)]._trial_id)

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        self.trial.report(metrics[self.objective], epoch + 1)
        return self.trial.should_prune()
