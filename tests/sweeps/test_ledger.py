"""A sweep's memory, and the locks that let processes share it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cifarlab.job.configure import ConfigError
from cifarlab.result import Identity, Result
from cifarlab.sweeps.ledger import Cell, Ledger, claimed, locked, read_outcome, set_aside, status_of

A, B = "a" * 16, "b" * 16


def finished(directory: Path, key: str) -> None:
    """A finished run."""
    directory.mkdir(parents=True)
    result = Result.begun(Identity(key=key, group="g"))
    result.status = "finished"
    result.write(directory)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "resnet")
    ledger.merge("python train.py -m seed=0,1", {"++seed": ("0", "1")}, ["heatmap_a_b"])
    cell = ledger.enter("seed-0", Identity(A, "g", {"lr": 1.0}, seed=0), ["++seed=0", "lr=1"])
    ledger.write()
    assert Ledger.open(tmp_path / "resnet") == ledger
    assert cell == Cell("seed-0", A, "g", ("seed=0", "lr=1"), {"lr": 1.0}, 0)
    assert json.loads((tmp_path / "resnet" / "sweep.json").read_text()) == {
        "schema": 2,
        "name": "resnet",
        "commands": ["python train.py -m seed=0,1"],
        "axes": {"seed": ["0", "1"]},
        "cells": [
            {
                "name": "seed-0",
                "key": A,
                "group": "g",
                "overrides": ["seed=0", "lr=1"],
                "knobs": {"lr": 1.0},
                "seed": 0,
            }
        ],
        "figures": ["heatmap_a_b"],
        "search": {},
    }


def test_a_ledger_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    old = {"schema": 1, "cells": [{"name": "x", "key": A, "group": "g", "overrides": ["seed=0"]}]}
    (tmp_path / "sweep.json").write_text(json.dumps(old))
    assert Ledger.open(tmp_path).cells[A] == Cell("x", A, "g", ("seed=0",), {}, None)


def test_a_second_start_adds_to_the_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.merge("one", {"blocks": ["1"]}, ["curves"])
    ledger.merge("one", {"blocks": ["3", "1"], "seed": ["0"]}, ["curves", "cost"])
    assert ledger.commands == ["one"]
    assert ledger.axes == {"blocks": ["1", "3"], "seed": ["0"]}
    assert ledger.figures == ["curves", "cost"]


def test_a_cell_is_known_by_its_key_and_keeps_its_name(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    first = ledger.enter("kernel_size-2", Identity(A, "g"), ["kernel_size=2"])
    assert ledger.enter("kernel_size-2+seed-0", Identity(A, "g"), ["kernel_size=2", "seed=0"]) is first


def test_another_key_under_a_name_that_is_taken_gets_its_digits(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.enter("lr-1", Identity(A, "g"), [])
    assert ledger.enter("lr-1", Identity(B, "g"), []).name == "lr-1.bbbbbb"


@pytest.mark.parametrize(("stored", "name"), [(A, "lr-1"), (B, "lr-1.aaaaaa"), (None, "lr-1.aaaaaa")])
def test_a_folder_that_a_lost_ledger_knew(tmp_path: Path, stored: str | None, name: str) -> None:
    """A finished cell of this key is taken back; a folder of another, or that cannot say, is left alone."""
    if stored is None:
        (tmp_path / "lr-1" / "checkpoints").mkdir(parents=True)
    else:
        finished(tmp_path / "lr-1", stored)
    assert Ledger.open(tmp_path).enter("lr-1", Identity(A, "g"), []).name == name


def test_a_long_name_is_cut_and_told_apart_by_its_key(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    long = "+".join(f"some_knob_{number}-0.12345" for number in range(20))
    names = [ledger.enter(long, Identity(key, "g"), []).name for key in (A, B)]
    assert len(set(names)) == 2
    for name in names:
        (tmp_path / name).mkdir()


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"cells": [{"name": "x"}]}'])
def test_a_damaged_ledger_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(ValueError, match=r"sweep\.json is damaged"):
        Ledger.open(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_an_outcome_that_cannot_be_read_is_damaged_and_an_absent_one_is_none(tmp_path: Path, text: str) -> None:
    assert (read_outcome(tmp_path), status_of(tmp_path, A)) == ({}, "missing")
    (tmp_path / "result.json").write_text(text)
    found = read_outcome(tmp_path)
    assert (found["status"], status_of(tmp_path, A)) == ("damaged", "damaged")
    assert str(tmp_path / "result.json") in found["error"]


def test_a_result_of_another_key_says_nothing_of_a_cell(tmp_path: Path) -> None:
    finished(tmp_path / "cell", A)
    assert (status_of(tmp_path / "cell", A), status_of(tmp_path / "cell", B)) == ("finished", "missing")


def hold(directory: Path, key: str) -> subprocess.Popen[str]:
    """Another process that holds a cell until it is killed."""
    (directory / ".locks").mkdir()
    program = (
        "import sys, time\nfrom filelock import FileLock\n"
        "with FileLock(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(directory / ".locks" / f"{key}.lock")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_cell_is_held_by_one_process_and_freed_when_that_is_killed(tmp_path: Path) -> None:
    other = hold(tmp_path, A)
    try:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "held"
        with claimed(tmp_path, A) as mine:
            assert not mine
        with claimed(tmp_path, B) as mine:
            assert mine
        with pytest.raises(ConfigError, match="fresh=true: another process is at work"):
            set_aside(tmp_path)
    finally:
        other.kill()
        other.wait()
    with claimed(tmp_path, A) as mine:
        assert mine


def test_setting_aside_renames_and_never_overwrites(tmp_path: Path) -> None:
    sweep = tmp_path / "resnet"
    assert set_aside(sweep) is None
    kept = set()
    for number in range(3):  # within one second
        with locked(sweep):
            (sweep / "mark").write_text(str(number))
        target = set_aside(sweep)
        assert target is not None
        assert target.name.startswith("resnet.")
        assert (target / "mark").read_text() == str(number)
        kept.add(target)
    assert not sweep.exists()
    assert len(kept) == 3


def test_axes_that_a_later_command_does_not_zip_are_apart_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.merge("first", {"++lr": ["1", "2"], "width": ["3", "4"]}, (), together={"lr+width": ("++lr", "width")})
    ledger.write()
    assert Ledger.open(tmp_path).together == {"lr+width": ["lr", "width"]}
    ledger.merge("more seeds", {"seed": ["0", "1"]}, ())
    assert ledger.together == {"lr+width": ["lr", "width"]}
    ledger.merge("a grid", {"lr": ["1", "2"], "width": ["3", "4"]}, ())
    assert ledger.together == {}
