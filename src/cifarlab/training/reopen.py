"""Opening a run directory again: its config, its result, its net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cifarlab.configure import ConfigError
from cifarlab.result import FILE, Result
from cifarlab.training.job import Job


def reopen(directory: Path, *, allow: Sequence[str] = ()) -> Job:
    """The job of a run directory, from its own ``.hydra/``.

    Args:
        directory: of a single run or of a cell of a sweep.
        allow: import paths outside this package that its config may name. What the directory says of itself does not
            count: it may come from somebody else.

    Raises:
        ConfigError: it is no run directory, or its config cannot be run by this version.
    """
    config_file = directory / ".hydra" / "config.yaml"
    if not config_file.is_file():
        raise ConfigError([f"{directory}: not a run directory (it has no .hydra/config.yaml)"])
    config = OmegaConf.load(config_file)
    if not isinstance(config, DictConfig):
        raise ConfigError([f"{config_file}: a mapping is needed"])
    hydra_file = config_file.with_name("hydra.yaml")
    if not hydra_file.is_file():
        return Job.read(config, allow=allow)
    hydra = OmegaConf.load(hydra_file).hydra
    return Job.read(config, choices=choices_of(hydra), overrides=typed(hydra), allow=allow)


def stored_result(directory: Path) -> Result | None:
    """The result of a run directory, None where there is none.

    Raises:
        ValueError: it is damaged.
    """
    return Result.read(directory) if (directory / FILE).is_file() else None


def choices_of(hydra: DictConfig) -> dict[str, str]:
    """Group -> chosen option, of the project's own groups; several options of a group are joined by ``+``."""
    chosen: dict[str, str] = {}
    for group, choice in hydra.runtime.choices.items():
        if choice is None or "/" in str(group):
            continue
        options = [choice] if isinstance(choice, str) else list(choice)
        chosen[str(group)] = "+".join(str(option) for option in options)
    return chosen


def typed(hydra: DictConfig) -> list[str]:
    """The overrides a run was started with, as they were typed."""
    return [str(override).lstrip("+") for override in hydra.overrides.task]
