"""``python train.py``: one run, or with ``-m`` one cell of a sweep."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import cast

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cifarlab.job.configure import ConfigError
from cifarlab.job.job import Job
from cifarlab.job.preflight import preflight
from cifarlab.job.read import read_job
from cifarlab.job.reopen import is_run_directory, reopen, stored_result
from cifarlab.result import Result, write_text
from cifarlab.sweeps.ledger import LEDGER
from cifarlab.sweeps.searching.search import watch_of
from cifarlab.verbs.command_line import OUTPUTS, leave


def train(config: DictConfig) -> Result | None:
    """Hydra's task: the run that a composed config describes, in the directory Hydra made for it."""
    hydra_config = HydraConfig.get()
    directory = Path(hydra_config.runtime.output_dir)
    in_a_sweep = hydra_config.mode == RunMode.MULTIRUN
    try:
        job = read_job(config, cast(DictConfig, HydraConfig.get()))
        if not in_a_sweep and not (directory.parent / LEDGER).is_file():  # a cell may have a process of its own
            refuse_what_a_sweep_does(job)
        done = finished_before(job, directory)
        if done is None and not in_a_sweep:  # which has looked at all its cells before the first
            check(job)
    except ValueError as error:
        if in_a_sweep:
            raise
        _remove_if_unused(directory)
        leave(error)
    if done is None:
        _write_config(directory, config, hydra_config)
        done = job.execute(directory, one_of_many=in_a_sweep, watch=watch_of(job, directory))
    return done if in_a_sweep else finish(done)


def refuse_what_a_sweep_does(job: Job) -> None:
    """A single run would pass over what was asked for.

    Raises:
        ConfigError: there is ``zip``, ``exclude`` or a search.
    """
    asked = [key for key, value in (("zip", job.settings.zip), ("exclude", job.settings.exclude)) if value]
    asked += ["search"] if job.parts["search"].arguments["sampler"] != "none" else []
    if asked:
        raise ConfigError([f"{key}: this is a single run; add -m for a sweep" for key in asked])


def check(job: Job) -> None:
    """Build on the meta device what can be built before anything is trained.

    Raises:
        ConfigError: it cannot be run.
    """
    _, refused = preflight([job.overrides], lambda _: job)
    if refused:
        raise ConfigError(refused[0].faults)


def finished_before(job: Job, directory: Path) -> Result | None:
    """The result of this very job where the directory holds it, finished; None where there is something to do.

    Raises:
        ConfigError: the directory holds a run of another configuration.
    """
    stored = stored_result(directory)
    if stored is not None:
        key = stored.key
    elif is_run_directory(directory):  # stopped before it could say so
        key = reopen(directory, allow=job.settings.allow).identity.key
    else:
        return None
    if key != job.identity.key:
        raise ConfigError([f"{directory} holds a run of another configuration; give another hydra.run.dir"])
    return stored if stored is not None and stored.status == "finished" else None


def asks_to_resume() -> bool:
    """Whether the command line holds ``resume=RUN_DIR``."""
    return any(argument.lstrip("+").startswith("resume=") for argument in sys.argv[1:])


def resume() -> None:
    """``resume=RUN_DIR``: go on with that run's own config.

    Raises:
        ConfigError: other overrides stand beside it, or it is no run directory.
    """
    given = dict(argument.lstrip("+").partition("=")[::2] for argument in sys.argv[1:])
    if set(given) - {"resume", "allow"}:
        raise ConfigError([f"{' '.join(sys.argv[1:])}: resume=RUN_DIR takes no other override than allow=[PATH,...]"])
    directory = Path(given["resume"])
    allow = [path.strip() for path in given.get("allow", "").strip("[]").split(",") if path.strip()]
    job = reopen(directory, allow=allow)
    finish(finished_before(job, directory) or job.execute(directory))


def finish(result: Result) -> Result:
    """Say how a single run ended; anything but ``finished`` or, at a search's wish, ``pruned`` is exit code 1."""
    failed = result.status not in ("finished", "pruned")
    if os.environ.get("LOCAL_RANK", "0") != "0":
        sys.exit(failed)  # the first process speaks for all devices
    shown = "  ".join(f"{name} {value:.4f}" for name, value in sorted(result.metrics.items()) if "/acc" in name)
    print(f"{result.status}  {shown}  {result.seconds.get('total', 0.0):.1f} s")
    if failed:
        print(result.error or "", file=sys.stderr)
        sys.exit(1)
    return result


def _write_config(directory: Path, config: DictConfig, hydra_config: HydraConf) -> None:
    """``.hydra/`` as Hydra writes it, but after the checks: a refused run must not overwrite the config of another."""
    folder = directory / ".hydra"
    folder.mkdir(exist_ok=True)
    write_text(folder / "config.yaml", OmegaConf.to_yaml(config))
    write_text(folder / "hydra.yaml", OmegaConf.to_yaml(HydraConfig.instance().cfg))
    write_text(folder / "overrides.yaml", OmegaConf.to_yaml(hydra_config.overrides.task))


def _remove_if_unused(directory: Path) -> None:
    """Hydra makes the directory and an empty log before the config is checked; a refused run leaves neither behind."""
    if any(item.suffix != ".log" or item.stat().st_size for item in directory.iterdir()):
        return
    shutil.rmtree(directory)
    if directory.parent.name == OUTPUTS and not any(directory.parent.iterdir()):
        directory.parent.rmdir()
