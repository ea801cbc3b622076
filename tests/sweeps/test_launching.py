"""A cell as a process of its own: what it is told, and what it leaves."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import reopen
from cifarlab.result import Identity, Result
from cifarlab.sweeps import sweeper
from cifarlab.sweeps.launchers import one_by_one
from cifarlab.sweeps.launchers.launching import CellRun
from cifarlab.sweeps.launchers.local import LocalLauncher
from cifarlab.sweeps.launchers.worker import last_words
from cifarlab.sweeps.ledger import claimed

TrainPy = Callable[..., Any]
TRAIN = Path(__file__).resolve().parents[2] / "train.py"
TINY = (
    "data=digits", "limit=60", "width=4", "blocks=1", "epochs=1", "batch_size=32", "precision=32", "logger=none",
    "trainer.accelerator=cpu", "figures=[]",
)  # fmt: skip


@pytest.fixture
def runs(train_py: TrainPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[CellRun]]:
    """The arguments of a sweep -> its cells as they are handed to a launcher, which here runs none."""
    handed: list[CellRun] = []

    def run(self: Any, cells: Any) -> Any:
        for cell in cells:
            handed.append(cell)
            yield cell, None

    monkeypatch.setattr(one_by_one.OneByOne, "run", run)
    monkeypatch.setattr(sweeper, "summarize", lambda directory: directory)

    def runs(*arguments: str) -> list[CellRun]:
        handed.clear()
        train_py("-m", *arguments, *TINY)
        return list(handed)

    return runs


def script(folder: Path, text: str) -> tuple[str, ...]:
    """A script in the place of train.py."""
    (folder / "script.py").write_text(f"import os, signal, sys\n{text}\n")
    return (str(folder / "script.py"), "one", "two")


def in_a_process(cell: CellRun) -> int:
    """Run a cell in a process of its own; its exit code."""
    worker = "cifarlab.sweeps.launchers.worker"
    program = f"import pickle, sys; from {worker} import run_cell; run_cell(pickle.load(sys.stdin.buffer))"
    return subprocess.run([sys.executable, "-c", program], input=pickle.dumps(cell), check=False).returncode


@pytest.fixture
def cell(tmp_path: Path) -> Callable[[str], CellRun]:
    """The text of a script -> a cell that runs it."""
    identity = Identity("k" * 16, "g", {"lr": 0.1}, ("lr=0.1",), seed=5)
    return lambda text: CellRun(tmp_path / "s", "lr-0.1", identity, script(tmp_path, text), tmp_path)


def test_a_cell_is_the_command_of_a_single_run(runs: Callable[..., list[CellRun]], tmp_path: Path) -> None:
    first, second = runs("sweep=s", "seed=0,1", "trainer.devices=2", "hydra.verbose=[x]", "hydra/launcher=basic")
    assert (first.name, first.directory) == ("seed-0", tmp_path / "multirun" / "s" / "seed-0")
    assert (first.devices, first.accelerator, first.cwd) == (2, "cpu", tmp_path)
    assert first.argv == (str(TRAIN), f"resume={first.directory}")
    travelled = pickle.loads(pickle.dumps(first))
    assert (travelled.argv, travelled.identity, travelled.planned) == (first.argv, first.identity, None)
    job = reopen(second.directory)
    assert (job.identity.key, job.settings.seed) == (second.key, 1)
    assert (job.settings.checkpoints, job.parts["trainer"].arguments["progress_bar"]) == ("best", False)


def test_what_is_typed_about_checkpoints_holds(runs: Callable[..., list[CellRun]]) -> None:
    (cell,) = runs("checkpoints=all")
    assert reopen(cell.directory).settings.checkpoints == "all"


def test_what_was_planned_is_run_whatever_becomes_of_the_config(
    runs: Callable[..., list[CellRun]], tmp_path: Path
) -> None:
    """Case 1: a file of ``conf/`` changes between the plan and the turn of the second cell."""
    mine = tmp_path / "own" / "experiment" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# @package _global_\ndropout: 0.25\n")
    _, second = runs("--config-dir", "own", "sweep=s", "experiment=mine", "seed=0,1")
    mine.write_text("# @package _global_\ndropout: 0.5\n")
    assert in_a_process(second) == 0
    result = Result.read(second.directory)
    assert (result.status, result.key, result.knobs["dropout"]) == ("finished", second.key, 0.25)


def test_a_config_of_ones_own_is_found_by_the_process(runs: Callable[..., list[CellRun]], tmp_path: Path) -> None:
    """``--config-dir`` and the axes of an experiment reach the single run; its key is the cell's."""
    (tmp_path / "own dir" / "experiment").mkdir(parents=True)
    (tmp_path / "own dir" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 4,5\n      blocks: 2\n"
    )
    first, second = runs("--config-dir", "own dir", "sweep=s", "experiment=mine")
    assert {first.name, second.name} == {"seed-4", "seed-5"}
    assert in_a_process(second) == 0
    result = Result.read(second.directory)
    assert (result.status, result.key, result.seed) == ("finished", second.key, 5)
    assert "finished" in (second.directory / "job.log").read_text()
    assert not (tmp_path / "outputs").exists()
    # It is done: another process that comes upon it leaves it as it is.
    before = (second.directory / "result.json").stat().st_mtime_ns
    assert in_a_process(second) == 0
    assert (second.directory / "result.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("text", "code", "status", "error"),
    [
        ("print('all is said'); print('no such knob', file=sys.stderr); sys.exit(2)", 2, "failed", "no such knob"),
        ("sys.exit('words alone')", 1, "failed", "words alone"),
        ("sys.exit(3)", 3, "failed", "the script ended with exit code 3"),
        ("os.system('echo of a child'); 1 / 0", 1, "failed", "ZeroDivisionError: division by zero"),
        ("os.kill(os.getpid(), signal.SIGTERM); print('still here')", 1, "interrupted", "stopped by SIGTERM"),
        (
            "assert sys.argv[1:3] == ['one', 'two'] and sys.argv[3].startswith('resume='); assert len(sys.argv) == 4; "
            "assert sys.path[0] == os.getcwd()",
            0,
            "failed",
            "exit code 0",
        ),
    ],
)
def test_a_script_that_leaves_no_result_gets_one(
    cell: Callable[[str], CellRun], text: str, code: int, status: str, error: str
) -> None:
    given = cell(text)
    assert in_a_process(given) == code
    result = Result.read(given.directory)
    assert (result.status, result.key, result.knobs, result.seed) == (status, given.key, {"lr": 0.1}, 5)
    assert (result.error or "").strip().endswith(error)
    if "child" in text:
        assert "of a child" in (given.directory / "job.log").read_text()


def test_a_result_that_the_script_has_written_stands(cell: Callable[[str], CellRun]) -> None:
    given = cell("from pathlib import Path\nPath('s/lr-0.1/result.json').write_text('{}')\nsys.exit(1)")
    assert in_a_process(given) == 1
    assert json.loads((given.directory / "result.json").read_text()) == {}


def test_a_cell_that_is_held_by_another_process_is_left_alone(cell: Callable[[str], CellRun]) -> None:
    given = cell("print('begun')")
    with claimed(given.sweep, given.key):
        assert in_a_process(given) == 0
    assert not given.directory.exists()


def test_the_last_words_are_those_of_the_last_sitting(tmp_path: Path) -> None:
    assert last_words(tmp_path) == ""
    lines = [f"line {number}" for number in range(30)]
    (tmp_path / "job.log").write_text("\n".join(["====== one", "old words", "====== two", *lines]) + "\n\n")
    assert last_words(tmp_path, lines=3) == "line 27\nline 28\nline 29"
    assert "old words" not in last_words(tmp_path, lines=100)
    (tmp_path / "job.log").write_bytes(b"====== one\n\xff\n")
    assert last_words(tmp_path) == "\ufffd"


def test_our_launchers_serve_our_sweeper_alone() -> None:
    with pytest.raises(ConfigError, match="hydra/sweeper=cifarlab"):
        LocalLauncher().launch([["seed=0"]], 0)
