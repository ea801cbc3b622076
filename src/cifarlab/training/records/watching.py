"""Somebody outside of a run who follows its validation and may stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

# Epoch (from 0) and its metrics -> whether the run is to stop here.
Watch = Callable[[int, Mapping[str, float]], bool]


class Pruned(RuntimeError):
    """The run was stopped by its watch; it can be gone on with."""
