"""One process at a time works in a run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cifarlab.reading import refuse_what_leads_out
from cifarlab.training.records.faults import Occupied

CLAIM = ".claim.lock"


@contextmanager
def claim(directory: Path) -> Iterator[None]:
    """Hold a run directory; within one process it can be held again. The kernel frees it when a process dies.

    Of a run on several devices the first process holds it for all.

    Args:
        directory: made if need be.

    Raises:
        Occupied: another process holds it.
        ValueError: something in it leads out of it.
    """
    from lightning.pytorch.utilities import rank_zero_only  # seconds, where a run does not need it anyway

    if getattr(rank_zero_only, "rank", 0):
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    refuse_what_leads_out(directory)
    lock = FileLock((directory / CLAIM).absolute(), is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Occupied(f"another process is at work in {directory}: wait for its end, or stop it") from None
    try:
        yield
    finally:
        lock.release()


def is_occupied(directory: Path) -> bool:
    """Whether another process, or another part of this one, is at work in a run directory."""
    if not (directory / CLAIM).is_file() or (directory / CLAIM).is_symlink() or directory.is_symlink():
        return False
    try:
        with FileLock((directory / CLAIM).absolute(), timeout=0):
            return False
    except Timeout:
        return True
