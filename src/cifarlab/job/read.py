"""A composed Hydra config as a `Job`."""

from __future__ import annotations

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
    allow = [str(path) for path in config.get("allow") or ()]
    read = continued if config.get("continue_from") is not None else Job.read
    return read(task, choices=choices_of(hydra), overrides=typed(hydra), allow=allow)
