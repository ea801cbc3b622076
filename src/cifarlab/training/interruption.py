"""Ctrl-C and SIGTERM as one exception that Lightning lets through."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The run was asked to stop. Not an `Exception`, so that nothing takes it for a failure of the run.

    Lightning turns a KeyboardInterrupt into ``sys.exit(1)``; this one it re-raises.
    """


@contextmanager
def raising_on_signals() -> Iterator[None]:
    """Within, SIGINT and SIGTERM raise `Interrupted` once; a second signal is ignored while the run is put away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in wanted}

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in wanted:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    for number in wanted:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
