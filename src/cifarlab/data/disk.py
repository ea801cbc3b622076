"""Room on the disk: asked for before something large is written, and named when it runs out."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A full disk, a user's full quota, a file over the size limit.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(ValueError):
    """There is no room for a file; the message names the folder, the bytes needed and the bytes free."""


@contextmanager
def room_for(bytes_needed: int, folder: Path, purpose: str, setting: str = "data.root=") -> Iterator[None]:
    """Refuses to begin what ``folder`` has no room for, and explains a disk that fills up on the way.

    ``setting`` is what names another folder.

    Raises:
        DiskFull: fewer than ``bytes_needed`` bytes are free, or a write inside the block found the disk full.
    """
    if shutil.disk_usage(folder).free < bytes_needed:
        raise DiskFull(_message("the disk is full", bytes_needed, folder, purpose, setting))
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        cause = error.strerror or "the disk is full"
        raise DiskFull(_message(cause, bytes_needed, folder, purpose, setting)) from error


def writable(folder: Path) -> bool:
    """Whether a file can be made in ``folder`` (made first where it is missing), found out by making one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _message(cause: str, bytes_needed: int, folder: Path, purpose: str, setting: str) -> str:
    free = shutil.disk_usage(folder).free
    return (
        f"{cause}: {purpose} needs {bytes_needed:,} bytes in {folder}, {free:,} are free; make room there, "
        f"or name another folder with {setting}"
    )
