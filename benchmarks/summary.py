"""Seconds of `summarize` on made-up sweeps, and bytes of the page: `python -m benchmarks.summary [RUNS ...]`.

Of 1,000, 5,000 and 20,000 runs of 500 settings; last of 5,000 runs with an axis of 2,500 values. Each is a process of
its own, imports included.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import islice, product
from pathlib import Path

AXES = {
    "alpha": [0.1, 0.2, 0.3, 0.5, 0.8],
    "lambda": [0.0001, 0.001, 0.01, 0.1],
    "dropout": [0.1, 0.2, 0.3, 0.4, 0.5],
    "blocks": [1, 2, 3, 4, 5],
    "seed": [0, 1, 2, 3],
}
EPOCHS = 20
HEADER = "epoch,train/loss,train/acc,val/loss,val/acc,lr,seconds"


def make_sweep(folder: Path, jobs: int, axes: dict[str, list[float]] | None = None, epochs: int = EPOCHS) -> None:
    """Write a sweep directory as train.py leaves one: result.json and history.csv a job; one in a hundred failed."""
    axes = axes or AXES
    draw = random.Random(0)
    cells = []
    for values in islice(product(*axes.values()), jobs):
        knobs = dict(zip(axes, values, strict=True))
        name = "+".join(f"{knob}-{value}" for knob, value in sorted(knobs.items()))
        group = "+".join(f"{knob}-{value}" for knob, value in sorted(knobs.items()) if knob != "seed")
        overrides = [f"{knob}={value}" for knob, value in knobs.items()]
        cells.append({"name": name, "key": f"{hash(name):x}", "group": group, "overrides": overrides})
        run = folder / name
        (run / ".hydra").mkdir(parents=True)
        accuracy = 0.6 + 0.03 * sum(map(float, list(values)[:-1])) / len(values) + draw.gauss(0, 0.01)
        result = _result(cells[-1], knobs, accuracy, failed=draw.random() < 0.01)
        (run / "result.json").write_text(json.dumps(result))
        rows = [
            f"{epoch},{2 / (epoch + 1):.4f},{accuracy * (1 - 0.5 ** (epoch + 1)):.4f},{2.1 / (epoch + 1):.4f},"
            f"{accuracy * (1 - 0.6 ** (epoch + 1)):.4f},0.1,1.0"
            for epoch in range(epochs)
        ]
        (run / "history.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    plan = {
        "schema": 1,
        "name": folder.name,
        "commands": [f"python train.py -m {' '.join(f'{k}={chr(44).join(map(str, v))}' for k, v in axes.items())}"],
        "axes": {knob: [str(value) for value in values] for knob, values in axes.items()},
        "cells": cells,
        "figures": [],
    }
    (folder / "sweep.json").write_text(json.dumps(plan))


def _result(cell: dict, knobs: dict[str, float], accuracy: float, failed: bool) -> dict:
    metrics = {
        "train/loss": 0.5, "train/acc": accuracy + 0.1, "val/loss": 1.2 - accuracy, "val/acc": accuracy,
        "test/loss": 1.2 - accuracy, "test/acc": accuracy - 0.005,
    }  # fmt: skip
    return {
        "schema": 1,
        "status": "failed" if failed else "finished",
        "key": cell["key"],
        "group": cell["group"],
        "overrides": cell["overrides"],
        "knobs": {
            **{knob: value for knob, value in knobs.items() if knob != "seed"},
            "lr": 0.1,
            "epochs": EPOCHS,
            "batch_size": 128,
        },
        "seed": knobs.get("seed", 0),
        "metrics": {} if failed else metrics,
        "selected": {"by": "val/acc", "epoch": EPOCHS - 1},
        "epochs": EPOCHS,
        "seconds": {"data": 0.3, "compile": 0.0, "train": 20.0 + knobs.get("blocks", 1), "eval": 1.0, "total": 22.0},
        "images_per_second": 5000.0,
        "parameters": int(100_000 * knobs.get("blocks", 1)),
        "flops": int(4_000_000 * knobs.get("blocks", 1)),
        "peak_memory_bytes": 10**9,
        "device": "cpu",
        "precision": "32",
        "started": "2026-01-01T00:00:00",
        "finished": "2026-01-01T00:00:22",
        "error": "RuntimeError: out of memory" if failed else None,
    }


def measure(name: str, runs: int, axes: dict[str, list[float]]) -> None:
    """Make a sweep, sum it up in a process of its own, print what that took and what came of it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "grid"
        make_sweep(folder, runs, axes)
        begin, before = time.perf_counter(), os.times()
        command = [sys.executable, "-m", "cifarlab.verbs.summarize", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after, seconds = os.times(), time.perf_counter() - begin
        worked = after.children_user + after.children_system - before.children_user - before.children_system
        size = (folder / "summary" / "index.html").stat().st_size / 1e6
        print(f"{name:34} {seconds:6.1f} s  (processor {worked:5.1f} s)  page {size:.1f} MB", flush=True)


def main() -> None:
    """Measure each, and say how loaded the machine is."""
    counts = [int(argument) for argument in sys.argv[1:]] or [1000, 5000, 20_000]
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for count in counts:
        measure(f"{count:,} runs", count, {**AXES, "seed": [*range(math.ceil(count / 500))]})
    many = {"lr": [round(0.0001 * place, 6) for place in range(1, 2501)], "seed": [0, 1]}
    measure("5,000 runs, an axis of 2,500 values", 5000, many)


if __name__ == "__main__":
    main()
