"""Sweep directories made up on disk, with numbers that a test knows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Score = Callable[[Mapping[str, Any]], float]


def write_run(folder: Path, knobs: Mapping[str, Any], accuracy: float, **changes: Any) -> None:
    """One run directory: result.json and a history of three epochs."""
    (folder / ".hydra").mkdir(parents=True)
    setting = {knob: value for knob, value in knobs.items() if knob != "seed"}
    result = {
        "schema": 1,
        "status": "finished",
        "key": folder.name,
        "group": json.dumps(setting),
        "overrides": [f"{knob}={value}" for knob, value in knobs.items()],
        "knobs": {**setting, "epochs": 3},
        "seed": knobs.get("seed", 0),
        "metrics": {"val/acc": accuracy, "test/acc": accuracy - 0.01, "val/loss": 1 - accuracy, "train/acc": accuracy},
        "selected": {"by": "val/acc", "epoch": 2},
        "epochs": 3,
        "seconds": {"train": 9.0, "total": 10.0 + accuracy},
        "parameters": 1000,
        "device": "cpu",
        "precision": "32",
        "error": None,
    }
    (folder / "result.json").write_text(json.dumps(result | changes))
    rows = [f"{epoch},{1 / (epoch + 1)},{accuracy * (epoch + 1) / 3}" for epoch in range(3)]
    (folder / "history.csv").write_text("\n".join(["epoch,val/loss,val/acc", *rows]) + "\n")


def write_sweep(folder: Path, axes: Mapping[str, Sequence[Any]], score: Score, **plan: Any) -> Path:
    """A full grid with its sweep.json; run `blocks-1+seed-0` has the score of {"blocks": 1, "seed": 0}."""
    cells = []
    for values in itertools.product(*axes.values()):
        knobs = dict(zip(axes, values, strict=True))
        name = "+".join(f"{knob}-{value}" for knob, value in knobs.items())
        write_run(folder / name, knobs, score(knobs))
        result = json.loads((folder / name / "result.json").read_text())
        cells.append({"name": name, **{part: result[part] for part in ("key", "group", "overrides")}})
    content = {
        "schema": 1,
        "name": folder.name,
        "commands": ["python train.py -m ..."],
        "axes": {knob: list(map(str, values)) for knob, values in axes.items()},
        "cells": cells,
        "figures": [],
    }
    (folder / "sweep.json").write_text(json.dumps(content | plan))
    return folder


def change(run: Path, **changes: Any) -> None:
    """Rewrite parts of a result.json."""
    path = run / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., Path]:
    """Builds a sweep directory: `make_sweep(axes, score=..., name=...)`."""

    def make(axes: Mapping[str, Sequence[Any]], score: Score | None = None, name: str = "grid", **plan: Any) -> Path:
        draw = np.random.default_rng(0)
        return write_sweep(tmp_path / name, axes, score or (lambda knobs: float(draw.uniform(0.4, 0.9))), **plan)

    return make


@pytest.fixture
def alter() -> Callable[..., None]:
    """Changes a run's result: `alter(run_directory, status="failed")`."""
    return change


@pytest.fixture(scope="session")
def make_run() -> Callable[..., None]:
    """Writes one run directory: `make_run(folder, knobs, accuracy, **changes)`."""
    return write_run
