"""The first thing that every verb does, before its imports: what it prints can stop nothing, and it can be stopped."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cifarlab.verbs.spared import spare_imports

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Asked to stop before a run had begun. Its argument is the signal's number."""


def begin() -> None:
    """Make standard output and error harmless, Ctrl-C and SIGTERM quiet, and the import of Lightning short."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, harmless(stream))
    logging.raiseExceptions = False  # a log that cannot be written is no traceback
    _handle(_leave_at_once)
    spare_imports()


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM raise `Stopped`; whoever handles them otherwise (a run, a sweep) keeps them."""
    before = _handle(_raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def harmless(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """The same stream, but a closed pipe or a full disk takes nothing away, nor a character that it cannot show."""
    stream.flush()
    writer = io.BufferedWriter(_Swallowing(stream.fileno()))
    return io.TextIOWrapper(
        writer, encoding=stream.encoding, errors="replace", line_buffering=True, write_through=stream.write_through
    )


class _Swallowing(io.RawIOBase):
    """A file descriptor that takes what it is given, whether or not it can be written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        given = memoryview(data).cast("B")
        written = 0
        while written < len(given):
            try:
                written += os.write(self._descriptor, given[written:])
            except BlockingIOError:
                continue
            except OSError:  # the reader has gone, the disk is full: results are files
                break
        return len(given)


def _handle(handler: Any) -> dict[signal.Signals, Any]:
    """Take the signals that nobody handles yet; what stood there before `begin`."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    free = (signal.SIG_DFL, signal.default_int_handler, _leave_at_once)
    taken = {number: before for number in SIGNALS if (before := signal.getsignal(number)) in free}
    for number in taken:
        signal.signal(number, handler)
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    return {number: defaults[number] for number in taken}


def _leave_at_once(number: int, frame: FrameType | None) -> None:
    os.write(2, f"stopped by {signal.Signals(number).name} before anything had begun\n".encode())
    os._exit(128 + number)


def _raise(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)
