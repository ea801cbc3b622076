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
        size: of one of its runs.
        settings: how many it has for each seed.
        seeds: how many.
    """

    entry: Entry
    size: Size
    settings: int
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """A part of a command: its first seed, or all.

    Attributes:
        count: seeds that are typed; None for those of the experiment.
        runs: how many of its runs are not done.
        seconds: they are thought to take.
        worth: of having them.
    """

    entry: Entry
    count: int | None
    runs: int
    seconds: float
    worth: float


def tasks(plans: Sequence[Plan], done: Mapping[str, int], speeds: Speeds) -> list[Task]:
    """What is not done, the most worth a second first; a row's further seeds never before its first.

    Args:
        plans: of all commands.
        done: how many finished runs there are, by the command's name.
        speeds: of this machine.
    """
    found = []
    for plan in plans:
        there = done.get(plan.entry.name, 0)
        kind = 1.0 if plan.entry.kind in ("report", "strong") else OTHER
        each = speeds.seconds(plan.size)
        first, total = plan.settings, plan.settings * plan.seeds
        parts = [(1, min(first, total), FIRST), (None, total, NEXT)] if plan.entry.seeds else [(None, total, FIRST)]
        for count, upto, worth in parts:
            if (runs := upto - there) > 0:
                seconds = START_SECONDS + runs * each
                worth *= kind * plan.entry.row.worth
                found.append(Task(entry=plan.entry, count=count, runs=runs, seconds=seconds, worth=worth))
                there = upto
    return sorted(found, key=lambda task: -task.worth / task.seconds)


def next_task(ordered: Sequence[Task], left: float, refused: frozenset[str]) -> Task | None:
    """The first that fits what is left of the budget; None where none does.

    Args:
        ordered: as `tasks` gives them.
        left: seconds.
        refused: names of commands that could not be run here.
    """
    return next((task for task in ordered if task.seconds <= left and task.entry.name not in refused), None)
