"""The keys at the top of a configuration that a sweep reads, and no run."""

from __future__ import annotations

from typing import Any


class SweepSettings:
    """What a sweep is told besides its axes.

    Args:
        sweep: name of the sweep's folder; null names it by what is not swept.
        plan: print the cells of a sweep and stop.
        fresh: set the sweep's old folder aside and start over.
        skip_invalid: leave out the cells of a sweep that cannot be run.
        zip: axes of a sweep whose values go together, one by one: keys, or lists of keys.
        exclude: cells that a sweep leaves out, by their values; a list at a key means any of its values.
    """

    def __init__(
        self,
        *,
        sweep: str | None = None,
        plan: bool = False,
        fresh: bool = False,
        skip_invalid: bool = False,
        zip: tuple[str | tuple[str, ...], ...] = (),
        exclude: tuple[dict[str, Any], ...] = (),
    ) -> None:
        self.sweep = sweep
        self.plan = plan
        self.fresh = fresh
        self.skip_invalid = skip_invalid
        self.zip = zip
        self.exclude = exclude
