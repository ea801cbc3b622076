"""The cells of a sweep, from what was typed: axes, their product, and names for folders."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from cifarlab.configure import ConfigError
from cifarlab.result import digest
from cifarlab.training.job import NOT_IN_KEY

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_NAME = 200  # file systems end at 255 bytes; a key's digits and the names of temporary files want some
# Overrides that say how a sweep is run or shown, not what is trained.
BESIDE_THE_KEY = {
    *NOT_IN_KEY["settings"],
    *(f"{group}.{name}" for group in ("data", "trainer") for name in NOT_IN_KEY[group]),
    "logger",
    "experiment",
}


@dataclass(frozen=True)
class Grid:
    """What was typed, taken apart.

    Attributes:
        fixed: key -> value as written, of overrides with one value.
        axes: key -> values as written, of overrides with several.
    """

    fixed: Mapping[str, str]
    axes: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, arguments: Sequence[str], config_loader: ConfigLoader | None = None) -> Grid:
        """Take Hydra overrides apart; a later one of the same key replaces an earlier one.

        Args:
            arguments: as typed.
            config_loader: knows the options of a group, for ``model=glob(resnet*)``.

        Raises:
            ConfigError: an interval, which is a range to search and not a list of values.
        """
        fixed: dict[str, str] = {}
        axes: dict[str, tuple[str, ...]] = {}
        for override in OverridesParser.create(config_loader).parse_overrides(list(arguments)):
            key = override.get_key_element()
            for earlier in [name for name in (*fixed, *axes) if bare(name) == bare(key)]:
                fixed.pop(earlier, None)
                axes.pop(earlier, None)
            if not override.is_sweep_override():
                fixed[key] = _as_typed(override.get_value_element_as_str())
            elif override.is_discrete_sweep():
                axes[key] = _values(override)
            else:
                raise ConfigError([f"{override.input_line}: a list of values is needed, such as {key}=1,2,3"])
        # One value in a list (`seed=range(1)`) is no axis.
        fixed |= {key: values[0] for key, values in axes.items() if len(values) == 1}
        return cls(fixed, {key: values for key, values in axes.items() if len(values) > 1})

    def overrides(self) -> list[tuple[str, ...]]:
        """One tuple of ``key=value`` a cell, the last axis fastest."""
        fixed = [assignment(key, value) for key, value in self.fixed.items()]
        return [
            (*fixed, *(assignment(key, value) for key, value in zip(self.axes, values, strict=True)))
            for values in itertools.product(*self.axes.values())
        ]

    def name(self, model: str, experiment: str | None) -> str:
        """``resnet``, ``resnet+epochs-1+limit-512``: what is not swept and decides the numbers."""
        first = experiment or (model if "model" not in self.axes else "models")
        counted = [
            f"{safe(key)}-{safe(value)}"
            for key, value in sorted(self.fixed.items(), key=lambda item: bare(item[0]))
            if bare(key) not in BESIDE_THE_KEY | {"model"} and not bare(key).startswith(("hydra.", "hydra/"))
        ]
        name = "+".join([safe(first), *counted])
        return fitting(name, digest(name))


def cell_name(overrides: Sequence[str], axes: Sequence[str], fallback: str) -> str:
    """``blocks-3+kernel_size-2+seed-0``: the overrides whose key is an axis, sorted."""
    parts = sorted(bare(item).partition("=")[::2] for item in overrides)
    named = [f"{safe(key)}-{safe(value)}" for key, value in parts if bare(key) in {bare(axis) for axis in axes}]
    return "+".join(named) or safe(fallback)


def fitting(name: str, digits: str) -> str:
    """The name, cut where a file system would refuse it, with six digits that tell it from others cut alike."""
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}.{digits[:6]}"


def bare(key: str) -> str:
    """A key without Hydra's ``+`` and ``~``."""
    return key.lstrip("+~")


def assignment(key: str, value: str) -> str:
    """``key=value``; a deletion (``~key``) has no value."""
    return key if key.startswith("~") and not value else f"{key}={value}"


def safe(text: str) -> str:
    """Letters, digits and ``. _ -`` only, so that a name passes through a shell, a URL and Hydra."""
    return UNSAFE.sub("_", bare(text)).strip("_") or "none"


def _values(override: Override) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_as_typed(value) for value in override.sweep_string_iterator()))


def _as_typed(value: str) -> str:
    """Hydra writes the ``true`` it has read as Python does."""
    return {"True": "true", "False": "false"}.get(value, value)
