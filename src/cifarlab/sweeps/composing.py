"""The configs of a sweep's cells, as Hydra composes them, but composed once for all cells that share their files."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import choices_of, typed
from cifarlab.job.explain import explain
from cifarlab.sweeps.names import bare


@dataclass(frozen=True)
class Composed:
    """The config of a cell.

    Attributes:
        config: without Hydra's own node, interpolations unresolved.
        choices: group -> chosen option.
        overrides: as they were typed.
    """

    config: DictConfig
    choices: Mapping[str, str]
    overrides: tuple[str, ...]


class Composer:
    """Composes cell after cell.

    Of overrides Hydra makes two lists: those that choose an option of a group decide which files are read and merged,
    and nothing else does; the others it sets in what comes of that, one after the other. So cells that differ in the
    latter alone share all that Hydra does before the first of them, and the rest is done by Hydra's own function on a
    copy, which takes 1 ms where the whole takes 80.

    Args:
        config: of the sweep, with Hydra's own node.
        loader: that composed it.
        swept: keys that differ from cell to cell.
    """

    def __init__(self, config: DictConfig, loader: ConfigLoader, swept: Iterable[str]) -> None:
        self._config = config
        self._loader = cast(ConfigLoaderImpl, loader)
        self._swept = frozenset(map(bare, swept))
        self._shared: dict[tuple[str, ...], Composed | ConfigError] = {}
        of_hydra = cast(list[str], OmegaConf.to_container(config.hydra.overrides.hydra))
        # Knows the groups as Hydra does, with the folders of hydra.searchpath.
        _, files = self._loader._parse_overrides_and_create_caching_repo(config.hydra.job.config_name, of_hydra)
        self._is_group = functools.cache(files.group_exists)

    def compose(self, overrides: Sequence[str]) -> Composed:
        """A cell's config.

        Raises:
            ConfigError: what Hydra has to say against it.
        """
        try:
            parsed = [_parsed(override) for override in overrides]
            later = self._set_last(parsed)
            shared = self._composed_once(tuple(each for each in overrides if each not in later))
            config = copy.deepcopy(shared.config)
            ConfigLoaderImpl._apply_overrides_to_config(list(later.values()), config)
        except (HydraException, OmegaConfBaseException):
            return self._whole(overrides)  # which has Hydra's words for what is wrong
        OmegaConf.set_struct(config, None)
        of_the_run = [str(each.input_line) for each in parsed if not each.is_hydra_override()]
        return Composed(config, shared.choices, tuple(each.lstrip("+") for each in of_the_run))

    def _set_last(self, overrides: Sequence[Override]) -> dict[str, Override]:
        """Those from the first on that is swept, as far as they are set in what the files come to."""
        found: dict[str, Override] = {}
        for each in overrides:
            if not self._is_set_in_the_config(each):
                continue
            if found or bare(each.get_key_element()) in self._swept:
                found[str(each.input_line)] = each
        return found

    def _is_set_in_the_config(self, override: Override) -> bool:
        """Whether it chooses no option of a group (Hydra's own rule), nor is about Hydra, nor a fault."""
        if override.is_hydra_override() or override.is_sweep_override() or override.package is not None:
            return False
        return isinstance(override.value(), dict) or not self._is_group(override.key_or_group)

    def _composed_once(self, overrides: tuple[str, ...]) -> Composed:
        if overrides not in self._shared:
            try:
                self._shared[overrides] = self._whole(overrides)
            except ConfigError as error:
                self._shared[overrides] = error
        found = self._shared[overrides]
        if isinstance(found, ConfigError):
            raise ConfigError(found.faults)
        return found

    def _whole(self, overrides: Sequence[str]) -> Composed:
        try:
            config = self._loader.load_sweep_config(self._config, list(overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError([explain(error)]) from None
        task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        OmegaConf.set_struct(task, True)  # as the whole is while overrides are set in it
        return Composed(task, choices_of(config.hydra), tuple(typed(config.hydra)))


@functools.cache
def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)
