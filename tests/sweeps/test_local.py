"""``hydra/launcher=local``: cells as processes of this machine."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifarlab.result import Identity
from cifarlab.sweeps.launchers import local
from cifarlab.sweeps.launchers.launching import CellRun
from cifarlab.sweeps.launchers.local import LocalLauncher, Workers, visible_gpus
from cifarlab.sweeps.launchers.seats import Seats

TrainPy = Callable[..., Any]
OF_ANY_MODEL = (
    "data=digits", "limit=60", "epochs=1", "batch_size=32", "precision=32", "logger=none",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "figures=[]",
)  # fmt: skip
TINY = (*OF_ANY_MODEL, "width=4", "blocks=1")
pytestmark = pytest.mark.usefixtures("summaries")
LOCAL = ("hydra/launcher=local", "hydra.launcher.jobs=2", "hydra.launcher.threads=1")


def outcome(directory: Path) -> dict[str, Any]:
    """A cell's result."""
    return json.loads((directory / "result.json").read_text())


def digits(directory: Path) -> tuple[Any, ...]:
    """A cell's numbers, all of them and to the last digit."""
    with (directory / "history.csv").open() as file:
        rows = [{name: row[name] for name in row if name != "seconds"} for row in csv.DictReader(file)]
    return outcome(directory)["metrics"], rows


def test_every_end_of_a_process_is_recorded_and_stops_no_other(
    train_py: TrainPy, tmp_path: Path, fated: tuple[str, ...], summaries: list[Path]
) -> None:
    ended = train_py(*fated, "sweep=s", *OF_ANY_MODEL, *LOCAL, "model.fate=kill,vanish,exit,raise,diverge,well")
    sweep = tmp_path / "multirun" / "s"
    found = {path.parent.name.removeprefix("model.fate-"): outcome(path.parent) for path in sweep.glob("*/result.json")}
    assert {fate: result["status"] for fate, result in found.items()} == {
        "kill": "failed", "vanish": "failed", "exit": "failed", "raise": "failed", "diverge": "diverged",
        "well": "finished",
    }  # fmt: skip
    words, _, cause = found["kill"]["error"].rpartition("\n")
    assert words.endswith("the last words")
    assert cause == "killed by signal 9 (SIGKILL); the kernel does that where memory runs out"
    assert found["kill"]["knobs"]["fate"] == "kill"
    assert found["vanish"]["error"].endswith("its process ended without a result")
    assert "SystemExit: 3" in found["exit"]["error"]
    assert "broken on purpose" in found["raise"]["error"]
    assert "broken on purpose" in (sweep / "model.fate-raise" / "job.log").read_text()
    assert "between steps" in found["diverge"]["error"]
    assert (ended.code, summaries) == (1, [Path("multirun/s")])
    # As cells of a sweep keep less than single runs do; and no folder of a single run is made.
    assert [path.name for path in (sweep / "model.fate-well" / "checkpoints").iterdir()] == ["best.ckpt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpus-None", "multirun", "own"]


def test_a_sweep_that_is_stopped_goes_on_one_by_one_to_the_same_digits(
    train_py: TrainPy, tmp_path: Path, fated: tuple[str, ...]
) -> None:
    """Two cells at once wait in their third epoch for the signal."""
    command = (*fated, *OF_ANY_MODEL, "model.fate=wait", "epochs=4", "seed=0,1,2")
    sweep = tmp_path / "multirun" / "s"

    def stop_at_work() -> None:
        while not all((sweep / name / "checkpoints" / "last.ckpt").exists() for name in ("seed-0", "seed-1")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_at_work, daemon=True).start()
    assert train_py(*command, "sweep=s", *LOCAL).code == 1
    for name in ("seed-0", "seed-1"):
        stopped = outcome(sweep / name)
        assert (stopped["status"], stopped["error"]) == ("interrupted", "stopped by SIGTERM")
        assert stopped["epochs"] in (1, 2)
    assert not (sweep / "seed-2").exists()
    (tmp_path / "go").touch()
    assert train_py(*command, "sweep=s").code == 0
    assert train_py(*command, "sweep=undisturbed").code == 0
    for name in ("seed-0", "seed-1", "seed-2"):
        assert digits(sweep / name) == digits(sweep.with_name("undisturbed") / name)
        assert outcome(sweep / name)["epochs"] == 4


def test_jobs_get_the_gpus_in_turn(train_py: TrainPy, tmp_path: Path, fated: tuple[str, ...]) -> None:
    """What a job does with CUDA_VISIBLE_DEVICES is CUDA's; here the names stand for GPUs that this machine lacks."""
    own = (*(each for each in OF_ANY_MODEL if "accelerator" not in each), "hydra/launcher=local")
    assert train_py(*fated, "sweep=s", *own, "seed=0,1,2", "hydra.launcher.gpus=[13,GPU-15]").code == 0
    assert {path.name for path in tmp_path.glob("gpus-*")} == {"gpus-13", "gpus-GPU-15"}
    cells = [tmp_path / "multirun" / "s" / f"seed-{seed}" for seed in range(3)]
    assert [outcome(cell)["status"] for cell in cells] == ["finished"] * 3


def test_a_cell_on_two_devices_leaves_no_folder_besides_its_own(train_py: TrainPy, tmp_path: Path) -> None:
    """Under Hydra's `basic` too it is a process of its own, which Lightning can start anew for the second device."""
    assert train_py("-m", "sweep=s", *TINY, "trainer.devices=2", "seed=3").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["multirun"]
    assert [path.name for path in (tmp_path / "multirun").iterdir()] == ["s"]
    folders = {path.name for path in (tmp_path / "multirun" / "s").iterdir() if path.is_dir()}
    assert folders == {".locks", "resnet"}
    cell = tmp_path / "multirun" / "s" / "resnet"
    assert {path.name for path in cell.iterdir() if path.is_dir()} == {".hydra", "checkpoints"}
    assert (outcome(cell)["status"], outcome(cell)["seed"]) == ("finished", 3)
    assert len(digits(cell)[1]) == 1


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            ("hydra/launcher=local", "hydra.launcher.jobs=0"),
            "hydra.launcher.jobs=0: allowed: an integer from 1 or null",
        ),
        (("hydra/launcher=local", "hydra.launcher.threads=x"), "hydra.launcher.threads=x: allowed: "),
        (("hydra/launcher=local", "hydra.launcher.job=2"), "Did you mean hydra.launcher.jobs?"),
        (("hydra/launcher=local", "hydra.launcher.gpus=[]"), "hydra.launcher.gpus=[]: allowed: "),
        (("hydra/launcher=lokal",), "Did you mean hydra/launcher=local?"),
        (("hydra.launcher.jobs=2",), "hydra.launcher.jobs=2: there is no key jobs. Allowed: none"),
        (("trainer.num_nodes=2",), "trainer.num_nodes=2: a sweep runs each of its cells on one machine"),
    ],
)
def test_a_wrong_key_of_a_launcher_is_refused(
    train_py: TrainPy, tmp_path: Path, arguments: tuple[str, ...], fault: str
) -> None:
    ended = train_py("-m", *TINY, *arguments)
    assert ended.code == 2
    assert fault in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.iterdir())


class Idle:
    """A worker that does nothing, and is done when it is told so."""

    made: ClassVar[list[Idle]] = []

    def __init__(self, *, gpus: tuple[str, ...], **options: Any) -> None:
        self.gpus, self.cell, self.is_done, self.is_alive = gpus, None, False, True
        Idle.made.append(self)

    def give(self, cell: CellRun) -> None:
        self.cell, self.is_done = cell, False

    def close(self) -> None:
        self.is_alive = False

    def send(self, number: int) -> None:
        self.is_alive = False


def test_a_worker_takes_cell_after_cell_on_its_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "Worker", Idle)
    monkeypatch.setattr(Idle, "made", [])
    workers = Workers(1, {})

    def run(gpus: tuple[str, ...], **known: Any) -> Any:
        workers.give(cell(**known), gpus, sharing=1)
        (worker,) = workers.busy
        worker.is_done = True
        assert [(done, given.name) for done, given in workers.done()] == [(worker, "x")]
        return worker

    first = run(("a",))
    assert run(("b",)) is not first
    assert run(("a",)) is first
    assert run(("a", "b"), devices=2) not in workers.idle  # Lightning has started a run in it
    assert run(("a", "b"), devices=2) is Idle.made[-1]
    first.is_alive = False
    assert run(("a",)) is not first
    assert len(Idle.made) == 5
    workers.end()
    assert not any(worker.is_alive for worker in Idle.made)


def cell(**known: Any) -> CellRun:
    return CellRun(Path("/s"), "x", Identity("k", "g"), ("train.py",), Path("/"), **known)


@pytest.mark.parametrize(
    ("options", "known", "cores", "gpus", "jobs", "threads"),
    [
        ({}, {}, 8, (), 8, 1),
        ({"jobs": 3}, {}, 8, (), 3, 2),
        ({"jobs": 3, "threads": 5}, {}, 8, (), 3, 5),
        ({"jobs": 9}, {}, 8, (), 9, 1),
        ({}, {"devices": 3}, 8, (), 2, 1),
        ({}, {"devices": 9}, 8, (), 1, 1),
        ({}, {}, 16, ("0", "1"), 2, 8),
        ({"jobs_per_gpu": 2}, {}, 16, ("0", "1"), 4, 4),
        ({"gpus": [5]}, {}, 16, ("0", "1"), 1, 16),
        ({"jobs": 1}, {}, 16, ("0", "1"), 1, 16),
        ({"jobs_per_gpu": 4}, {"devices": 2}, 16, ("0", "1", "2"), 1, 8),
        ({}, {"devices": 4}, 16, ("0", "1"), 1, 4),
        ({}, {"accelerator": "cpu"}, 16, ("0", "1"), 16, 1),
    ],
)
def test_the_machine_is_divided(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    known: dict[str, Any],
    cores: int,
    gpus: tuple[str, ...],
    jobs: int,
    threads: int,
) -> None:
    monkeypatch.setattr(local, "usable_cores", lambda: cores)
    monkeypatch.setattr(local, "visible_gpus", lambda: gpus)
    machine = LocalLauncher(**options).share_among(cell(**known))
    assert (machine.jobs, machine.threads) == (jobs, threads)
    assert (machine.seats is None) == (not gpus or known.get("accelerator") == "cpu")


@pytest.mark.parametrize(
    ("count", "named", "gpus"),
    [
        (2, None, ("0", "1")),
        (2, "3, 1", ("3", "1")),
        (1, "GPU-8f", ("GPU-8f",)),
        (1, "0,-1,1", ("0",)),  # CUDA reads no further than to a name that it does not know
        (0, "", ()),
        (0, None, ()),
    ],
)
def test_gpus_are_called_as_the_environment_calls_them(
    monkeypatch: pytest.MonkeyPatch, count: int, named: str | None, gpus: tuple[str, ...]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == gpus


def test_a_job_gets_the_least_loaded_gpu() -> None:
    seats = Seats(("a", "b", "c"), per_gpu=2)
    assert [seats.take(1) for _ in range(5)] == [("a",), ("b",), ("c",), ("a",), ("b",)]
    seats.give_back(("b",))
    seats.give_back(("b",))
    assert seats.free == 3
    assert seats.take(1) == ("b",)
    assert seats.take(2) is None  # which wants two to itself
    seats.give_back(("b",))
    seats.give_back(("c",))
    assert seats.take(2) == ("b", "c")
    assert seats.free == 0
    seats.give_back(("b", "c"))
    assert seats.free == 4
    assert Seats(("a", "b"), per_gpu=1).take(3) == ("a", "b")


@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.integers(-3, 5).filter(bool), max_size=40))
def test_no_gpu_is_ever_overfull_and_none_is_lost(gpus: int, per_gpu: int, requests: list[int]) -> None:
    """Positive requests take so many GPUs, a negative one gives back the oldest job's."""
    seats = Seats([str(number) for number in range(gpus)], per_gpu)
    jobs: list[tuple[str, ...]] = []
    for request in requests:
        if request < 0:
            if jobs:
                seats.give_back(jobs.pop(0))
        elif (taken := seats.take(request)) is not None:
            jobs.append(taken)
            assert len(set(taken)) == min(request, gpus)
        for gpu in map(str, range(gpus)):
            sharing = [job for job in jobs if gpu in job]
            assert len(sharing) <= per_gpu
            assert len(sharing) <= 1 or all(len(job) == 1 for job in sharing)
        if not jobs:
            assert seats.free == gpus * per_gpu
