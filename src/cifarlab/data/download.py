"""Fetching an archive: several mirrors in order, resumed where it broke off, checked before it is opened."""

from __future__ import annotations

import hashlib
import http.client
import logging
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cifarlab.data.disk import FULL, room_for, writable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """A file to fetch: its name, what it must be, and the addresses to ask in order.

    Attributes:
        size: bytes of the archive.
        unpacked: bytes of what is in it, as far as it is known.
    """

    name: str
    md5: str
    size: int
    unpacked: int
    mirrors: tuple[str, ...]


@dataclass(frozen=True)
class Patience:
    """When a server is given up.

    Attributes:
        timeout: seconds without a byte, also for connecting.
        window: seconds over which the speed is judged.
        slowest: bytes a second below which the next mirror is asked first. The original CIFAR server gives about
            50 kB/s (pytorch/vision#9536), an hour for CIFAR-10.
        attempts: how often a transfer that broke off is taken up again at the same server without a byte of progress.
    """

    timeout: float = 10.0
    window: float = 15.0
    slowest: float = 200_000.0
    attempts: int = 3


class DownloadFailed(Exception):
    """No mirror gave the archive; the message has one line a mirror."""


class _Refused(Exception):
    """This server will not give the file: another one may."""


class _TooSlow(Exception):
    """This server gives the file, but slowly: worth a second round if no other does."""


class _Pace:
    """Judges a server's speed over windows of time, over all connections to it."""

    def __init__(self, slowest: float, window: float) -> None:
        self.slowest, self.window = slowest, window
        self.start, self.arrived = time.monotonic(), 0

    def add(self, count: int) -> None:
        """Counts bytes that arrived; raises ``_TooSlow`` at the end of a window with too few."""
        self.arrived += count
        elapsed = time.monotonic() - self.start
        if elapsed <= self.window:
            return
        if self.arrived / elapsed < self.slowest:
            raise _TooSlow(f"too slow: {self.arrived / elapsed / 1000:,.1f} kB/s")
        self.start, self.arrived = time.monotonic(), 0


def obtain(archive: Archive, folder: Path, into: Path, patience: Patience = Patience()) -> None:
    """Fetches the archive to ``folder``, unpacks it in ``into`` and removes it, unless it was there before.

    Raises:
        DownloadFailed: no mirror gave the file.
        DiskFull: there is no room for it and for what is in it.
    """
    if not writable(folder):
        raise DownloadFailed(f"  nothing: {folder} cannot be written")
    was_there = (folder / archive.name).is_file()
    path = fetch(archive, folder, patience)
    extract(path, into, archive.unpacked)
    if not was_there:
        path.unlink()


def fetch(archive: Archive, folder: Path, patience: Patience = Patience()) -> Path:
    """The archive as a file in ``folder`` with the right checksum, downloaded unless it is there already.

    What arrives goes to ``NAME.part``, which outlives a broken transfer and a killed process and is taken up where it
    ends, at whichever mirror. A server that answers slowly is left for the next one and asked again, without a limit on
    its speed, when no mirror was quick. Not safe for two callers at once: the caller holds a lock.

    Raises:
        DownloadFailed: no mirror gave the file.
        DiskFull: ``folder`` has no room for it and for what is in it.
    """
    target, part = folder / archive.name, folder / f"{archive.name}.part"
    if target.is_file() and md5_of(target) == archive.md5:
        return target
    needed = archive.size - _size(part) + archive.unpacked
    queue = deque((url, patience.slowest) for url in archive.mirrors)
    reasons: dict[str, str] = {}
    with room_for(needed, folder, f"{archive.name} and what is in it"), _progress() as progress:
        task = progress.add_task(archive.name, total=archive.size, completed=_size(part))
        while queue:
            url, slowest = queue.popleft()
            try:
                _from_mirror(url, archive, part, patience, slowest, partial(progress.update, task))
            except _TooSlow as reason:
                queue.append((url, 0.0))
                reasons[url] = str(reason)
            except _Refused as reason:
                reasons[url] = str(reason)
            else:
                return part.replace(target)
            log.info("%s: %s", url, reasons[url])
    raise DownloadFailed("\n".join(f"  {url}: {reason}" for url, reason in reasons.items()))


def _from_mirror(
    url: str, archive: Archive, part: Path, patience: Patience, slowest: float, show: Callable[..., None]
) -> None:
    """Fills ``part`` from one server and checks it, or raises ``_Refused`` or ``_TooSlow``."""
    log.info("fetching %s", url)
    pace = _Pace(slowest, patience.window)
    from_elsewhere = _size(part) > 0
    fruitless = 0
    while True:
        before = _size(part)
        try:
            if before != archive.size:
                _transfer(url, archive, part, patience.timeout, pace, show)
        except urllib.error.HTTPError as error:
            raise _Refused(f"HTTP {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise _Refused(str(error.reason)) from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            if isinstance(error, TimeoutError) and slowest > 0:
                raise _TooSlow(f"no byte in {patience.timeout:g} s") from error
            fruitless = 0 if _size(part) > before else fruitless + 1
            if fruitless >= patience.attempts:
                raise _Refused(str(error) or type(error).__name__) from error
            log.info("%s broke off (%s), going on from byte %d", url, error, _size(part))
            continue
        found = md5_of(part)
        if found == archive.md5:
            return
        part.unlink()
        show(completed=0)
        if not from_elsewhere:
            raise _Refused(f"wrong file: md5 {found}, wanted {archive.md5}")
        from_elsewhere = False  # The beginning may be what is wrong: once more, all from here.
        log.info("%s: the parts of %s do not fit together, starting over", url, archive.name)


def _transfer(url: str, archive: Archive, part: Path, timeout: float, pace: _Pace, show: Callable[..., None]) -> None:
    """One request: appends to ``part`` what the server sends, until the archive is whole.

    Raises:
        OSError, http.client.HTTPException: the transfer broke off; what came is in ``part``.
        _Refused: what the server has is something else.
        _TooSlow: it sends too few bytes a second.
    """
    done = _size(part)
    if done > archive.size:
        part.unlink()
        done = 0
    headers = {"User-Agent": "cifarlab"} | ({"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            done = 0  # The server knows no ranges and starts at the beginning.
        if response.headers.get_content_type() == "text/html":
            raise _Refused("a web page instead of the file")
        length = response.headers.get("Content-Length")
        if length is not None and done + int(length) != archive.size:
            raise _Refused(f"wrong file: {done + int(length):,} bytes, wanted {archive.size:,}")
        with part.open("ab" if done else "wb") as file:
            show(completed=done)
            while chunk := response.read1(1 << 18):
                done += len(chunk)
                if done > archive.size:
                    raise _Refused(f"wrong file: more than {archive.size:,} bytes")
                file.write(chunk)
                show(completed=done)
                pace.add(len(chunk))
    if done < archive.size:
        raise ConnectionResetError(f"the connection ended at byte {done:,} of {archive.size:,}")


def extract(archive: Path, into: Path, unpacked: int) -> None:
    """Unpacks a checked tar archive into the folder ``into``.

    Members that would leave the folder, links out of it and device files are refused (PEP 706, ``filter="data"``).
    It is unpacked in a hidden folder and moved into place when complete, so that a killed job leaves no half of a
    data set that could be taken for a whole one.

    Raises:
        tarfile.FilterError: a member is of the kinds above; nothing of the archive is left.
        DiskFull: there is no room for ``unpacked`` bytes.
    """
    into.mkdir(parents=True, exist_ok=True)
    for left_over in into.glob(f".{archive.name}-*"):
        shutil.rmtree(left_over)
    with (
        room_for(unpacked, into, f"what is in {archive.name}"),
        tempfile.TemporaryDirectory(prefix=f".{archive.name}-", dir=into) as hidden,
    ):
        with tarfile.open(archive) as tar:
            tar.extractall(hidden, filter="data")
        _move(Path(hidden), into)


def _move(source: Path, target: Path) -> None:
    """Moves what is in ``source`` into ``target``: whole folders where they are new, else file by file."""
    for entry in source.iterdir():
        there = target / entry.name
        if entry.is_dir() and there.is_dir():
            _move(entry, there)
        else:
            entry.replace(there)


def _size(path: Path) -> int:
    """Bytes of a file, 0 where it is missing."""
    return path.stat().st_size if path.is_file() else 0


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _progress() -> Progress:
    """A bar on standard error; silent where that is a file."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
