"""``python train.py``: one run, or with ``-m`` one cell of a sweep."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from cifarlab.configure import ConfigError
from cifarlab.result import Result
from cifarlab.sweeps.compose import read_job
from cifarlab.training.job import Job
from cifarlab.training.reopen import reopen, stored_result
from cifarlab.verbs.command_line import leave


def train(config: DictConfig) -> Result | None:
    """Hydra's task: the run that a composed config describes, in the directory Hydra made for it."""
    hydra_config = HydraConfig.get()
    directory = Path(hydra_config.runtime.output_dir)
    in_a_sweep = hydra_config.mode == RunMode.MULTIRUN
    try:
        job = read_job(config, hydra_config)
        result = run_once(job, directory, one_of_many=in_a_sweep)
        return result if in_a_sweep else finish(result)
    except ValueError as error:
        if in_a_sweep:
            raise
        _remove_if_unused(directory)
        leave(error)


def run_once(job: Job, directory: Path, one_of_many: bool = False) -> Result:
    """Run the job, go on with it where it was stopped, or give back its result where it is done.

    Raises:
        ConfigError: the directory holds a run of another configuration.
    """
    stored = stored_result(directory)
    if stored is not None and stored.key != job.identity.key:
        raise ConfigError([f"{directory} holds a run of another configuration; give another hydra.run.dir"])
    if stored is not None and stored.status == "finished":
        return stored
    return job.execute(directory, one_of_many=one_of_many)


def asks_to_resume() -> bool:
    """Whether the command line holds ``resume=RUN_DIR``."""
    return any(argument.lstrip("+").startswith("resume=") for argument in sys.argv[1:])


def resume() -> None:
    """``resume=RUN_DIR``: go on with that run's own config.

    Raises:
        ConfigError: other overrides stand beside it, or it is no run directory.
    """
    if len(sys.argv) > 2:
        raise ConfigError([f"{' '.join(sys.argv[1:])}: resume=RUN_DIR takes no other override"])
    directory = Path(sys.argv[1].partition("=")[2])
    finish(run_once(reopen(directory), directory))


def finish(result: Result) -> Result:
    """Say how a single run ended; anything but ``finished`` is exit code 1."""
    shown = "  ".join(f"{name} {value:.4f}" for name, value in sorted(result.metrics.items()) if name.endswith("acc"))
    print(f"{result.status}  {shown}  {result.seconds.get('total', 0.0):.1f} s")
    if result.status != "finished":
        print(result.error or "", file=sys.stderr)
        sys.exit(1)
    return result


def _remove_if_unused(directory: Path) -> None:
    """Hydra makes the directory before the config is checked; a refused run leaves none behind."""
    if all(item.name == ".hydra" or item.suffix == ".log" for item in directory.iterdir()):
        shutil.rmtree(directory)
