"""What a search may choose: the axes of a command as dimensions, and its seeds as repetitions of every trial."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cifarlab.job.configure import ConfigError
from cifarlab.result import is_replicate
from cifarlab.sweeps.exclusions import meaning
from cifarlab.sweeps.grid import Grid
from cifarlab.sweeps.intervals import Interval
from cifarlab.sweeps.names import assignment, bare

Value = str | float


@dataclass(frozen=True)
class Choice:
    """Values of a list, without an order; axes that go together are one choice.

    Attributes:
        values: what is written -> what it sets: (key, value) for each axis.
    """

    values: Mapping[str, tuple[tuple[str, str], ...]]

    def assignments(self, value: Value) -> tuple[tuple[str, str], ...]:
        return self.values[str(value)]

    def samples(self) -> list[Value]:
        """Values that together show whether all can be run."""
        return list(self.values)

    def __str__(self) -> str:
        return ", ".join(self.values)


@dataclass(frozen=True)
class Between:
    """Numbers of an interval."""

    key: str
    interval: Interval

    def assignments(self, value: Value) -> tuple[tuple[str, str], ...]:
        return ((self.key, self.interval.text(float(value))),)

    def samples(self) -> list[Value]:
        """The ends."""
        return [self.interval.low, self.interval.high]

    def __str__(self) -> str:
        interval = self.interval
        words = [f"{interval.text(interval.low)} to {interval.text(interval.high)}"]
        words += ["integers" if interval.step == 1 else f"every {interval.step}th integer"] if interval.whole else []
        return ", ".join([*words, *(["logarithmic"] if interval.log else [])])


Dimension = Choice | Between


@dataclass(frozen=True)
class Space:
    """The settings that a search may try.

    Attributes:
        fixed: (key, value) of what all cells have.
        dimensions: name (``lr``, ``lr+batch_size``) -> what may be chosen, in the order of their names, so that the
            same space is the same however it was typed.
        repetitions: the seeds of every trial: each a tuple of (key, value).
    """

    fixed: tuple[tuple[str, str], ...]
    dimensions: Mapping[str, Dimension]
    repetitions: tuple[tuple[tuple[str, str], ...], ...]

    @classmethod
    def of(cls, grid: Grid) -> Space:
        """The space that a command spans.

        Raises:
            ConfigError: there is nothing to choose, seeds are to be searched, or cells to be left out.
        """
        if grid.exclusions:
            raise ConfigError(["exclude: a search has no cells to leave out; take it away, or search=none for a grid"])
        seeds: list[tuple[tuple[tuple[str, str], ...], ...]] = []
        dimensions: dict[str, Dimension] = {}
        for step in grid.steps:
            keys = [key for key, _ in step[0]]
            ranged = grid.intervals.get(keys[0]) if len(keys) == 1 else None
            if any(is_replicate(bare(key)) for key in keys):
                if not all(is_replicate(bare(key)) for key in keys):
                    raise ConfigError([f"zip=[{','.join(map(bare, keys))}]: a seed repeats every trial of a search"])
                seeds.append(tuple(sorted(step)))
            elif ranged is not None:
                dimensions[bare(keys[0])] = Between(keys[0], ranged)
            else:
                labels = {",".join(value for _, value in values): values for values in step}
                dimensions["+".join(map(bare, keys))] = Choice(dict(sorted(labels.items(), key=_by_size)))
        for key, interval in grid.intervals.items():
            if is_replicate(bare(key)) and key not in grid.axes:
                raise ConfigError([f"{bare(key)}: every trial of a search has all seeds; list them: {bare(key)}=0,1"])
            if not is_replicate(bare(key)):
                dimensions[bare(key)] = Between(key, interval)
        if not dimensions:
            raise ConfigError(["search: nothing to choose; give an interval or a list, such as 'lr=interval(0.01,1)'"])
        repetitions = tuple(tuple(itertools.chain(*values)) for values in itertools.product(*seeds))
        return cls(tuple(grid.fixed.items()), dict(sorted(dimensions.items())), repetitions)

    def cells(self, chosen: Mapping[str, Value]) -> list[tuple[str, ...]]:
        """The overrides of a trial's cells, one a repetition.

        Args:
            chosen: dimension -> value.
        """
        set_here = [pair for name, value in chosen.items() for pair in self.dimensions[name].assignments(value)]
        return [
            tuple(assignment(key, value) for key, value in (*self.fixed, *set_here, *seeds))
            for seeds in self.repetitions
        ]

    def probes(self) -> Iterator[tuple[str, ...]]:
        """Cells with every value of a list and both ends of every interval, one dimension varied at a time."""
        samples = {name: dimension.samples() for name, dimension in self.dimensions.items()}
        first = {name: values[0] for name, values in samples.items()}
        yield self.cells(first)[0]
        for name, values in samples.items():
            for value in values[1:]:
                yield self.cells(first | {name: value})[0]

    def description(self) -> dict[str, object]:
        """The space as JSON-able data, without what is fixed."""
        described: dict[str, object] = {
            name: vars(dimension.interval) if isinstance(dimension, Between) else list(dimension.values)
            for name, dimension in self.dimensions.items()
        }
        seeds = [[f"{bare(key)}={value}" for key, value in repetition] for repetition in self.repetitions]
        return described | {"seeds": seeds}

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Key -> the values of its list, for the ledger; none for an interval."""
        found: dict[str, dict[str, None]] = {}
        for dimension in self.dimensions.values():
            if isinstance(dimension, Between):
                found[dimension.key] = {}
                continue
            for pairs in dimension.values.values():
                for key, value in pairs:
                    found.setdefault(key, {})[value] = None
        for key, value in itertools.chain(*self.repetitions):
            found.setdefault(key, {})[value] = None
        return {key: tuple(values) for key, values in found.items()}

    @property
    def scales(self) -> dict[str, str]:
        """Key of an interval -> ``log`` or ``linear``; a few integers are like a list."""
        return {
            name: "log" if dimension.interval.log else "linear"
            for name, dimension in self.dimensions.items()
            if isinstance(dimension, Between) and not dimension.interval.is_short
        }


def _by_size(choice: tuple[str, object]) -> tuple[bool, float, str]:
    """Sort key: numbers by size, then words."""
    value = meaning(choice[0])
    return (False, value, "") if isinstance(value, float) else (True, 0.0, choice[0])
