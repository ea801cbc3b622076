"""The cells of a sweep, from what was typed: axes, which of them go together, their product, and names for folders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from cifarlab.job.configure import ConfigError
from cifarlab.job.job import NOT_IN_KEY
from cifarlab.job.nodes import OF_A_SWEEP
from cifarlab.result import digest
from cifarlab.sweeps.exclusions import Exclusion, find
from cifarlab.sweeps.intervals import Interval
from cifarlab.sweeps.listing import MOST, as_typed, listed
from cifarlab.sweeps.names import assignment, bare, fitting, safe

# Overrides that say how a sweep is run or shown, not what is trained.
BESIDE_THE_KEY = {
    *(name for name in NOT_IN_KEY["settings"] if name != "continue_from"),
    *(f"{group}.{name}" for group in ("data", "trainer") for name in NOT_IN_KEY[group]),
    *OF_A_SWEEP,
    "logger",
    "experiment",
}
# Settings that decide on the cells and reach none of them.
OF_THE_GRID = ("zip", "exclude")
FOLD = "++data.fold"  # the axis that folds= is short for

Values = Mapping[str, str]  # key -> value as typed


@dataclass(frozen=True)
class Grid:
    """What was typed, taken apart.

    Attributes:
        fixed: key -> value as written, of overrides with one value.
        axes: key -> values as written, of overrides with several.
        intervals: key -> numbers to search among, of ``interval(...)`` and of a range of integers; the latter is an
            axis as well.
        own: ``zip`` and ``exclude`` as typed, if they were.
        written: key -> values of a list, those that are given more than once too.
        together: keys whose values go together, one by one.
        exclusions: what is left out of the product.
        names: of the axes that keys which go together are in tables and figures -> these keys.
    """

    fixed: Values
    axes: Mapping[str, tuple[str, ...]]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    together: tuple[tuple[str, ...], ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, arguments: Sequence[str], config_loader: ConfigLoader | None = None) -> Grid:
        """Take Hydra overrides apart; a later one of the same key replaces an earlier one.

        Args:
            arguments: as typed.
            config_loader: knows the options of a group, for ``model=glob(resnet*)``.

        Raises:
            ConfigError: an axis has no value, or ``zip`` or ``exclude`` is no list or mapping.
        """
        fixed: dict[str, str] = {}
        written: dict[str, tuple[str, ...]] = {}
        intervals: dict[str, Interval] = {}
        own: dict[str, Any] = {}
        for override in OverridesParser.create(config_loader).parse_overrides(list(arguments)):
            key = override.get_key_element()
            for values in (fixed, written, intervals):
                for earlier in [name for name in values if bare(name) == bare(key)]:
                    del values[earlier]
            if bare(key) in OF_THE_GRID:
                own[bare(key)] = _structure(override)
            elif not override.is_sweep_override():
                fixed[key] = as_typed(override.get_value_element_as_str())
            elif override.is_discrete_sweep():
                written[key] = listed(override)
            interval = Interval.read(override)
            if interval is not None:
                intervals[key] = interval
        # One value in a list (`seed=range(1)`) is no axis.
        distinct = {key: tuple(dict.fromkeys(values)) for key, values in written.items()}
        fixed |= {key: values[0] for key, values in distinct.items() if len(values) == 1}
        axes = {key: values for key, values in distinct.items() if len(values) > 1}
        return cls(fixed, axes, intervals, own, written)

    def combined(
        self,
        together: Sequence[str | Sequence[str] | Mapping[str, Sequence[str]]],
        exclude: Sequence[Mapping[str, Any]],
    ) -> Grid:
        """The grid in which axes go together and cells are left out.

        Args:
            together: keys of one group, groups of keys, and groups by the name of the axis that each is.
            exclude: mappings of keys to a value or a list of values.

        Raises:
            ConfigError: no axis or no cell is meant, or keys of a group have not equally many values.
        """
        named = {name: keys for each in together if isinstance(each, Mapping) for name, keys in each.items()}
        groups = self._groups([*named.values(), *(each for each in together if not isinstance(each, Mapping))])
        names = {self._group(keys): name for name, keys in named.items()}
        zipped = {key: tuple(dict.fromkeys(self.written[key])) for group in groups for key in group}
        axes = {key: zipped.get(key) or self.axes[key] for key in self.written if key in zipped or key in self.axes}
        fixed = {key: value for key, value in self.fixed.items() if key not in zipped}
        known = {**{key: (value,) for key, value in fixed.items()}, **axes}
        exclusions = tuple(Exclusion.read(mapping, known) for mapping in exclude)
        grid = replace(self, fixed=fixed, axes=axes, together=groups, exclusions=exclusions)
        grid = replace(grid, names={names.get(keys) or _short_names(keys): keys for keys in groups})
        grid._check_exclusions()
        return grid

    def folded(self, folds: int | None) -> Grid:
        """The grid with all folds of a cross-validation as its last axis.

        Raises:
            ConfigError: folds are given one by one too.
        """
        if folds is None:
            return self
        given = [key for key in (*self.fixed, *self.written) if bare(key) == bare(FOLD)]
        if given:
            raise ConfigError([f"folds={folds}: data.fold is given too; give one of them"])
        values = tuple(f"{fold}/{folds}" for fold in range(1, folds + 1))
        return replace(self, axes={**self.axes, FOLD: values}, written={**self.written, FOLD: values})

    def overrides(self) -> list[tuple[str, ...]]:
        """One tuple of ``key=value`` a cell, the last axis fastest.

        Raises:
            ConfigError: there are more than `MOST`.
        """
        if self.size > MOST:
            axes = " x ".join(f"{len(values):,} of {bare(key)}" for key, values in self.axes.items())
            raise ConfigError(
                [f"{self.size:,} cells ({axes}); allowed: at most {MOST:,}, or search among them: search=tpe"]
            )
        fixed = [assignment(key, value) for key, value in self.fixed.items()]
        return [(*fixed, *(assignment(key, value) for key, value in cell.items())) for cell in self._cells()]

    def samples(self) -> Iterator[tuple[str, ...]]:
        """The overrides of cells one by one, an interval at its lower end: each shows what all of them share."""
        lows = {key: self.intervals[key].text(self.intervals[key].low) for key in self.endless}
        for chosen in itertools.product(*self.steps):
            cell = {**self.fixed, **dict(itertools.chain(*chosen)), **lows}
            yield tuple(assignment(key, value) for key, value in cell.items())

    @property
    def endless(self) -> list[str]:
        """Keys of intervals that are no lists as well."""
        return [key for key in self.intervals if key not in self.axes]

    @property
    def left_out(self) -> int:
        """How many cells of the product are excluded."""
        return self.size - sum(1 for _ in self._cells()) if self.exclusions else 0

    @property
    def size(self) -> int:
        """Cells of the product, those included that are excluded."""
        return math.prod(map(len, self.steps))

    @cached_property
    def steps(self) -> tuple[tuple[tuple[tuple[str, str], ...], ...], ...]:
        """The factors of the product: for each axis, or group of axes that go together, what is set at each step."""
        group_of = {key: group for group in self.together for key in group}
        groups = dict.fromkeys(group_of.get(key, (key,)) for key in self.axes)
        columns = ([self.written[key] if key in group_of else self.axes[key] for key in group] for group in groups)
        return tuple(
            tuple(dict.fromkeys(tuple(zip(group, values, strict=True)) for values in zip(*lists, strict=True)))
            for group, lists in zip(groups, columns, strict=True)
        )

    def name(self, model: str, experiment: str | None) -> str:
        """``resnet``, ``resnet+epochs-1+limit-512``: what is not swept and decides the numbers."""
        first = experiment or (model if "model" not in self.axes else "models")
        counted = [
            f"{safe(key)}-{safe(value)}"
            for key, value in sorted(self.fixed.items(), key=lambda item: bare(item[0]))
            if bare(key) not in BESIDE_THE_KEY | {"model"} and not bare(key).startswith(("hydra.", "hydra/", "search."))
        ]
        name = "+".join([safe(first), *counted])
        return fitting(name, digest(name))

    def _cells(self) -> Iterator[Values]:
        for chosen in itertools.product(*self.steps):
            cell = dict(itertools.chain(*chosen))
            if not any(exclusion.fits({**self.fixed, **cell}) for exclusion in self.exclusions):
                yield cell

    def _groups(self, together: Sequence[str | Sequence[str]]) -> tuple[tuple[str, ...], ...]:
        """The groups of ``zip``; keys beside lists of keys are one more group."""
        several = [group for group in together if not isinstance(group, str)]
        loose = [key for key in together if isinstance(key, str)]
        groups = tuple(keys for group in (*several, loose) if (keys := self._group(group)))
        named = [bare(key) for group in groups for key in group]
        repeated = sorted({key for key in named if named.count(key) > 1})
        if repeated:
            raise ConfigError([f"zip: {', '.join(repeated)} stands in it more than once"])
        return groups

    def _group(self, names: Sequence[str]) -> tuple[str, ...]:
        """The keys of a group of ``zip`` that go together; one with a single value has it in every cell."""
        shown = f"zip=[{','.join(names)}]" + ("" if "zip" in self.own else " (zip=[] does without it)")
        keys: dict[str, int] = {}
        for name in names:
            key = find(name, [*self.fixed, *self.written, *self.intervals])
            if key is None or (key in self.intervals and key not in self.written):
                axes = ", ".join(map(bare, self.axes)) or "none"
                what = "is an interval, only lists can go together" if key else "is no axis"
                raise ConfigError([f"{shown}: {name} {what}; axes: {axes}"])
            if key in self.written:
                keys[key] = len(self.written[key])
        if len(set(keys.values())) > 1:
            counts = ", ".join(f"{bare(key)} has {count}" for key, count in keys.items())
            raise ConfigError([f"{shown}: axes that go together need equally many values; {counts}"])
        return tuple(keys) if len(keys) > 1 and max(keys.values()) > 1 else ()

    def _check_exclusions(self) -> None:
        if not self.exclusions or self.size > MOST:  # of a search, whose space nobody counts through
            return
        without = "" if "exclude" in self.own else " (exclude=[] does without it)"
        cells = [{**self.fixed, **dict(itertools.chain(*chosen))} for chosen in itertools.product(*self.steps)]
        for exclusion in self.exclusions:
            if not any(exclusion.fits(cell) for cell in cells):
                raise ConfigError([f"{exclusion.written}: no cell has all of these values{without}"])
        if self.left_out == len(cells):
            raise ConfigError([f"exclude: leaves none of {len(cells)} cells"])


def cell_name(overrides: Sequence[str], axes: Sequence[str], fallback: str) -> str:
    """``blocks-3+kernel_size-2+seed-0``: the overrides whose key is an axis, sorted."""
    parts = sorted(bare(item).partition("=")[::2] for item in overrides)
    named = [f"{safe(key)}-{safe(value)}" for key, value in parts if bare(key) in {bare(axis) for axis in axes}]
    return "+".join(named) or safe(fallback)


def _short_names(keys: Sequence[str]) -> str:
    """``lr+batch_size``"""
    return "+".join(bare(key).rpartition(".")[2] for key in keys)


def _structure(override: Override) -> Any:
    """The list or mapping of an override."""
    if override.is_sweep_override():
        raise ConfigError([f"{bare(override.input_line or '')}: brackets are needed, such as zip=[lr,batch_size]"])
    value = override.value()
    if isinstance(value, str):
        raise ConfigError(
            [
                f"{bare(override.get_key_element())}={value}: a list or a mapping is needed; the shell takes braces "
                "apart that do not stand in quotation marks: 'exclude={blocks:5,kernel_size:5}'"
            ]
        )
    return value
