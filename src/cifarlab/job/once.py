"""Work that many cells of a sweep ask for, done once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, TypeVar

Found = TypeVar("Found")


class Once:
    """Remembers what was found by name; what failed once fails again, in the same words and at once."""

    def __init__(self) -> None:
        self._found: dict[Hashable, Any] = {}
        self._failed: dict[Hashable, tuple[Exception, TracebackType | None]] = {}

    def __call__(self, name: Hashable, find: Callable[[], Found]) -> Found:
        """What `find` gave when this name was first asked for.

        Raises:
            Exception: what `find` raised then, with its traceback.
        """
        if name in self._failed:
            error, place = self._failed[name]
            raise error.with_traceback(place)
        if name not in self._found:
            try:
                self._found[name] = find()
            except Exception as error:
                self._failed[name] = error, error.__traceback__
                raise
        found: Found = self._found[name]
        return found
