"""How a verb ends that cannot do what it was asked for: one message, and the exit code."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from cifarlab.reading import visible
from cifarlab.training.records.faults import Occupied, UnusableCheckpoint
from cifarlab.verbs.start import Stopped

TYPED = 2  # what the user has typed is wrong
OTHERWISE = 1  # a run has failed, or the system did not let it be done


@contextmanager
def leaving() -> Iterator[None]:
    """Within, what the user can mend, another process or the system ends this one with its message."""
    try:
        yield
    except Stopped as stopped:
        leave_when_stopped(stopped)
    except (Occupied, UnusableCheckpoint) as error:
        leave(error, OTHERWISE)
    except ValueError as error:
        leave(error)
    except OSError as error:
        leave_for_the_system(error)


def leave(error: BaseException, code: int = TYPED) -> NoReturn:
    """Say what is wrong and end the process."""
    print(visible(str(error)).strip() or type(error).__name__, file=sys.stderr)
    sys.exit(code)


def leave_for_the_system(error: OSError) -> NoReturn:
    """Say which file or folder the system did not give."""
    paths = " -> ".join(str(path) for path in (error.filename, error.filename2) if path is not None)
    said = error.strerror or str(error) or type(error).__name__
    print(visible(f"{paths}: {said}" if paths else said), file=sys.stderr)
    sys.exit(TYPED if error.errno == errno.ENAMETOOLONG else OTHERWISE)


def leave_when_stopped(stopped: Stopped) -> NoReturn:
    """End as the shell expects of a process that a signal has ended."""
    number = signal.Signals(stopped.args[0])
    print(f"stopped by {number.name} before a run had begun", file=sys.stderr)
    sys.exit(128 + number)
