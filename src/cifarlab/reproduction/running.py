"""A command of the queue in a process of its own, stopped where the budget ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

TRAIN = "cifarlab.verbs.commands.train"


def run(arguments: Sequence[str], seconds: float, grace: float) -> int | None:
    """Run `train.py`; its exit code, None where it was stopped at the end of the budget.

    Args:
        arguments: of it.
        seconds: after which it is asked to stop; it then writes the last state of the run that it is in.
        grace: seconds for that, after which it is killed; the run goes on from its last epoch all the same.
    """
    # In a group of its own: Ctrl-C reaches this process alone, which hands it on once.
    process = subprocess.Popen([sys.executable, "-m", TRAIN, *arguments], process_group=0)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        _stop(process, signal.SIGTERM, grace)
        return None
    except BaseException:  # asked to stop, by Ctrl-C or SIGTERM
        _stop(process, signal.SIGINT, grace)
        raise


def _stop(process: subprocess.Popen[bytes], number: signal.Signals, grace: float) -> None:
    process.send_signal(number)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
