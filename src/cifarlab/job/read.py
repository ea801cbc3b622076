"""A composed Hydra config as a `Job`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from cifarlab.job.continuing import continued
from cifarlab.job.directory import choices_of, typed
from cifarlab.job.job import Job


def read_job(config: DictConfig, hydra: DictConfig) -> Job:
    """Check a composed config.

    Args:
        config: as composed; Hydra's own node in it is passed over.
        hydra: Hydra's own node.

    Raises:
        ConfigError: every fault at once.
    """
    task = (
        OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]) if "hydra" in config else config
    )
    return read_task(task, choices_of(hydra), typed(hydra))


def read_task(task: DictConfig, choices: Mapping[str, str], overrides: Sequence[str]) -> Job:
    """Check a composed config in which there is no node of Hydra's.

    Args:
        task: as composed.
        choices: group -> chosen option.
        overrides: as they were typed.

    Raises:
        ConfigError: every fault at once.
    """
    allow = [str(path) for path in task.get("allow") or ()]
    read = continued if task.get("continue_from") is not None else Job.read
    return read(task, choices=choices, overrides=overrides, allow=allow)
