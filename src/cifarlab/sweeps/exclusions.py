"""Cells that a grid leaves out, by the values they have."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from cifarlab.job.configure import ConfigError
from cifarlab.sweeps.names import bare


@dataclass(frozen=True)
class Exclusion:
    """One mapping of ``exclude``: a cell is left out that has one of the values at every key.

    Attributes:
        written: as one would type it, for messages.
        values: key of the grid -> those of its values, as typed, that are meant.
    """

    written: str
    values: Mapping[str, frozenset[str]]

    @classmethod
    def read(cls, given: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> Exclusion:
        """Find a mapping's keys and values among those of a grid.

        Args:
            given: key -> a value or a list of values; ``5`` is ``'5'`` and ``0.1`` is ``1e-1``.
            known: key of the grid -> its values as typed.

        Raises:
            ConfigError: the grid has no such key, or no such value at it.
        """
        written = f"exclude={{{','.join(f'{key}:{_shown(value)}' for key, value in given.items())}}}"
        if not given:
            raise ConfigError([f"{written}: names no key; there are {', '.join(map(bare, known))}"])
        values: dict[str, frozenset[str]] = {}
        for name, wanted in given.items():
            key = find(str(name), known)
            if key is None:
                raise ConfigError([f"{written}: the sweep sets no {name}; there are {', '.join(map(bare, known))}"])
            meant = _meanings(wanted)
            values[key] = frozenset(text for text in known[key] if meaning(text) in meant)
            if not values[key]:
                raise ConfigError(
                    [f"{written}: no cell has {name}={_shown(wanted)}; there are {name}={','.join(known[key])}"]
                )
        return cls(written, values)

    def fits(self, cell: Mapping[str, str]) -> bool:
        """Whether the cell (key -> value as typed) is left out."""
        return all(cell[key] in texts for key, texts in self.values.items())


def find(name: str, keys: Iterable[str]) -> str | None:
    """The one of the keys that a name means: the same but for Hydra's ``+``, else ``model.kernel_size`` by its last
    part."""
    known = list(keys)
    same = [key for key in known if bare(key) == bare(name)]
    short = [key for key in known if bare(key).rpartition(".")[2] == bare(name).rpartition(".")[2]]
    return same[0] if same else short[0] if len(short) == 1 else None


def meaning(value: Any) -> Hashable:
    """What a value comes to, however it is written: ``5``, ``5.0``, ``'5'`` are equal, ``1`` and ``true`` are not."""
    if isinstance(value, str):
        value = _parsed(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), meaning(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(meaning(item) for item in value)
    return str(value)


def _meanings(wanted: Any) -> set[Hashable]:
    """A list stands for each of its values, and for itself where the axis holds lists."""
    several = [meaning(item) for item in wanted] if isinstance(wanted, (list, tuple)) else []
    return {meaning(wanted), *several}


def _parsed(text: str) -> Any:
    """Text as Hydra's grammar reads a value; as it is where it cannot."""
    try:
        override = OverridesParser.create().parse_override(f"key={text}")
    except HydraException:
        return text
    value = text if override.is_sweep_override() else override.value()
    # '5' in quotation marks is the text 5, and as a value of an axis no other than the number.
    return _parsed(value) if isinstance(value, str) and value != text else value


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_shown, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
