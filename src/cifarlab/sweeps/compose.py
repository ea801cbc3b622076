"""A composed Hydra config as a `Job`."""

from __future__ import annotations

from typing import cast

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from cifarlab.training.job import Job
from cifarlab.training.reopen import choices_of, typed


def read_job(config: DictConfig, hydra: DictConfig | HydraConf) -> Job:
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
    node = cast(DictConfig, hydra)  # HydraConf is but the name of its schema
    return Job.read(task, choices=choices_of(node), overrides=typed(node), allow=allow)
