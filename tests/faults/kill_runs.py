"""Kill runs at random moments and between their last steps, go on with them, and see whether a digit was lost.

    python tests/faults/kill_runs.py --kills 50 --seed 0

Each run is the real ``python train.py`` on the digits, in a process that is forked from this one, which has imported
everything and computed nothing. Every other one is killed (SIGKILL) at a random moment, the rest at a moment that is
named below: within the writing of a file, between record, loggers and the discarding of checkpoints. The same command
again must bring it to its end with the digits of a run that nobody disturbed. Ends with exit code 0 and a line of
numbers, or with what is wrong.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import runpy
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from cifarlab import result as results
from cifarlab.job import directory as run_directory
from cifarlab.result import Result
from cifarlab.training import run as runs
from cifarlab.training.records import checkpoints
from cifarlab.training.records.loggers import RunLogger
from cifarlab.training.records.recorder import Recorder
from cifarlab.verbs.commands import train  # noqa: F401 - imported here, once for all processes

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
COMMAND = (
    "data=digits", "limit=200", "width=4", "blocks=1", "batch_size=10", "precision=32", "figures=[curves]", "epochs=4",
    "checkpoints=best", "trainer.progress_bar=false", "trainer.accelerator=cpu",
)  # fmt: skip
# What of a finished run stays, beside figures and TensorBoard's files.
KEPT = {
    ".hydra",
    "checkpoints",
    "environment.json",
    "figures",
    "history.csv",
    "report.txt",
    "result.json",
    "tensorboard",
}
ALLOWED = {"uncommitted.diff", "uncommitted-2.diff", "train.log", ".claim.lock"}


class Moment(NamedTuple):
    """Where a process kills itself: before a function, after it, or when it has written half of what it writes.

    Attributes:
        calls: in one of so many of its first calls, by chance.
    """

    owner: Any
    function: str
    when: Literal["before", "after", "half"]
    calls: int = 1


MOMENTS = {
    "while the job is written": Moment(run_directory, "write_text", "before", 4),
    "before environment.json": Moment(results, "write_text", "before"),
    "within a file": Moment(results.os, "fsync", "before", 12),
    "within a checkpoint": Moment(torch, "save", "half", 8),
    "between best.ckpt and last.ckpt": Moment(checkpoints.BestWeights, "save", "after", 3),
    "after an epoch": Moment(Recorder, "on_train_epoch_end", "after", 4),
    "before the test": Moment(runs, "_evaluate", "before"),
    "before the record": Moment(Result, "write", "before"),
    "between record and loggers": Moment(Result, "write", "after"),
    "between loggers and figures": Moment(RunLogger, "log_run", "after"),
    "between figures and discard": Moment(runs, "discard", "before"),
    "within discard": Moment(checkpoints, "remove_half_written", "after"),
    "after discard": Moment(runs, "discard", "after"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        trial = Trial(Path(temporary), random.Random(options.seed))
        faults = [fault for number in range(options.kills) if (fault := trial.kill_one(number))]
    tried = trial.killed.total()
    print(f"{tried} runs tried, {tried - len(faults)} held: {dict(sorted(trial.killed.items()))}")
    print(f"at their end: {dict(trial.ended)}; the digits are those of an undisturbed run")
    if faults:
        sys.exit("\n".join(faults))


class Trial:
    """Runs that are killed, beside one that is not."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.killed: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        begin = time.monotonic()
        code = wait(start(folder, "undisturbed"))
        assert code == 0, printed(folder)
        self.seconds = time.monotonic() - begin
        self.digits = digits(folder / "undisturbed")

    def kill_one(self, number: int) -> str | None:
        """Kill a run and go on with it; what is wrong then."""
        name = f"run-{number}"
        directory = self.folder / name
        if number % 2:
            when = list(MOMENTS)[number // 2 % len(MOMENTS)]
            moment = MOMENTS[when]
            pid = start(self.folder, name, moment, self.chance.randint(1, moment.calls))
        else:
            when = "at random"
            pid = start(self.folder, name)
            time.sleep(self.chance.uniform(0, self.seconds))
            os.kill(pid, signal.SIGKILL)
        code = wait(pid)
        if code != -signal.SIGKILL:
            when = f"{when}, too late"
        self.killed[when] += 1
        self.ended[how_far(directory)] += 1
        try:
            self.check_what_is_left(directory)
            code = wait(start(self.folder, name))
            assert code == 0, f"the second start ended with {code}: {printed(self.folder)[-2000:]}"
            self.check_the_end(directory)
        except (AssertionError, OSError, ValueError, KeyError) as error:
            return f"{name}, killed {when}: {type(error).__name__}: {error}"
        return None

    def check_what_is_left(self, directory: Path) -> None:
        """No file in its place is half of one, and a record is of a run whose numbers are all there."""
        if (directory / "result.json").exists():
            assert json.loads((directory / "result.json").read_text())["status"] == "finished"
            assert digits(directory) == self.digits
        for path in (directory / "checkpoints").glob("[!.]*"):
            assert torch.load(path, weights_only=True)["state_dict"]

    def check_the_end(self, directory: Path) -> None:
        assert digits(directory) == self.digits, "other digits"
        names = {path.name for path in directory.iterdir()}
        assert (directory / "checkpoints" / "best.ckpt").is_file(), "no weights"
        assert names <= KEPT | ALLOWED, names - KEPT - ALLOWED
        weights = {path.name for path in (directory / "checkpoints").iterdir()}
        assert weights <= {"best.ckpt", "last.ckpt"}, weights


def start(folder: Path, name: str, moment: Moment | None = None, call: int = 1) -> int:
    """``python train.py`` in a process of its own, which kills itself at a moment that is named; its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(folder)
        with (folder / "out.txt").open("ab") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        torch.set_num_threads(1)
        sys.argv[:] = [str(TRAIN), *COMMAND, f"hydra.run.dir={folder / name}"]
        if moment is not None:
            make_deadly(moment, call)
        runpy.run_path(str(TRAIN), run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(code)


def make_deadly(moment: Moment, call: int) -> None:
    """The process kills itself when it comes to a moment for the first, second, ... time."""
    function, count = getattr(moment.owner, moment.function), itertools.count(1)

    def killing(*given: Any, **named: Any) -> Any:
        if next(count) < call:
            return function(*given, **named)
        if moment.when != "before":
            function(*given, **named)
        if moment.when == "half":
            file = given[1]
            file.truncate(file.tell() // 2)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(moment.owner, moment.function, killing)


def wait(pid: int) -> int:
    """The exit code of a process, negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def how_far(directory: Path) -> str:
    """What a killed run has left."""
    if (directory / "result.json").exists():
        return "with a record"
    if (directory / "checkpoints" / "last.ckpt").exists():
        return "between epochs"
    return "before the first checkpoint" if (directory / ".hydra" / "config.yaml").exists() else "before the run"


def digits(directory: Path) -> tuple[Any, list[dict[str, str]]]:
    """A run's numbers, all of them and to the last digit."""
    with (directory / "history.csv").open() as file:
        rows = [{name: row[name] for name in row if name != "seconds"} for row in csv.DictReader(file)]
    return json.loads((directory / "result.json").read_text())["metrics"], rows


def printed(folder: Path) -> str:
    return (folder / "out.txt").read_text()


if __name__ == "__main__":
    main()
