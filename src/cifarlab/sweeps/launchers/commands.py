"""A cell of a sweep as the command line of a single run."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cifarlab.job.preflight import Planned
from cifarlab.sweeps.launchers.launching import CellRun
from cifarlab.sweeps.ledger import Cell
from cifarlab.sweeps.names import bare

# Of Hydra's own overrides those that say how the sweep is run; a cell is no sweep.
OF_THE_SWEEP = ("hydra.mode", "hydra.sweep", "hydra/sweeper", "hydra/launcher", "hydra.launcher", "hydra.run.dir")


def cell_run(sweep: Path, cell: Cell, planned: Planned, config: DictConfig) -> CellRun:
    """A planned cell with all that a process of its own needs.

    Args:
        sweep: the sweep's folder.
        cell: as the ledger has it.
        planned: as preflight has found it.
        config: the sweep's, with Hydra's own node.
    """
    job = planned.job
    trainer = job.parts["trainer"].arguments
    sweep = sweep.absolute()
    return CellRun(
        sweep=sweep,
        name=cell.name,
        identity=job.identity,
        argv=(
            *_command(config),
            *planned.overrides,
            *(["++checkpoints=best"] if job.settings.checkpoints == "auto" else []),
            "++trainer.progress_bar=false",
            "hydra.mode=RUN",
            f"hydra.run.dir={sweep / cell.name}",  # quoted for Hydra by the script, as paths are
        ),
        cwd=Path.cwd(),
        overrides=planned.overrides,
        devices=trainer["devices"],
        accelerator=trainer["accelerator"],
    )


def _command(config: DictConfig) -> list[str]:
    """The script, where its configs are, and what was said to Hydra itself."""
    hydra = config.hydra
    command = [str(Path(sys.argv[0]).absolute()), "--config-name", str(hydra.job.config_name)]
    options = {"main": "--config-path", "command-line": "--config-dir"}
    for source in hydra.runtime.config_sources:
        if source.provider in options:
            command += [options[source.provider], source.path]
    own = OmegaConf.to_container(hydra.overrides.hydra)
    assert isinstance(own, list)
    return [*command, *(str(each) for each in own if not bare(str(each)).startswith(OF_THE_SWEEP))]
