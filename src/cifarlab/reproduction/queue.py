"""What is to be run next: the commands in the order of what they are worth a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cifarlab.reproduction.cost import START_SECONDS, Size, Speeds
from cifarlab.reproduction.rows import Entry

FIRST, NEXT = 1.0, 0.3  # worth of runs that fill an empty row, and of those that give it an interval
OTHER = 0.7  # of what is neither the report's protocol nor today's recipe


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a command comes to.

    Attributes:
        sizes: of its runs; of a grid's first and last, which the others mostly lie between.
        settings: how many it has for each seed; where the experiment has its own seeds, runs in all.
    """

    entry: Entry
    sizes: tuple[Size, ...]
    settings: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """A part of a command: its first seed, or all.

    Attributes:
        seeds: that are typed; none where the experiment has its own.
        runs: how many of its runs are not done.
        seconds: they are thought to take.
        worth: of having them.
    """

    entry: Entry
    seeds: tuple[int, ...]
    runs: int
    seconds: float
    worth: float


def tasks(plans: Sequence[Plan], done: Mapping[str, Mapping[int, int]], speeds: Speeds) -> list[Task]:
    """What is not done, the most worth a second first; a row's further seeds never before its first.

    Args:
        plans: of all commands.
        done: how many finished runs there are, by the command's name and the seed.
        speeds: of this machine.
    """
    found = []
    for plan in plans:
        there = done.get(plan.entry.name, {})
        worth = plan.entry.row.worth * (1.0 if plan.entry.kind in ("report", "strong") else OTHER)
        missing = {seed: plan.settings - there.get(seed, 0) for seed in plan.entry.seeds}
        undone = tuple(seed for seed, runs in missing.items() if runs > 0)
        parts: list[tuple[tuple[int, ...], int, float]]
        if not plan.entry.seeds:
            parts = [((), plan.settings - sum(there.values()), FIRST)]
        elif len(undone) == len(plan.entry.seeds):
            first, *further = undone
            parts = [((first,), missing[first], FIRST), (tuple(further), sum(missing[seed] for seed in further), NEXT)]
        else:
            parts = [(undone, sum(missing[seed] for seed in undone), NEXT)]
        for seeds, runs, factor in parts:
            if runs > 0:
                seconds = START_SECONDS + runs * speeds.of(plan.entry.name, plan.sizes)
                found.append(Task(entry=plan.entry, seeds=seeds, runs=runs, seconds=seconds, worth=worth * factor))
    return sorted(found, key=lambda task: -task.worth / task.seconds)


def next_task(ordered: Sequence[Task], left: float, refused: frozenset[str]) -> Task | None:
    """The first that fits what is left of the budget; None where none does.

    Args:
        ordered: as `tasks` gives them.
        left: seconds.
        refused: names of commands that could not be run here.
    """
    return next((task for task in ordered if task.seconds <= left and task.entry.name not in refused), None)
