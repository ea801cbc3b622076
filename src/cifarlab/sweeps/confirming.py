"""The best setting once more, with seeds that the sweep has not used: what its choice has not flattered."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from cifarlab.job.directory import reopen
from cifarlab.job.job import SEEDS, Job
from cifarlab.result import is_replicate
from cifarlab.sweeps.ledger import Ledger

MOST_SEEDS = 2**32


@dataclass(frozen=True)
class Again:
    """A setting that is to be trained again.

    Attributes:
        group: of the setting.
        job: of one of its runs, as its folder has it.
        seeds: to train it with; those of runs that are there already come first.
    """

    group: str
    job: Job
    seeds: tuple[int, ...]

    def runs(self, ledger: Ledger) -> list[Job]:
        """A job a seed: the same but for its seeds and, where the sweep goes over folds or splits, these."""
        swept = {key.removeprefix("data.") for key in ledger.axes if key.startswith("data.") and is_replicate(key)}
        return [_with_seed(self.job, seed, swept) for seed in self.seeds]


def best_again(directory: Path, ledger: Ledger, count: int, allow: Sequence[str]) -> list[Again]:
    """The best setting by mean validation accuracy, of each data set where there are several.

    Args:
        directory: the sweep's folder.
        ledger: of it.
        count: how many seeds.
        allow: import paths that a config may name.
    """
    from cifarlab.summary.load import read_sweep  # and with it pandas and matplotlib
    from cifarlab.summary.tables import cells_table, ranked

    found = []
    for part in read_sweep(directory).by_data():
        best = ranked(cells_table(part)).iloc[0]
        if not math.isfinite(best["val/acc_mean"]):
            continue
        runs = part.runs[(part.runs["group"] == best["group"]) & part.is_finished]
        before = [cell.seed for cell in ledger.cells.values() if cell.confirms == best["group"]]
        there = [seed for seed in before if seed is not None][:count]
        new = itertools.islice(unused_seeds(ledger), count - len(there))
        job = reopen(directory / runs["name"].iloc[0], allow=allow)
        found.append(Again(group=str(best["group"]), job=job, seeds=(*there, *new)))
    return found


def unused_seeds(ledger: Ledger) -> Iterator[int]:
    """Seeds that no run of the sweep had, as any of its seeds: those above them, then those below."""
    used: set[int] = set()
    for cell in ledger.cells.values():
        pairs = [override.partition("=")[::2] for override in cell.overrides]
        used |= {int(value) for key, value in pairs if key in SEEDS and value.isdigit()}
        used |= {cell.seed} if cell.seed is not None else set()
    first = max(used, default=-1) + 1
    return itertools.chain(range(first, MOST_SEEDS), (seed for seed in range(first) if seed not in used))


def _with_seed(job: Job, seed: int, swept: set[str]) -> Job:
    config = {**job.config, **dict.fromkeys(SEEDS), "seed": seed}
    config["data"] = {name: value for name, value in config["data"].items() if name not in swept}
    typed = [override for override in job.overrides if not is_replicate(override.partition("=")[0])]
    return Job.read(
        OmegaConf.create(config),
        choices=job.choices,
        overrides=[*typed, f"seed={seed}"],
        allow=job.settings.allow,
    )
