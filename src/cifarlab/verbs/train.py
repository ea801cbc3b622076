"""``python train.py``: one run, or one that is gone on with. With ``-m`` the sweeper takes over."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cifarlab.figures import OF_A_RUN
from cifarlab.heartbeat import FILE as PROGRESS
from cifarlab.job.configure import TARGET, ConfigError, describe_call
from cifarlab.job.directory import is_run_directory, reopen, stored_result, write_job
from cifarlab.job.job import Job
from cifarlab.job.preflight import preflight
from cifarlab.job.read import read_job
from cifarlab.reading import visible
from cifarlab.result import Result, Status
from cifarlab.sweeps.searching.search import watch_of
from cifarlab.sweeps.searching.settings import SearchSettings
from cifarlab.sweeps.settings import SweepSettings
from cifarlab.training.records.claim import claim
from cifarlab.verbs.leaving import leaving
from cifarlab.verbs.paths import expanded
from cifarlab.verbs.run_directory import remove_if_unused

# What of Hydra's own keys says how cells are found and run.
LAUNCHING = ("hydra.launcher", "hydra/launcher", "hydra.sweeper", "hydra/sweeper", "hydra.sweep.")


def train(config: DictConfig) -> Result:
    """Hydra's task: the run that a composed config describes, in the directory Hydra made for it."""
    hydra_config = HydraConfig.get()
    directory = Path(hydra_config.runtime.output_dir)
    with leaving():  # from here: Hydra would put lines of its own before an error
        try:
            job = read_job(config, cast(DictConfig, hydra_config)).pinned()
            refuse_what_a_sweep_does(job, hydra_config.overrides.hydra)
            done = finished_before(job, directory)
            if done is None:
                check(job)
        except BaseException:
            remove_if_unused(directory)
            raise
        done = done or begin(job, directory)
    return finish(done, directory)


def begin(job: Job, directory: Path) -> Result:
    """Run a job that has passed all checks: a refused run must not overwrite the config of another."""
    with claim(directory):
        done = finished_before(job, directory)
        if done is None:
            write_job(job, directory)
            done = job.execute(directory)
    return done


def refuse_what_a_sweep_does(job: Job, of_hydra: Sequence[str]) -> None:
    """A single run would pass over what was asked for.

    Args:
        job: the run.
        of_hydra: what was typed for Hydra itself.

    Raises:
        ConfigError: there is a sweep's key (``plan zip search`` and the like) with another value than its default, a
            figure of a sweep, or a launcher.
    """
    given = {key: value for key, value in job.beside.items() if key != "search"}
    settings = describe_call(SweepSettings, given, key="")
    asked = [key for key in settings.deviations() if key in given]
    search = describe_call(SearchSettings, job.beside.get("search") or {}, key="search")
    asked += ["search"] if search.deviations().keys() - {TARGET} else []
    asked += [f"figures={name}" for name in job.settings.figures if name not in OF_A_RUN]
    typed = (override.lstrip("+") for override in of_hydra)
    asked += [override for override in typed if override.startswith(LAUNCHING)]
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
    if not is_run_directory(directory):
        if stored is not None:
            raise ConfigError([f"{directory} holds a result of an unknown configuration; give another hydra.run.dir"])
        return None
    there = reopen(directory, allow=job.settings.allow)
    # By the key that it has, or that this version gives to the configuration that it has.
    if job.identity.key not in (there.identity.key, there.digests[0]):
        raise ConfigError([f"{directory} holds a run of another configuration; give another hydra.run.dir"])
    if stored is None or stored.status != Status.FINISHED:
        return None
    (directory / PROGRESS).unlink(missing_ok=True)  # of a process that was killed as soon as it had its result
    return stored


def asks_to_resume() -> bool:
    """Whether the command line holds ``resume=RUN_DIR``."""
    return any(argument.lstrip("+").startswith("resume=") for argument in sys.argv[1:])


def resume() -> None:
    """``resume=RUN_DIR``: go on with that run's own config.

    Raises:
        ConfigError: other overrides stand beside it, or it is no run directory.
    """
    given = dict(argument.lstrip("+").partition("=")[::2] for argument in sys.argv[1:])
    if set(given) - {"resume", "allow"} or len(given) < len(sys.argv[1:]):
        raise ConfigError(
            [
                f"{' '.join(sys.argv[1:])}: resume=RUN_DIR takes no other override than allow=[PATH,...]; "
                "continue_from=RUN_DIR epochs=+10 goes on from a finished run, in a new directory"
            ]
        )
    directory = expanded(given["resume"])
    allow = [path.strip() for path in given.get("allow", "").strip("[]").split(",") if path.strip()]
    job = reopen(directory, allow=allow)
    done = finished_before(job, directory)
    if done is None:
        from cifarlab.job.feasible import check_machine

        check_machine(job)  # it may be another one than the run was begun on
        with claim(directory):
            done = finished_before(job, directory) or job.execute(directory, watch=watch_of(job, directory))
    finish(done, directory)


def finish(result: Result, directory: Path) -> Result:
    """Say how a single run ended, where it lies and what can be done next.

    Anything but ``finished`` or, at a search's wish, ``pruned`` is exit code 1.
    """
    failed = result.status not in (Status.FINISHED, Status.PRUNED)
    if os.environ.get("LOCAL_RANK", "0") != "0":
        sys.exit(failed)  # the first process speaks for all devices
    shown = "  ".join(f"{name} {value:.4f}" for name, value in sorted(result.metrics.items()) if "/acc" in name)
    print(f"{result.status}  {shown}  {result.seconds.get('total', 0.0):.1f} s")
    print("\n".join(what_next(result.status, directory)))
    if failed:
        print(visible(result.error or ""), file=sys.stderr)
        sys.exit(1)
    return result


def what_next(status: Status, directory: Path) -> list[str]:
    """The last lines of a run: its directory, and the commands that go on from how it ended."""
    if directory.is_relative_to(Path.cwd()):
        directory = directory.relative_to(Path.cwd())
    here = shlex.quote(str(directory))
    verb = "cifarlab {}" if Path(sys.argv[0]).parent.name == "commands" else "python {}.py"
    commands = {
        Status.FINISHED: [
            f"{verb.format('evaluate')} run={here}",
            f"{verb.format('visualize')} run={here} figure=filters",
        ],
        Status.INTERRUPTED: [f"{verb.format('train')} resume={here}"],
    }
    found = commands.get(status, [])
    return [f"directory {directory}", *(f"{'' if number else 'next':9} {line}" for number, line in enumerate(found))]
