"""What Slurm says of its jobs: still in the queue, or how they ended.

submitit asks ``sacct``, which needs accounting: without it a job that was killed would be waited for without end.
``squeue`` and ``scontrol`` are answered by every controller.
"""

from __future__ import annotations

import os
import re
import signal as signals
import subprocess
from collections.abc import Collection
from dataclasses import dataclass

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "srun")
PATIENCE = 60  # seconds for an answer of the controller
ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED", "RESIZING", "SIGNALING"}
AT_ONCE = 500  # ids on one command line, whose length is limited


@dataclass(frozen=True)
class End:
    """How a job stands that the queue does not list.

    Attributes:
        state: Slurm's word (``FAILED``), empty where nobody remembers the job.
        code: exit code of the batch script; above 128 by a shell that saw a signal.
        signal: that killed it, 0 for none.
    """

    state: str = ""
    code: int = 0
    signal: int = 0

    @property
    def is_alive(self) -> bool:
        return self.state in ALIVE

    @property
    def seems_well(self) -> bool:
        """Nothing speaks of a death: what the job has written may only be late to be seen here."""
        return self.state in ("", "COMPLETED") and not self.killed_by

    @property
    def killed_by(self) -> int:
        return self.signal or max(0, self.code - 128)

    def __str__(self) -> str:
        if not self.state:
            return "Slurm remembers nothing of it"
        number = self.killed_by
        if number in set(signals.Signals):
            return f"{self.state}, killed by signal {number} ({signals.Signals(number).name})"
        return f"{self.state}, exit code {self.code}" if self.code else self.state


def listed() -> frozenset[str] | None:
    """The ids of all jobs of this user that wait, run or are being put away (``12``, ``13_0``).

    None where the controller does not answer: it may be restarting, its jobs go on.
    """
    words = _ask("squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format=%i")
    return None if words is None else frozenset(words.split())


def end_of(number: str) -> End:
    """How a job ended, by the controller, which remembers it for some minutes, else by accounting."""
    words = _ask("scontrol", "--oneliner", "show", "job", number)
    if words:
        state, code = re.search(r"\bJobState=(\w+)", words), re.search(r"\bExitCode=(\d+):(\d+)", words)
        if state and code:
            return End(state[1], int(code[1]), int(code[2]))
    words = _ask("sacct", "--allocations", "--noheader", "--parsable2", "--format=State,ExitCode", "--jobs", number)
    found = re.match(r"(\w+)[^|]*\|(\d+):(\d+)", words or "")
    return End(found[1], int(found[2]), int(found[3])) if found else End()


def cancel(numbers: Collection[str], signal: str | None = None) -> bool:
    """Take jobs from the queue, running ones by SIGTERM and some time later SIGKILL, or by a signal at once.

    Whether Slurm has taken the order.
    """
    ids = list(numbers)
    how = ["--signal", signal] if signal else []
    answers = [_ask("scancel", *how, *ids[start : start + AT_ONCE]) for start in range(0, len(ids), AT_ONCE)]
    return None not in answers


def is_preempted(number: str) -> bool:
    """Whether Slurm is about to take a running job's machine away for another job's sake."""
    words = _ask("scontrol", "--oneliner", "show", "job", number) or ""
    return "JobState=RUNNING" in words and re.search(r"\bPreemptTime=\d", words) is not None


def requeue(number: str) -> None:
    """Put a running job back into the queue. Where the site does not allow it, the job just ends."""
    _ask("scontrol", "requeue", number)


def _ask(*command: str) -> str | None:
    """What a command of Slurm's prints; None where it fails, is missing or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
