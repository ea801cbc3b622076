"""The keys at the top of a configuration that a sweep reads, and no run."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge, Le


class SweepSettings:
    """What a sweep is told besides its axes.

    Args:
        sweep: name of the sweep's folder; null names it by what is not swept.
        plan: print the cells of a sweep and stop.
        fresh: set the sweep's old folder aside and start over.
        skip_invalid: leave out the cells of a sweep that cannot be run.
        folds: cross-validation: short for an axis of ``data.fold`` with all of so many folds, which repeat each setting
            as seeds do.
        confirm: seeds with which the best setting is trained again at the end, none of which the sweep has used: the
            test accuracy of these runs is not flattered by the choice.
        zip: axes of a sweep whose values go together, one by one: keys, lists of keys, or mappings of the name that
            such a group has as one axis of tables and figures to its keys.
        exclude: cells that a sweep leaves out, by their values; a list at a key means any of its values.
    """

    def __init__(
        self,
        *,
        sweep: str | None = None,
        plan: bool = False,
        fresh: bool = False,
        skip_invalid: bool = False,
        folds: Annotated[int, Ge(2), Le(1000)] | None = None,
        confirm: Annotated[int, Ge(0), Le(1000)] = 0,
        zip: tuple[str | tuple[str, ...] | dict[str, tuple[str, ...]], ...] = (),
        exclude: tuple[dict[str, Any], ...] = (),
    ) -> None:
        self.sweep = sweep
        self.plan = plan
        self.fresh = fresh
        self.skip_invalid = skip_invalid
        self.folds = folds
        self.confirm = confirm
        self.zip = zip
        self.exclude = exclude
