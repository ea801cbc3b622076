"""How long a user waits: for help, for a refusal, for the first step of a run.

    python -m benchmarks.start [--trees . OTHER_CHECKOUT] [--turns 5]

Each command is started anew, the checkouts in turn; the table has the median seconds by the clock and of the CPU (user
and system, which other work on the machine changes less). The first step has been made when a run of one batch says its
first epoch, a validation of 128 digits included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEP = "train.py data=digits epochs=1 limit=128 trainer.progress_bar=false trainer.accelerator=cpu checkpoints=none"
# Command -> how the line begins that is waited for; None waits for the end.
COMMANDS = {
    "train.py --help": None,
    "train.py modle=resnet": None,
    "train.py -m lr=0.1,abc": None,
    "visualize.py figure=nothing": None,
    "evaluate.py run=nowhere": None,
    "summarize.py nowhere": None,
    STEP: "epoch",
}


def waited(tree: Path, command: str, until: str | None) -> tuple[float, float]:
    """Seconds by the clock and of the CPU until a command of a checkout has ended, or printed such a line."""
    script, *arguments = command.split()
    paths = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, str(tree / script), *arguments],
            **{"cwd": folder, "env": paths, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT},
        )
        assert process.stdout is not None
        for line in process.stdout:
            if until is not None and line.startswith(until):
                found = time.perf_counter() - before, cpu_seconds(process.pid)
                process.stdout.read()
                process.wait()
                return found
        _, _, usage = os.wait4(process.pid, 0)
        return time.perf_counter() - before, usage.ru_utime + usage.ru_stime


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process at work (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=Path, nargs="+", default=[Path()])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    trees = [tree.resolve() for tree in options.trees]
    print("| command | " + " | ".join(f"{tree}, clock | CPU" for tree in trees) + " |")
    print("| --- |" + " --- | --- |" * len(trees))
    for command, until in COMMANDS.items():
        turns = [[waited(tree, command, until) for tree in trees] for _ in range(options.turns)]
        shown = [
            f"{statistics.median(turn[place][kind] for turn in turns):.2f}"
            for place in range(len(trees))
            for kind in (0, 1)
        ]
        print(f"| `{command}` | " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    main()
