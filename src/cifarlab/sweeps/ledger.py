"""``sweep.json``: what was asked of a sweep so far; and which of it is done."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cifarlab.job.configure import ConfigError
from cifarlab.plan import FILE as LEDGER
from cifarlab.plan import PlannedCell, read_plan
from cifarlab.result import FILE, SCHEMA, Identity, Scalar, read_result, write_json
from cifarlab.sweeps.names import bare, fitting
from cifarlab.training.hardware.counts import Cost
from cifarlab.training.records.claim import is_occupied

LOCKS = ".locks"
IN_USE = "in_use"
DONE = ("finished", "diverged")
MISSING = "missing"
DAMAGED = "damaged"


@dataclass(frozen=True)
class Cell:
    """One planned run of a sweep: its folder's name, who it is, and what was typed to get it.

    Attributes:
        knobs: name -> value, as in the run's result; empty in a ledger of an earlier version.
        seed: of the run; None in a ledger of an earlier version.
        confirms: group of the setting that the run repeats with a fresh seed (``confirm=5``), apart from the sweep.
    """

    name: str
    key: str
    group: str
    overrides: tuple[str, ...]
    knobs: Mapping[str, Scalar] = field(default_factory=dict)
    seed: int | None = None
    confirms: str | None = None

    def written(self) -> dict[str, Any]:
        """A cell for ``sweep.json``."""
        values = vars(self) | {"overrides": list(self.overrides)}
        return {name: value for name, value in values.items() if name != "confirms" or value is not None}

    @classmethod
    def read(cls, values: PlannedCell) -> Cell:
        """A cell as ``sweep.json`` has it."""
        return cls(
            name=values["name"],
            key=values["key"],
            group=values["group"],
            overrides=tuple(values["overrides"]),
            knobs=dict(values.get("knobs", {})),
            seed=values.get("seed"),
            confirms=values.get("confirms"),
        )


@dataclass
class Ledger:
    """A sweep's memory. Every start merges what it was asked for into what is there."""

    directory: Path
    commands: list[str] = field(default_factory=list)
    axes: dict[str, list[str]] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)  # by key
    figures: list[str] = field(default_factory=list)
    together: dict[str, list[str]] = field(default_factory=dict)  # axis of tables -> keys that move together
    search: dict[str, Any] = field(default_factory=dict)  # `objective`, and `scales`: interval -> `log` or `linear`

    @classmethod
    def open(cls, directory: Path) -> Ledger:
        """The ledger in a folder, or an empty one.

        Raises:
            ValueError: the file cannot be read, or is damaged.
            NotADirectoryError: the folder is a file, or the one that it lies in.
        """
        path = directory / LEDGER
        for folder in (directory.parent, directory):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        plan, faults = read_plan(path)
        if not plan and not faults:
            return cls(directory)
        try:
            cells = [Cell.read(cell) for cell in plan["cells"]]
        except KeyError as error:
            faults = faults or [f"{path} is damaged: there is no {error}"]
        if faults:
            raise ValueError("\n".join([*faults, "Move the file away; the finished cells are kept."]))
        return cls(
            directory,
            commands=plan.get("commands", []),
            axes=plan.get("axes", {}),
            cells={cell.key: cell for cell in cells},
            figures=plan.get("figures", []),
            together=plan.get("together", {}),
            search={**plan.get("search", {})},
        )

    def merge(
        self,
        command: str,
        axes: Mapping[str, Sequence[str]],
        figures: Sequence[str],
        search: Mapping[str, Any] | None = None,
        together: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Add a command, its axes, the figures it asks for, and what it searches: objective and scales of intervals."""
        if command not in self.commands:
            self.commands.append(command)
        for key, values in axes.items():
            known = self.axes.setdefault(bare(key), [])
            known += [value for value in values if value not in known]
        groups = {name: list(map(bare, keys)) for name, keys in (together or {}).items()}
        kept = {name: keys for name, keys in self.together.items() if not set(keys) & set(map(bare, axes))}
        self.together = {**kept, **groups}
        self.figures = list(dict.fromkeys([*self.figures, *figures]))
        if search:
            scales = {**self.search.get("scales", {}), **search["scales"]}
            self.search = {**search, "scales": scales}

    def enter(self, name: str, identity: Identity, overrides: Sequence[str], confirms: str | None = None) -> Cell:
        """The cell of this identity: the one that is there, or a new one under a name that is free.

        One that repeats a setting with a fresh seed belongs to the sweep once that asks for its seed.
        """
        key = identity.key
        if key not in self.cells:
            name = fitting(name, key)
            # A folder that this ledger does not know may hold a checkpoint of anything.
            foreign = (self.directory / name).exists() and self.key_in(name) != key
            if name in self._names or foreign:
                name = f"{name}.{key[:6]}"
            self._names.add(name)
            self.cells[key] = Cell(
                name=name,
                key=key,
                group=identity.group,
                overrides=tuple(bare(override) for override in overrides),
                knobs=identity.knobs,
                seed=identity.seed,
                confirms=confirms,
            )
        elif confirms is None and self.cells[key].confirms is not None:
            self.cells[key] = replace(self.cells[key], confirms=None)
        return self.cells[key]

    @cached_property
    def _names(self) -> set[str]:
        """Of all cells."""
        return {cell.name for cell in self.cells.values()}

    def cost_of(self, key: str) -> Cost | None:
        """What the net of a cell costs, by the result of one that is done; None for any other."""
        outcome = read_outcome(self.directory / self.cells[key].name) if key in self.cells else {}
        parameters, flops = outcome.get("parameters"), outcome.get("flops")
        is_done = outcome.get("key") == key and outcome.get("status") in DONE
        return Cost(parameters, flops) if is_done and parameters is not None and flops is not None else None

    def key_in(self, name: str) -> str | None:
        """The key recorded in a folder's result, None where there is no readable one."""
        return read_outcome(self.directory / name).get("key")

    def write(self) -> None:
        """Put ``sweep.json`` in its place in one atomic step."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_json(
            self.directory / LEDGER,
            {
                "schema": SCHEMA,
                "name": self.directory.name,
                "commands": self.commands,
                "axes": self.axes,
                "cells": [cell.written() for cell in self.cells.values()],
                "figures": self.figures,
                **({"together": self.together} if self.together else {}),
                "search": self.search,
            },
        )


def read_outcome(directory: Path) -> dict[str, Any]:
    """A run directory's ``result.json`` as it is; empty where there is none.

    One that cannot be read, or is none, gives the status `DAMAGED` and an error that names it: it may hold a finished
    run, so that nothing is written over it.
    """
    path = directory / FILE
    try:
        return read_result(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        fault = f"{path} cannot be read: {error.strerror}"
    except ValueError as error:
        fault = str(error)
    return {"status": DAMAGED, "error": f"{fault}; move it away to run the cell again"}


def status_of(directory: Path, key: str) -> str:
    """How a cell's folder says it stands; one whose result is of another key does not count: `MISSING`."""
    outcome = read_outcome(directory)
    if outcome.get("status") == DAMAGED:
        return DAMAGED
    return str(outcome.get("status")) if outcome.get("key") == key else MISSING


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a sweep's ledger: one process at a time reads, merges and writes it."""
    folder = directory / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "ledger.lock"):
        yield


@contextmanager
def claimed(directory: Path, key: str) -> Iterator[bool]:
    """Hold a cell, by its key, while it runs; False if another process holds it. The kernel frees it when one dies.

    It lies with the sweep, so that a cell can be held whose folder is not there yet, and until its log and its record
    are written. Whoever trains in the folder, a cell or ``resume=``, holds `cifarlab.training.records.claim` besides.
    """
    folder = directory / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{key}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def in_use(directory: Path, *, fresh: bool) -> Iterator[None]:
    """Take part in a sweep, with others; with `fresh`, set its folder aside first, which nobody may be using then.

    Raises:
        ConfigError: fresh, and another process is at work in the sweep.
    """
    if fresh and directory.exists():
        with _held(directory, fcntl.LOCK_EX):
            set_aside(directory)
    with _held(directory, fcntl.LOCK_SH):
        yield


@contextmanager
def _held(directory: Path, kind: int) -> Iterator[None]:
    path = directory / LOCKS / IN_USE
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            try:
                fcntl.flock(file, kind if kind == fcntl.LOCK_SH else kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError([f"fresh=true: another process is at work in {directory}"]) from None
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:  # else it was set aside just now
                yield
                return


def set_aside(directory: Path) -> Path | None:
    """Rename a sweep's folder to ``NAME.DATE_TIME``; None if there is none.

    Raises:
        ConfigError: another process is at work in it.
    """
    if not directory.exists():
        return None
    if any(map(_is_held, (directory / LOCKS).glob("*.lock"))) or any(map(is_occupied, directory.iterdir())):
        raise ConfigError([f"fresh=true: another process is at work in {directory}"])
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    names = (f"{directory.name}.{stamp}{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
    target = next(path for path in map(directory.with_name, names) if not path.exists())
    return directory.rename(target)


def _is_held(lock: Path) -> bool:
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
