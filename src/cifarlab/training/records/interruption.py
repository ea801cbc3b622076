"""Ctrl-C and SIGTERM as one exception that Lightning lets through."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The run was asked to stop. Not an `Exception`, so that nothing takes it for a failure of the run.

    Lightning turns a KeyboardInterrupt into ``sys.exit(1)``; this one it re-raises.
    """


@contextmanager
def raising_on_signals() -> Iterator[Callable[[], None]]:
    """Within, SIGINT and SIGTERM raise `Interrupted` once; later ones are ignored while the run is put away.

    Gives a function after whose call the first signal is ignored too: for the time in which results are written.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    wanted = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in wanted}

    def ignore() -> None:
        for number in wanted:
            signal.signal(number, signal.SIG_IGN)

    def interrupt(number: int, frame: FrameType | None) -> None:
        ignore()
        raise Interrupted(signal.Signals(number).name)

    for number in wanted:
        signal.signal(number, interrupt)
    try:
        yield ignore
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
