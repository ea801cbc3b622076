"""Folds repeat a setting, and the best setting is trained again with seeds of its own."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cifarlab.result import Identity
from cifarlab.sweeps import confirming
from cifarlab.sweeps.ledger import Cell, Ledger
from cifarlab.sweeps.progress import Progress
from cifarlab.training.hardware.counts import Cost

TrainPy = Callable[..., Any]
TINY = (
    "data=digits", "limit=60", "width=4", "blocks=1", "epochs=1", "batch_size=32", "precision=32", "logger=none",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "figures=[]", "checkpoints=none", "sweep=s",
)  # fmt: skip


def runs(tmp_path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((tmp_path / "multirun" / "s" / "summary" / "runs.csv").open()))


def cells(tmp_path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((tmp_path / "multirun" / "s" / "summary" / "cells.csv").open()))


def test_the_best_is_trained_again_with_fresh_seeds_and_reported_apart(train_py: TrainPy, tmp_path: Path) -> None:
    command = ("-m", *TINY, "lr=0.01,0.1", "seed=0,1", "confirm=2")
    ended = train_py(*command)
    assert ended.code == 0
    best = max(cells(tmp_path), key=lambda row: float(row["val/acc_mean"]))
    assert [row["n"] for row in cells(tmp_path)] == ["2", "2"]
    again = [row for row in runs(tmp_path) if row["confirms"] == "True"]
    assert [(row["name"], row["seed"], row["group"]) for row in again] == [
        (f"confirm+lr-{best['lr']}+seed-{seed}", str(seed), best["group"]) for seed in (2, 3)
    ]
    tested = sum(float(row["test/acc"]) for row in again) / 2
    sentence = f"Trained again with fresh seeds, which had no part in the choice: test accuracy {tested:.4f}"
    folder = tmp_path / "multirun" / "s" / "summary"
    assert sentence in " ".join(ended.out.split())
    assert sentence in (folder / "summary.md").read_text()
    assert sentence in (folder / "index.html").read_text()
    # The key knows nothing of it: one of these runs is the run of that seed.
    result = json.loads((tmp_path / "multirun" / "s" / again[0]["name"] / "result.json").read_text())
    assert (result["seed"], result["group"]) == (2, best["group"])

    same = train_py(*command)
    assert same.code == 0
    assert "…" not in same.out  # nothing was run


def test_a_fresh_seed_that_the_sweep_asks_for_later_is_none_any_more(tmp_path: Path) -> None:
    """Its run counts as any other, and other seeds confirm."""
    ledger = Ledger(tmp_path)
    for seed in (0, 1):
        ledger.enter(f"seed-{seed}", Identity(f"key{seed}", "g", seed=seed), (f"seed={seed}",))
    ledger.enter("confirm+seed-2", Identity("key2", "g", seed=2), ("seed=2",), confirms="g")
    assert [cell.confirms for cell in ledger.cells.values()] == [None, None, "g"]
    ledger.enter("seed-2", Identity("key2", "g", seed=2), ("seed=2",))
    ledger.write()
    again = Ledger.open(tmp_path)
    assert [(cell.name, cell.confirms) for cell in again.cells.values()][-1] == ("confirm+seed-2", None)
    assert list(itertools.islice(confirming.unused_seeds(again), 2)) == [3, 4]


def test_a_sweep_ends_with_its_table_and_says_which_setting_is_better(train_py: TrainPy, tmp_path: Path) -> None:
    ended = train_py("-m", *TINY, "lr=0.01,1e6", "seed=0,1")
    assert ended.code == 1
    assert [(row["lr"], row["n"], row["diverged"]) for row in cells(tmp_path)] == [
        ("0.01", "2", "0"),
        ("1000000.0", "0", "2"),
    ]
    assert "Best of 2 settings, 1 of them without a finished run, by mean validation accuracy: lr=0.01." in ended.out
    assert "confirm=5" not in ended.out  # there was no choice
    assert ended.out.rstrip().endswith("index.html")


def test_folds_are_an_axis_of_repetitions(train_py: TrainPy, tmp_path: Path) -> None:
    """Case 18."""
    ended = train_py("-m", *TINY, "folds=2", "lr=0.01,0.1")
    assert ended.code == 0
    ledger = json.loads((tmp_path / "multirun" / "s" / "sweep.json").read_text())
    assert ledger["axes"] == {"lr": ["0.01", "0.1"], "data.fold": ["1/2", "2/2"]}
    assert [(row["lr"], row["n"]) for row in cells(tmp_path)] == [("0.01", "2"), ("0.1", "2")]
    assert "Best of 2 settings" in ended.out
    assert "2 shared folds" in " ".join(ended.out.split())
    assert "Nadeau and Bengio (2003)" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-m", "folds=3", "data.fold=1/3,2/3"), "folds=3: data.fold is given too; give one of them"),
        (("-m", "folds=1", "lr=0.1,0.2"), "folds=1: "),
        (("-m", "confirm=1,2"), "confirm: a sweep has one value of it; give one"),
        (("folds=3",), "folds: this is a single run; add -m for a sweep"),
        (("confirm=5",), "confirm: this is a single run; add -m for a sweep"),
    ],
)
def test_what_cannot_be_is_refused(train_py: TrainPy, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    ended = train_py(*arguments, *(each for each in TINY if not (each.startswith("sweep") and "-m" not in arguments)))
    assert (ended.code, said in ended.err) == (2, True), ended.err
    assert not (tmp_path / "multirun").exists()


def test_a_plan_cuts_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    name = "+".join(f"knob_{number}-value_{number}" for number in range(20))
    progress = Progress(1, Console(width=60, highlight=False))
    progress.plan([Cell(name, "k", "g", ())], [Cost(parameters=1_000_000, flops=2_000_000)], ["missing"])
    lines = capsys.readouterr().out.splitlines()
    assert "".join(line[: lines[0].index("parameters")].strip() for line in lines[1:]).startswith("knob_0-value_0")
    assert name in "".join(line.split()[0] for line in lines[1:])
    assert "1,000,000" in lines[1]
