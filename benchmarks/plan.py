"""Seconds until a sweep of 1,000 cells is planned, and until it answers where all of them are finished.

    python -m benchmarks.plan [--seeds 10] [--keep FOLDER]

The sweep is of digits: 4 rates of dropout, 25 learning rates, so many seeds. Each command is a process of its own, and
its seconds are those of the wall, with what its processor did beside them; the machine's load is said first. The cells
are not trained: a launcher that only writes a result and a history of 20 epochs takes the place of the real one.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from cifarlab.result import Result, Status
from cifarlab.sweeps.launchers.launching import CellRun

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
SWEEP = ["-m", "sweep=load", "data=digits", "model=resnet", "dropout=0,0.1,0.2,0.3", "lr=range(0.01,0.26,0.01)"]
EPOCHS = 20
HEADER = "epoch,train/loss,train/acc,val/loss,val/acc,lr,seconds"


def pretend(launcher: object, cells: Iterator[CellRun]) -> Iterator[tuple[CellRun, str | None]]:
    """In the place of a launcher's `run`: every cell is finished at once."""
    draw = random.Random(0)
    for cell in cells:
        accuracy = draw.uniform(0.6, 0.9)
        result = Result.begun(
            cell.identity, epochs=EPOCHS, seconds={"train": 20.0, "total": 22.0}, parameters=1_227_594, flops=24_000_000
        )
        result.status = Status.FINISHED
        result.metrics = {"train/acc": accuracy + 0.1, "val/acc": accuracy, "test/acc": accuracy, "test/loss": 0.5}
        result.selected = {"by": "val/acc", "epoch": EPOCHS - 1}
        rows = [f"{epoch},{1 / (epoch + 1):.4f},{accuracy:.4f},0.5,{accuracy:.4f},0.1,1.0" for epoch in range(EPOCHS)]
        (cell.directory / "history.csv").write_text("\n".join([HEADER, *rows, ""]))
        result.write(cell.directory)
        yield cell, None


def finish(command: list[str]) -> None:
    """Run the sweep here, with every cell finished at once."""
    from cifarlab.sweeps import sweeper
    from cifarlab.sweeps.launchers.one_by_one import OneByOne
    from cifarlab.verbs.commands.train import main

    OneByOne.run = pretend  # type: ignore[method-assign]
    sweeper.summarize = lambda directory: None  # it is summed up when it is started again
    sys.argv = [str(TRAIN), *command]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        main()


def seconds(name: str, command: list[str]) -> None:
    """Run a command in a process of its own and print what it took."""
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    worked = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{name:30} {time.perf_counter() - began:6.1f} s  (processor {worked:.1f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="seeds of each of the 100 settings")
    parser.add_argument("--keep", type=Path, help="a folder for the sweep, which stays")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch, chdir(options.keep or scratch):
        command = [*SWEEP, f"seed=range({options.seeds})"]
        print(f"{100 * options.seeds:,} cells, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        seconds("import torch", ["-c", "import torch"])
        seconds("plan=true", [str(TRAIN), *command, "plan=true"])
        finish(command)
        seconds("the finished sweep again", [str(TRAIN), *command])


if __name__ == "__main__":
    main()
