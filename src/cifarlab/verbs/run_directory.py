"""The directory of a single run: whose it is, before anything is written into it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import is_half_written, is_run_directory
from cifarlab.training.records.claim import CLAIM
from cifarlab.verbs.leaving import leave, leave_for_the_system

OUTPUTS = "outputs"
# What this process has made, the outermost folder of each run directory.
_made: dict[Path, Path] = {}


class LookBeforeWriting(Callback):
    """Told by Hydra of a run before it makes the run's directory."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a place that is not free, and remember what is about to be made."""
        HydraConfig.instance().set_config(config)  # as Hydra is about to; the directory's name asks for it
        try:
            directory = Path(config.hydra.run.dir)
            check_free(directory)
        except ConfigError as error:
            leave(error)
        except OSError as error:
            leave_for_the_system(error)
        except OmegaConfBaseException as error:  # of `unique`, which makes a folder
            if refused := cause_in_the_system(error):
                leave_for_the_system(refused)
            raise
        absent = [path for path in (directory, *directory.parents) if not path.exists()]
        if absent:
            note_made(directory, outermost=absent[-1])


def cause_in_the_system(error: BaseException | None) -> OSError | None:
    """The error of the system that stopped a resolver; None behind any other error."""
    if not isinstance(error, InterpolationResolutionError):
        return None
    while error is not None and not (isinstance(error, OSError) and error.errno is not None):
        error = error.__cause__ or error.__context__
    return error


def check_free(directory: Path) -> None:
    """Raise a ConfigError where something lies in the directory that is no run."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ConfigError([f"hydra.run.dir={directory}: this is a file; a folder that is empty or new is needed"])
    if is_run_directory(directory) or _holds_nothing(directory):
        return
    first = min(item.name for item in directory.iterdir())
    raise ConfigError(
        [f"hydra.run.dir={directory}: the folder holds {first} and is no run; give one that is empty or new"]
    )


def unique(name: str) -> str:
    """Claim ``OUTPUTS/NAME``, or NAME-2, NAME-3, ...: runs started in the same second do not meet."""
    folder = Path(OUTPUTS)
    folder.mkdir(exist_ok=True)
    for attempt in range(1, 1000):
        candidate = name if attempt == 1 else f"{name}-{attempt}"
        try:
            (folder / candidate).mkdir()
        except FileExistsError:
            continue
        note_made(folder / candidate, outermost=folder / candidate)
        return candidate
    raise ConfigError([f"{folder}/{name}: a thousand runs have this name"])


def note_made(directory: Path, *, outermost: Path) -> None:
    """Remember that this process makes a run directory, and the outermost folder that it makes for it."""
    _made.setdefault(directory.absolute(), outermost.absolute())


def remove_if_unused(directory: Path) -> None:
    """A refused run leaves nothing behind: of a directory that was there its empty log, else the directory."""
    if not _holds_nothing(directory):
        return
    outermost = _made.get(directory.absolute())
    for log in directory.glob("*.log"):
        log.unlink()
    if outermost is None:
        return
    folder = directory.absolute()
    shutil.rmtree(folder)
    while folder != outermost:
        folder = folder.parent
        if any(folder.iterdir()):
            return
        folder.rmdir()
    if folder.parent.name == OUTPUTS and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _holds_nothing(directory: Path) -> bool:
    """Whether there is nothing but what a run makes before it is one: an empty log, its claim, a part of its job."""
    return all(
        item.suffix == ".log" and item.is_file() and not item.stat().st_size
        for item in directory.iterdir()
        if item.name != CLAIM and not is_half_written(item)
    )
