"""A search: trials instead of a grid, each a setting that is run with all seeds, proposed by what is known so far.

The study (`cifarlab.sweeps.searching.study`) remembers the trials, the ledger their cells. A trial's cells are cells
like others: they are skipped, claimed, continued and summed up like those of a grid. What was stopped goes on where the
study left it: trials that ended count, those that were begun or failed are run again, and new ones follow up to
``search.trials``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarlab.job.configure import TARGET, ConfigError, describe_call
from cifarlab.job.job import Job
from cifarlab.job.preflight import Planned, Refused
from cifarlab.result import digest
from cifarlab.sweeps.ledger import Cell, Ledger, locked, read_outcome
from cifarlab.sweeps.names import fitting
from cifarlab.sweeps.searching.settings import SearchSettings
from cifarlab.sweeps.searching.space import Space
from cifarlab.training.records.watching import Watch

if TYPE_CHECKING:
    from cifarlab.sweeps.searching.study import Proposal, Study

Work = tuple[Cell, Planned]
Plan = Callable[[Sequence[tuple[str, ...]]], tuple[list[Planned], list[Refused]]]
Enter = Callable[[Planned], Cell]


@dataclass
class Trial:
    """A trial that this process has taken up.

    Attributes:
        runs: what is to be run, one a seed.
        cells: of those that have a place in the ledger, by key; a seed that is never run has none.
        given: keys of the cells that were handed out here.
        failed: whether one of them failed here.
    """

    proposal: Proposal
    runs: list[Planned]
    cells: dict[str, Cell]
    given: set[str] = field(default_factory=set)
    failed: bool = False


class Search:
    """Which cells to run next, and what is to be learnt from those that have ended.

    Args:
        directory: the sweep's folder.
        space: what may be chosen.
        settings: of the search.
        study: the trials so far.
        plan: checks cells by their overrides.
        enter: gives a checked cell its place in the ledger.
        say: prints a line.
    """

    def __init__(
        self,
        directory: Path,
        space: Space,
        settings: SearchSettings,
        study: Study,
        *,
        plan: Plan,
        enter: Enter,
        say: Callable[[str], None],
    ) -> None:
        self.directory = directory
        self.space = space
        self.settings = settings
        self.study = study
        self.plan = plan
        self.enter = enter
        self.say = say
        self._open: dict[int, Trial] = {}  # by number
        self._seen: set[int] = set()
        self._begun: list[Proposal] = study.running()
        self._failed: list[int] = study.failed()
        self._handed_out = 0

    def rounds(self) -> Iterator[Iterator[Work]]:
        """Cells to run, in rounds: the next begins when all cells of one have ended, the last finds nothing to do."""
        while True:
            before = self._handed_out
            yield self._due()
            if self._handed_out == before:
                return

    def ended(self, cell: Cell, status: str) -> None:
        """Learn how a cell stands."""
        for trial in [trial for trial in self._open.values() if cell.key in trial.given]:
            trial.failed = trial.failed or status == "failed"
            self._settle(trial)

    def _due(self) -> Iterator[Work]:
        """What can be run now: first what open trials lack, then the next trial."""
        while True:
            trial, planned = next(self._ready(), (None, None))
            if trial is not None and planned is not None:
                key = planned.job.identity.key
                trial.given.add(key)
                trial.cells[key] = self.enter(planned)
                self._handed_out += 1
                yield trial.cells[key], planned
            elif not self._open_another():
                return

    def _ready(self) -> Iterator[tuple[Trial, Planned]]:
        """What open trials lack and was not handed out here, but for what waits for a judgement.

        Where there is a pruner, it judges the first seed, and the others wait for that.
        """
        for trial in self._open.values():
            left = [planned for planned in trial.runs if self._outcome(trial, planned).get("status") != "finished"]
            judged = self.settings.pruner != "none" and trial.runs[0] in left
            for planned in trial.runs[:1] if judged else left:
                if planned.job.identity.key not in trial.given and not trial.failed:
                    yield trial, planned

    def _open_another(self) -> bool:
        """Take up one more trial: one that was begun earlier, one that failed, a new one; at last those of others."""
        proposal = self._next_proposal()
        if proposal is None:
            return False
        self._seen.add(proposal.number)
        planned, refused = self.plan(self._overrides(proposal))
        if refused:
            faults = "; ".join(refused[0].faults)
            self.say(f"trial {proposal.number} left out: {' '.join(refused[0].overrides)}: {faults}")
            self._tell(lambda: self.study.prune(proposal.number, faults))
            return True
        known = Ledger.open(self.directory).cells
        cells = {key: known[key] for each in planned if (key := each.job.identity.key) in known}
        self._open[proposal.number] = trial = Trial(proposal, planned, cells)
        self._settle(trial)
        return True

    def _next_proposal(self) -> Proposal | None:
        if self._begun:
            return self._begun.pop(0)
        with locked(self.directory):
            while self._failed:
                again = self.study.again(self._failed.pop(0))
                if again is not None:
                    return again
            new = self.study.ask()
        if new is not None:
            return new
        # Other processes are at these, or were, and have died.
        return next((proposal for proposal in self.study.running() if proposal.number not in self._seen), None)

    def _overrides(self, proposal: Proposal) -> list[tuple[str, ...]]:
        """Of a trial's cells; the first is told which trial it belongs to, if there is a pruner to ask."""
        first, *others = self.space.cells(proposal.chosen)
        told = (f"++search.trial={proposal.name}",) if self.settings.pruner != "none" else ()
        return [(*first, *told), *others]

    def _settle(self, trial: Trial) -> None:
        """Tell the study of a trial that has come to an end."""
        outcomes = [self._outcome(trial, planned) for planned in trial.runs]
        statuses = [outcome.get("status") for outcome in outcomes]
        number = trial.proposal.number
        values = [outcome.get("metrics", {}).get(self.settings.objective) for outcome in outcomes]
        if "diverged" in statuses:  # as bad as a setting can be, and no failure of the program
            self._tell(lambda: self.study.prune(number, "diverged"))
        elif statuses[0] == "pruned" and f"search.trial={trial.proposal.name}" in outcomes[0]["overrides"]:
            self._tell(lambda: self.study.prune(number, outcomes[0]["error"]))
        elif set(statuses) == {"finished"} and None in values:  # as JSON has what is no finite number
            self._tell(lambda: self.study.prune(number, f"{self.settings.objective} is not finite"))
        elif set(statuses) == {"finished"}:
            self._tell(lambda: self.study.complete(number, sum(values) / len(values)))
        elif trial.failed:
            errors = [str(outcome.get("error")) for outcome in outcomes if outcome.get("status") == "failed"]
            self._tell(lambda: self.study.fail(number, "\n".join(errors)))
        else:
            return
        del self._open[number]

    def _tell(self, told: Callable[[], None]) -> None:
        with locked(self.directory):
            told()

    def _outcome(self, trial: Trial, planned: Planned) -> dict[str, Any]:
        cell = trial.cells.get(planned.job.identity.key)
        outcome = read_outcome(self.directory / cell.name) if cell is not None else {}
        return outcome if cell is not None and outcome.get("key") == cell.key else {}


def study_name(space: Space, settings: SearchSettings, job: Job) -> str:
    """``blocks+lr.3fa2b1``: another space, objective or setting of what is not searched is another study.

    Args:
        job: of the first of the space's probes.
    """
    digits = digest([space.description(), settings.objective, job.identity.group])
    return f"{fitting('+'.join(space.dimensions), digits)}.{digits[:6]}"


def open_study(directory: Path, space: Space, settings: SearchSettings, job: Job, *, make: bool) -> Study | None:
    """The study of a search.

    Args:
        job: of the first of the space's probes.
        make: begin one where there is none; else None.
    """
    from cifarlab.sweeps.searching.study import FILE, Study  # Optuna is an extra

    if not make and not (directory / FILE).is_file():
        return None
    # Two processes that both find no tables would both make them.
    with locked(directory) if make else nullcontext():
        return Study(directory, study_name(space, settings, job), settings, space, job.settings.epochs)


def watch_of(job: Job, directory: Path) -> Watch | None:
    """Who follows a run of a search in whatever process it is: its pruner, where it has one.

    Args:
        directory: of the run, in the sweep's folder.
    """
    settings: SearchSettings = describe_call(SearchSettings, job.beside.get("search") or {}, key="search")()
    if settings.trial is None or settings.pruner == "none":
        return None
    from cifarlab.sweeps.searching.pruning import Judge  # Optuna is an extra

    return Judge(directory.parent, settings, job.settings.epochs)


def refuse_what_no_search_reads(given: Mapping[str, Any], settings: SearchSettings) -> None:
    """Refuse what would be passed over.

    Args:
        given: the keys that differ from their defaults, with their values.
        settings: all of them.

    Raises:
        ConfigError: there is no search, or its sampler and its pruner do not read a key.
    """
    unread: dict[str, str] = {}
    if settings.sampler == "none":
        unread = dict.fromkeys(given, "search=none runs every cell of a grid; choose a search, such as search=tpe")
    elif settings.pruner == "none":
        unread["warmup_epochs"] = "search.pruner=none stops no run"
    if settings.sampler in ("random", "qmc") and settings.pruner != "median":
        unread["startup_trials"] = f"search={settings.sampler} begins with none"
    faults = [f"search.{key}={given[key]}: {why}" for key, why in unread.items() if key in given and key != TARGET]
    if faults:
        raise ConfigError(faults)


def check_search(settings: SearchSettings, space: Space, job: Job) -> None:
    """Refuse a search that could only fail.

    Raises:
        ConfigError: Optuna is missing, nothing is validated, or curves of different lengths are to be compared.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError([f"search={settings.sampler} needs Optuna: pip install -e '.[optuna]'"])
    if settings.trial is not None:
        raise ConfigError([f"search.trial={settings.trial}: a search sets it itself"])
    data = job.make_data()
    if "val" not in data.rule.positions(data.source.load(data.root)):
        raise ConfigError([f"search.objective={settings.objective}: there is no validation split; data.val_fraction=0"])
    if settings.pruner != "none" and "epochs" in space.dimensions:
        raise ConfigError(
            [f"search.pruner={settings.pruner}: runs of different lengths cannot be compared; do not search epochs"]
        )
