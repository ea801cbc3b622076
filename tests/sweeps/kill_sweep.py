"""Kill a sweep at random moments until it is done, and see whether anything was lost, or done twice.

    python tests/sweeps/kill_sweep.py local --cells 12 --kills 8 --seed 0

The sweep is the real ``python train.py -m ...`` on the digits. ``basic`` is one process; of ``local`` either the
process of the sweep is killed, or that of a cell, or all at once, as a power cut does. Ends with exit code 0 and a line
of numbers, or with what is wrong. Linux only (it looks for processes in /proc).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
TINY = (
    "data=digits", "limit=100", "width=4", "blocks=1", "batch_size=10", "precision=32", "logger=none", "figures=[]",
    "trainer.progress_bar=false", "trainer.accelerator=cpu",
)  # fmt: skip
LAUNCHERS = {
    "basic": (),
    "local": ("hydra/launcher=local", "hydra.launcher.jobs=2", "hydra.launcher.threads=1"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("launcher", choices=LAUNCHERS)
    parser.add_argument("--cells", type=int, default=12)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--spread", type=float, default=4.0, help="seconds within which a kill comes")
    parser.add_argument("--folder", type=Path, help="where; a sweep that is there as multirun/undisturbed is not run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        trial = Trial(options.folder or Path(temporary), options)
        trial.run_undisturbed()
        trial.run_disturbed()
        trial.check()
    print(
        f"{options.launcher}: {options.cells} cells finished, {trial.starts} starts, killed {dict(trial.killed)}, "
        f"{trial.resumed} cells gone on with, digits as undisturbed"
    )


class Trial:
    """One sweep, killed until it is done."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.random = random.Random(options.seed)
        self.names = [f"seed-{number}" for number in range(options.cells)]
        self.sweep = folder / "multirun" / "s"
        self.killed: Counter[str] = Counter()
        self.sessions: list[int] = []
        self.starts = 0
        self.resumed = 0
        self._finished: dict[str, tuple[int, bytes]] = {}
        self._begun: set[str] = set()

    def start(self, sweep: str, launcher: str) -> subprocess.Popen[bytes]:
        """``python train.py -m``, in a session of its own, by which all its processes are found."""
        seeds = ",".join(str(number) for number in range(self.options.cells))
        command = [sys.executable, str(TRAIN), "-m", f"sweep={sweep}", *TINY, *LAUNCHERS[launcher]]
        process = subprocess.Popen(
            [*command, f"epochs={self.options.epochs}", f"seed={seeds}"],
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=(self.folder / "out.txt").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.sessions.append(process.pid)
        return process

    def run_undisturbed(self) -> None:
        if (self.folder / "multirun" / "undisturbed").exists():
            return
        code = self.start("undisturbed", "basic").wait()
        assert code == 0, self.printed()

    def run_disturbed(self) -> None:
        """Start, strike, start again; when there were enough strikes, until the sweep says that it is done."""
        process = None
        while self.killed.total() < self.options.kills:
            if process is None or process.poll() is not None:
                process = self.start_again()
            if self.wait_for_work(process):
                time.sleep(self.random.uniform(0, self.options.spread))
                self.strike(process)
            assert self.unfinished() or self.killed.total(), (
                "done before the first strike: more cells or epochs, please"
            )
            if not self.unfinished():
                break
        if process is not None:
            process.wait()
        for _ in range(5):  # a cell whose process was killed is to be tried again
            code = self.start_again().wait()
            if code == 0 and not self.unfinished():
                return
        raise AssertionError(f"not done: {self.unfinished()}\n{self.printed()}")

    def start_again(self) -> subprocess.Popen[bytes]:
        self.note()
        self.starts += 1
        self._marks = self.marks()
        return self.start("s", self.options.launcher)

    def wait_for_work(self, process: subprocess.Popen[bytes]) -> bool:
        """Until a cell of this start has begun; False if the sweep has ended before."""
        while process.poll() is None:
            if self.marks() != self._marks:
                return True
            time.sleep(0.02)
        return False

    def marks(self) -> dict[Path, int]:
        """Changes when a cell begins: the first thing that a run writes."""
        return {path: path.stat().st_mtime_ns for path in self.sweep.glob("*/environment.json")}

    def strike(self, process: subprocess.Popen[bytes]) -> None:
        """Kill one or all of a sweep's processes."""
        session = processes_of(process.pid)
        cells = [pid for pid, group in session.items() if pid == group != process.pid]
        targets = {"everything": [*session]}
        if self.options.launcher == "local":
            targets |= {"the sweep": [process.pid]} | ({"a cell": [self.random.choice(cells)]} if cells else {})
        what = self.random.choice(sorted(targets))
        if process.poll() is not None:
            return
        for pid in targets[what]:
            kill(pid)
        self.killed[what] += 1
        if what != "a cell":
            process.wait()

    def note(self) -> None:
        """What is finished must stay as it is, to the byte and to the nanosecond."""
        for name in self.names:
            path = self.sweep / name / "result.json"
            if name not in self._finished and status(path.parent) == "finished":
                self._finished[name] = path.stat().st_mtime_ns, path.read_bytes()
                self.resumed += name in self._begun
            elif name in self._finished:
                assert self._finished[name] == (path.stat().st_mtime_ns, path.read_bytes()), f"{name} was run again"
            if (self.sweep / name / "checkpoints" / "last.ckpt").is_file():
                self._begun.add(name)

    def unfinished(self) -> list[str]:
        return [name for name in self.names if status(self.sweep / name) != "finished"]

    def check(self) -> None:
        """Every cell once, to the end, with the digits of the sweep that nobody disturbed; and nothing besides."""
        self.note()
        for pid in self.survivors():
            raise AssertionError(f"process {pid} is still there")
        ledger = json.loads((self.sweep / "sweep.json").read_text())
        assert sorted(cell["name"] for cell in ledger["cells"]) == sorted(self.names)
        folders = sorted(path.name for path in self.sweep.iterdir() if path.is_dir())
        assert folders == sorted([".locks", "summary", *self.names]), folders
        assert sorted(path.name for path in (self.folder / "multirun").iterdir()) == ["s", "undisturbed"]
        assert not (self.folder / "outputs").exists()
        for name in self.names:
            metrics, rows = digits(self.sweep / name)
            assert [int(row["epoch"]) for row in rows] == list(range(self.options.epochs)), (name, rows)
            assert (metrics, rows) == digits(self.folder / "multirun" / "undisturbed" / name), name
            log = self.sweep / name / "job.log"
            if log.exists():
                ends = [line for line in log.read_text().splitlines() if line.startswith("finished")]
                assert len(ends) <= 1, f"{name} was run to the end {len(ends)} times"

    def survivors(self) -> list[int]:
        """Processes that are left after all has ended; those whose sweep was killed have a moment to go."""
        end = time.monotonic() + 30
        while found := [pid for session in self.sessions for pid in processes_of(session)]:
            if time.monotonic() > end:
                break
            time.sleep(0.1)
        return found

    def printed(self) -> str:
        return (self.folder / "out.txt").read_text()


def status(directory: Path) -> str | None:
    try:
        return str(json.loads((directory / "result.json").read_text())["status"])
    except OSError:
        return None


def digits(directory: Path) -> tuple[Any, list[dict[str, str]]]:
    """A cell's numbers, all of them and to the last digit."""
    with (directory / "history.csv").open() as file:
        rows = [{name: row[name] for name in row if name != "seconds"} for row in csv.DictReader(file)]
    return json.loads((directory / "result.json").read_text())["metrics"], rows


def processes_of(session: int) -> dict[int, int]:
    """Process -> its group, of a session."""
    found: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name: state, parent, group, session.
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(path.parent.name)] = int(fields[2])
    return found


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main()
