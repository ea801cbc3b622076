"""``hydra/launcher=slurm``: what Slurm is asked for, and what is made of its answers; a real one where there is one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cifarlab.job.configure import ConfigError
from cifarlab.result import Identity, Result
from cifarlab.sweeps.launchers import slurm, slurm_queue, slurm_task
from cifarlab.sweeps.launchers.launching import CellRun
from cifarlab.sweeps.launchers.slurm import SlurmLauncher
from cifarlab.training.records.interruption import Interrupted, raising_on_signals

cloudpickle = pytest.importorskip("cloudpickle", reason="pip install -e '.[slurm]'")
pytest.importorskip("submitit", reason="pip install -e '.[slurm]'")

TrainPy = Callable[..., Any]
# Slurm's commands as far as the launcher uses them. What they answer lies in files of their own folder.
COMMANDS = {
    "sbatch": 'test -e refusal && { cat refusal >&2; exit 1; }; cp "$1" script; echo Submitted batch job $(cat number)',
    "squeue": "test -e silent && { rm silent; exit 1; }; cat queue",
    "scontrol": 'echo "$@" >> asked; cat "job-$4" 2>/dev/null || true',
    "sacct": "cat accounting 2>/dev/null",
    "scancel": 'echo "$@" >> cancelled; : > queue',
    "srun": "exit 1",
}


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with commands that are found before Slurm's own, and their answers: job 7, an empty queue."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, script in COMMANDS.items():
        (folder / name).write_text(f'#!/bin/sh\ncd "{folder}"\n{script}\n')
        (folder / name).chmod(stat.S_IRWXU)
    (folder / "number").write_text("7")
    (folder / "queue").touch()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "TICK", 0.001)
    monkeypatch.setattr(slurm, "SHORTEST_POLL", 0.001)
    monkeypatch.setattr(slurm, "LATENESS", 0.05)
    return folder


@pytest.fixture
def cells(tmp_path: Path) -> list[CellRun]:
    return [make_cell(tmp_path, number) for number in range(5)]


def make_cell(sweep: Path, number: int = 0, **known: Any) -> CellRun:
    return CellRun(sweep, f"seed-{number}", Identity(f"k{number}", "g"), ("train.py",), sweep, **known)


def returned(sweep: Path, job: str, value: Any, outcome: str = "success") -> None:
    """What submitit writes when the function of a job returns."""
    folder = sweep / ".slurm"
    folder.mkdir(exist_ok=True)
    (folder / f"{job}_0_result.pkl").write_bytes(cloudpickle.dumps((outcome, value)))


def sbatch_lines(launcher: SlurmLauncher, cells: list[CellRun], pretended: Path) -> list[str]:
    """The script that sbatch was given, a line each."""
    returned(cells[0].sweep, "7", None)
    for number in range(len(cells)):
        returned(cells[0].sweep, f"7_{number}", None)
    assert [cell for cell, _ in launcher.run(iter(cells))] == cells
    return (pretended / "script").read_text().splitlines()


def test_a_grid_is_one_array(pretended: Path, cells: list[CellRun]) -> None:
    launcher = SlurmLauncher(
        partition="gpu", account="lab", qos="high", constraint="a100", timeout_min=30, signal_delay_s=45,
        cpus_per_cell=4, mem_gb=2.5, array_parallelism=2, setup=("module load cuda", "echo 'a b'"),
        additional_parameters={"reservation": "x y", "exclusive": True},
    )  # fmt: skip
    lines = sbatch_lines(launcher, cells, pretended)
    options = sorted(line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH"))
    sweep = cells[0].sweep
    assert options == sorted([
        "partition=gpu", "account=lab", "qos=high", "constraint=a100", "time=30", "signal=USR2@45",
        "cpus-per-task=4", "mem=2560M", "array=0-4%2", "gpus-per-node=1", "requeue", "reservation='x y'", "exclusive",
        f"job-name={sweep.name}", "nodes=1", "open-mode=append", f"output={sweep}/.slurm/%A_%a_0_log.out",
    ])  # fmt: skip
    begin = lines.index("export OMP_NUM_THREADS=4 MKL_NUM_THREADS=4")
    assert lines[begin + 1 : begin + 3] == ["module load cuda", "echo 'a b'"]
    assert any(line.startswith("srun ") and " --cpus-per-task=4 " in line for line in lines)


def test_the_site_decides_what_is_not_said(pretended: Path, cells: list[CellRun]) -> None:
    text = "\n".join(sbatch_lines(SlurmLauncher(), cells[:1], pretended))
    for option in ("time", "mem", "partition", "account", "qos", "constraint", "array", "wckey"):
        assert f"--{option}=" not in text
    assert "#SBATCH --requeue" in text


@pytest.mark.parametrize(
    ("options", "known", "gpus"),
    [
        ({}, {}, 1),
        ({}, {"devices": 4}, 4),
        ({}, {"devices": 4, "accelerator": "cpu"}, 0),
        ({"gpus_per_cell": 0}, {"devices": 4}, 0),
        ({"gpus_per_cell": 8}, {"devices": 4}, 8),
        ({"gpus_per_cell": 2}, {"devices": 4}, None),
    ],
)
@pytest.mark.usefixtures("pretended")
def test_a_cell_asks_for_its_devices(
    tmp_path: Path, options: dict[str, Any], known: dict[str, Any], gpus: int | None
) -> None:
    launcher, cell = SlurmLauncher(**options), make_cell(tmp_path, **known)
    if gpus is None:
        with pytest.raises(ConfigError, match=r"gpus_per_cell=2: seed-0 uses 4 devices"):
            launcher.gpus(cell)
    else:
        assert launcher.gpus(cell) == gpus


def test_cells_that_want_unlike_things_are_arrays_of_their_own(
    tmp_path: Path, pretended: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [make_cell(tmp_path, number, devices=1 + number % 2) for number in range(4)]
    with (pretended / "sbatch").open("a") as script:
        script.write("mv script script-$(cat number); echo 8 > number\n")
    for job in ("7_0", "7_1", "8_0", "8_1"):
        returned(tmp_path, job, job)
    ended = [(cell.name, why) for cell, why in SlurmLauncher().run(iter(cells))]
    assert sorted(ended) == [("seed-0", "7_0"), ("seed-1", "8_0"), ("seed-2", "7_1"), ("seed-3", "8_1")]
    assert "--gpus-per-node=1" in (pretended / "script-7").read_text()
    assert "--gpus-per-node=2" in (pretended / "script-8").read_text()
    assert "Slurm job 7: 2 cells" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("is_search", "options", "taken"),
    [
        (False, {"array_parallelism": 2}, 5),
        (True, {"array_parallelism": 2}, 2),
        (False, {"max_queued": 3}, 3),
        (True, {"array_parallelism": 4, "max_queued": 3}, 3),
    ],
)
@pytest.mark.usefixtures("pretended")
def test_how_many_cells_are_in_the_queue(
    cells: list[CellRun], is_search: bool, options: dict[str, Any], taken: int
) -> None:
    """A search waits for results, a grid does not."""
    launcher = SlurmLauncher(**options)
    launcher.is_search = is_search
    for number in range(len(cells)):
        returned(cells[0].sweep, f"7_{number}", None)
    remaining = iter(cells)
    endings = launcher.run(remaining)
    next(endings)
    assert len(list(remaining)) == len(cells) - taken
    assert launcher.slots() == launcher.array_parallelism


JOB = "JobId=9 ArrayJobId=7 JobState={} Reason=NonZeroExitCode Requeue=1 ExitCode={} DerivedExitCode=0:0\n"


@pytest.mark.parametrize(
    ("remembered", "accounting", "why"),
    [
        (JOB.format("FAILED", "137:0"), None, "Slurm job 7: FAILED, killed by signal 9 (SIGKILL)"),
        (JOB.format("OUT_OF_MEMORY", "0:125"), None, "Slurm job 7: OUT_OF_MEMORY"),
        (JOB.format("CANCELLED", "0:15"), None, "Slurm job 7: CANCELLED, killed by signal 15 (SIGTERM)"),
        (JOB.format("FAILED", "3:0"), "FAILED|4:0\n", "Slurm job 7: FAILED, exit code 3"),
        (None, "CANCELLED by 0|0:0\n", "Slurm job 7: CANCELLED"),
        (None, "NODE_FAIL|1:0\n", "Slurm job 7: NODE_FAIL, exit code 1"),
        (None, None, "Slurm job 7: Slurm remembers nothing of it"),
        (JOB.format("COMPLETED", "0:0"), None, "Slurm job 7: COMPLETED"),
    ],
)
def test_a_job_that_died_says_why(
    cells: list[CellRun], pretended: Path, remembered: str | None, accounting: str | None, why: str
) -> None:
    if remembered:
        (pretended / "job-7").write_text(remembered)
    if accounting:
        (pretended / "accounting").write_text(accounting)
    assert list(SlurmLauncher().run(iter(cells[:1]))) == [(cells[0], why)]


@pytest.mark.parametrize(
    ("value", "outcome", "why"),
    [(None, "success", None), ("too slow", "success", "too slow"), ("trace", "error", "in Slurm job 7: trace")],
)
@pytest.mark.usefixtures("pretended")
def test_a_job_that_returned_is_taken_at_its_word(
    cells: list[CellRun], value: str | None, outcome: str, why: str | None
) -> None:
    returned(cells[0].sweep, "7", value, outcome)
    assert list(SlurmLauncher().run(iter(cells[:1]))) == [(cells[0], why)]


def test_a_requeued_job_and_a_silent_controller_are_waited_for(
    cells: list[CellRun], pretended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier sitting returned does not count while the job stands in the queue."""
    returned(cells[0].sweep, "7", None)
    (pretended / "queue").write_text("7\n")
    asked: list[frozenset[str] | None] = []
    real = slurm_queue.listed

    def listed() -> frozenset[str] | None:
        asked.append(real())
        if len(asked) == 2:
            (pretended / "silent").touch()
            (pretended / "queue").write_text("12\n")
        return asked[-1]

    monkeypatch.setattr(slurm_queue, "listed", listed)
    assert list(SlurmLauncher().run(iter(cells[:1]))) == [(cells[0], None)]
    assert asked == [frozenset({"7"}), frozenset({"7"}), None, frozenset({"12"})]


def test_a_job_that_the_queue_forgets_for_a_moment_is_not_lost(
    cells: list[CellRun], pretended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pretended / "job-7").write_text(JOB.format("RUNNING", "0:0"))
    asked: list[None] = []

    def listed() -> frozenset[str]:
        asked.append(None)
        if len(asked) == 3:
            (pretended / "job-7").write_text(JOB.format("FAILED", "1:0"))
        return frozenset()

    monkeypatch.setattr(slurm_queue, "listed", listed)
    assert list(SlurmLauncher().run(iter(cells[:1]))) == [(cells[0], "Slurm job 7: FAILED, exit code 1")]
    assert len(asked) == 3


def test_a_result_that_is_late_on_a_network_file_system_is_waited_for(
    cells: list[CellRun], pretended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pretended / "job-7").write_text(JOB.format("COMPLETED", "0:0"))
    monkeypatch.setattr(slurm, "LATENESS", 60)
    real = slurm_queue.end_of

    def end_of(number: str) -> slurm_queue.End:
        returned(cells[0].sweep, number, None)
        return real(number)

    monkeypatch.setattr(slurm_queue, "end_of", end_of)
    assert list(SlurmLauncher().run(iter(cells[:1]))) == [(cells[0], None)]


def test_a_request_to_stop_cancels(
    cells: list[CellRun], pretended: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One cell has written how far it came, one was killed at that, the others had not begun: these are withdrawn."""
    launcher = SlurmLauncher()
    (pretended / "queue").write_text("\n".join(f"7_{number}" for number in range(5)))
    returned(cells[0].sweep, "7_0", None)
    (cells[0].sweep / ".slurm" / "7_1_0_log.out").touch()
    for number in range(1, 5):
        (pretended / f"job-7_{number}").write_text(JOB.format("CANCELLED", "0:0"))
    real = slurm_queue.listed

    def listed() -> frozenset[str] | None:
        launcher.stop_requests = 1
        return real()

    monkeypatch.setattr(slurm_queue, "listed", listed)
    ended = {cell.name: why for cell, why in launcher.run(iter(cells))}
    withdrawn = dict.fromkeys(("seed-0", "seed-2", "seed-3", "seed-4"))
    assert ended == withdrawn | {"seed-1": "Slurm job 7_1: CANCELLED"}
    assert (pretended / "cancelled").read_text().splitlines() == ["7_0 7_1 7_2 7_3 7_4"]
    assert "cancelled 5 of Slurm's jobs" in capsys.readouterr().err


def test_a_second_request_kills(cells: list[CellRun], pretended: Path) -> None:
    launcher = SlurmLauncher()
    (pretended / "queue").write_text("7")
    (pretended / "job-7").write_text(JOB.format("CANCELLED", "0:9"))

    def asked_twice() -> Iterator[CellRun]:
        yield cells[0]
        launcher.stop_requests = 2

    assert list(launcher.run(asked_twice())) == [(cells[0], None)]
    assert (pretended / "cancelled").read_text().splitlines() == ["7", "--signal KILL 7"]


def test_a_sweep_that_breaks_leaves_nothing_in_the_queue(cells: list[CellRun], pretended: Path) -> None:
    (pretended / "queue").write_text("7_1")
    returned(cells[0].sweep, "7_0", None)
    endings = SlurmLauncher().run(iter(cells[:2]))
    assert next(endings) == (cells[0], None)
    endings.close()  # type: ignore[attr-defined]
    assert (pretended / "cancelled").read_text() == "7_1\n"


def test_what_sbatch_refuses_is_told(cells: list[CellRun], pretended: Path) -> None:
    (pretended / "refusal").write_text("sbatch: error: invalid partition specified: x\n")
    with pytest.raises(ConfigError, match="sbatch refuses 5 cells: sbatch: error: invalid partition specified: x"):
        next(SlurmLauncher().run(iter(cells)))
    (pretended / "refusal").write_text("sbatch: error: Invalid generic resource (gres) specification\n")
    with pytest.raises(ConfigError, match="gpus_per_cell=0 asks for no GPU"):
        next(SlurmLauncher().run(iter(cells)))


def test_cells_beyond_a_limit_on_jobs_are_submitted_later(cells: list[CellRun], pretended: Path) -> None:
    """Two at once; the second time sbatch refuses, until the one that is still in the queue has ended."""
    launcher = SlurmLauncher(max_queued=2)
    for job in ("7_0", "7_1", "8"):
        returned(cells[0].sweep, job, job)
    (pretended / "queue").write_text("7_1")
    endings = launcher.run(iter(cells[:3]))
    assert next(endings) == (cells[0], "7_0")
    (pretended / "refusal").write_text("QOSMaxSubmitJobPerUserLimit")
    (pretended / "queue").write_text("")
    assert next(endings) == (cells[1], "7_1")
    (pretended / "refusal").unlink()
    (pretended / "number").write_text("8")
    assert list(endings) == [(cells[2], "8")]


class Task:
    """A cell at work in a task of Slurm's, whose training only waits for signals.

    Args:
        cell: it.
        signals: those it gets.
        epochs: how many it has finished when it ends.
    """

    def __init__(self, cell: CellRun, signals: tuple[signal.Signals, ...], epochs: int) -> None:
        self.cell, self.signals, self.epochs = cell, signals, epochs

    def __call__(self, cell: CellRun) -> None:
        assert cell is self.cell
        assert "SLURM_NTASKS" not in os.environ
        result = Result.begun(cell.identity)
        result.status, result.epochs = "finished", self.epochs
        try:
            with raising_on_signals():
                for number in self.signals:
                    signal.raise_signal(number)
        except Interrupted:
            result.status = "interrupted"
        cell.directory.mkdir(exist_ok=True)
        result.write(cell.directory)
        if result.status != "finished":
            raise SystemExit(1)


@pytest.mark.parametrize(
    ("signals", "preempted", "epochs", "status", "requeued", "why"),
    [
        ((), "None", 3, "finished", False, None),
        ((signal.SIGTERM,), "None", 3, "interrupted", False, None),
        ((signal.SIGTERM,), "2026-11-21T10:46:04", 2, "interrupted", True, None),
        ((signal.SIGUSR2,), "None", 3, "interrupted", True, None),
        (
            (signal.SIGUSR2,),
            "None",
            2,
            "interrupted",
            False,
            "hydra.launcher.timeout_min: no epoch ended within the limit",
        ),
    ],
)
def test_a_cell_that_slurm_stops_is_requeued_unless_somebody_cancelled_it(
    cells: list[CellRun],
    pretended: Path,
    monkeypatch: pytest.MonkeyPatch,
    signals: tuple[signal.Signals, ...],
    preempted: str,
    epochs: int,
    status: str,
    requeued: bool,
    why: str | None,
) -> None:
    """Both a preemption and a cancellation come as SIGTERM; after a time limit, only what came further is."""
    (pretended / "job-9").write_text(f"JobId=9 JobState=RUNNING PreemptEligibleTime=2026 PreemptTime={preempted} x=y\n")
    cell, folder = cells[0], cells[0].sweep / ".slurm"
    environment = {"SUBMITIT_EXECUTOR": "slurm", "SUBMITIT_FOLDER": str(folder), "SLURM_JOB_ID": "9",
                   "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0", "SLURM_NTASKS": "1"}  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = Result.begun(cell.identity)
    before.status, before.epochs = "interrupted", 2
    cell.directory.mkdir()
    before.write(cell.directory)
    returned(cell.sweep, "7_0", "of an earlier sitting")
    monkeypatch.setattr(slurm_task, "run_cell", Task(cell, signals, epochs))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    try:
        assert slurm_task.run_task(cell) == why
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert json.loads((cell.directory / "result.json").read_text())["status"] == status
    asked = (pretended / "asked").read_text() if (pretended / "asked").exists() else ""
    assert asked.count("requeue 9\n") == requeued
    assert not list(folder.glob("*result.pkl"))


def test_a_machine_without_slurm_says_so(train_py: TrainPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = train_py("-m", "data=digits", "hydra/launcher=slurm", "seed=0,1")
    assert ended.code == 2
    assert ended.err.startswith("hydra/launcher=slurm: no sbatch, squeue, scancel, scontrol, srun on this machine")
    ended = train_py("-m", "data=digits", "hydra/launcher=slurm", "seed=0,1", "hydra.launcher.partitoin=x")
    assert "Did you mean hydra.launcher.partition?" in ended.err
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[slurm\]'"):
        SlurmLauncher()


@pytest.mark.usefixtures("pretended")
def test_the_warning_of_the_time_limit_comes_after_the_beginning() -> None:
    with pytest.raises(ValueError, match="signal_delay_s=60: allowed: below the 60 seconds of timeout_min=1"):
        SlurmLauncher(timeout_min=1, signal_delay_s=60)


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="needs a running Slurm")
def test_on_a_real_slurm(
    train_py: TrainPy, tmp_path: Path, fated: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing job and a killed one stop no other; a second start runs them alone."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "own"), os.environ.get("PYTHONPATH", "")]))
    command = (
        *fated, "sweep=s", "data=digits", "limit=60", "epochs=1", "batch_size=32", "precision=32", "logger=none",
        "figures=[]", "trainer.accelerator=cpu", "model.fate=kill,raise,well", "hydra/launcher=slurm",
    )  # fmt: skip
    sweep = tmp_path / "multirun" / "s"
    assert train_py(*command).code == 1
    results = {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/result.json")}
    assert {name: result["status"] for name, result in results.items()} == {
        "model.fate-kill": "failed", "model.fate-raise": "failed", "model.fate-well": "finished"
    }  # fmt: skip
    assert results["model.fate-kill"]["error"].endswith("FAILED, killed by signal 9 (SIGKILL)")
    assert "broken on purpose" in results["model.fate-raise"]["error"]
    ended = train_py(*command[:-2], "model.fate=raise,well", "hydra/launcher=slurm")
    assert ended.code == 1
    assert "model.fate-well  finished" in ended.out
    assert len(list((sweep / ".slurm").glob("*_submitted.pkl"))) == 4
