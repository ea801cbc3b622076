"""``progress.json``: how far a run is while it runs, for whoever looks from outside.

Imports neither torch nor Hydra. The file goes when the run's result is written; what a dead process has left behind is
told from what a live one writes.
"""

from __future__ import annotations

import functools
import os
import socket
import time
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Lt
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from cifarlab.reading import read_as
from cifarlab.result import Count, Name, Number, write_json

FILE = "progress.json"
RUNNING = "running"
MOST_BYTES = 2**16
RARELY = 1.0  # seconds between two writings: a write with its fsync takes milliseconds, an epoch of few pictures too
# Of a process on another machine nothing is known but when it last wrote. So many of its epochs it may be silent ...
SILENT_EPOCHS = 10
SILENT_AT_LEAST = 600.0  # ... and so many seconds in any case: the first epoch has no length yet


class Heartbeat:
    """Written as a run begins, and after epochs, a second apart at the least.

    Args:
        directory: the run directory.
        epochs: that the run is to have.
    """

    def __init__(self, directory: Path, epochs: int) -> None:
        self.path = directory / FILE
        self.epochs = epochs
        self._written = 0.0
        self._last = time.time()
        self._longest = 0.0

    def beat(self, epoch: int) -> None:
        """So many epochs are done."""
        now = time.time()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        if epoch and now - self._written < RARELY:
            return
        self._written = now
        values = {
            "epoch": epoch,
            "epochs": self.epochs,
            "time": now,
            "longest_epoch": self._longest,
            "host": socket.gethostname(),
            "process": os.getpid(),
        }
        write_json(self.path, values)

    def end(self) -> None:
        """The run has a result now."""
        self.path.unlink(missing_ok=True)


class Progress(TypedDict):
    """What the file says."""

    epoch: Count
    epochs: Count
    time: Number
    longest_epoch: Number
    host: Name
    process: Annotated[int, Ge(1), Lt(2**31)]


def how_far(directory: Path) -> str | None:
    """``running, epoch 4/12`` of a run that is at work, None of one that is not, or has died."""
    try:
        values = read_as(_reader(), directory / FILE, MOST_BYTES)
    except (OSError, ValueError):
        return None
    return f"{RUNNING}, epoch {values['epoch']}/{values['epochs']}" if _is_alive(values) else None


@functools.cache
def _reader() -> TypeAdapter[Progress]:
    return TypeAdapter(Progress)


def _is_alive(values: Progress) -> bool:
    if values["host"] != socket.gethostname():
        silent = time.time() - values["time"]
        return silent < max(SILENT_AT_LEAST, SILENT_EPOCHS * values["longest_epoch"])
    try:
        os.kill(values["process"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
