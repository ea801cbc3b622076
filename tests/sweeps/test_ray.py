"""``hydra/launcher=ray``: how Ray's resources are shared out; and Ray itself where it is installed."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cifarlab.job.configure import ConfigError
from cifarlab.result import Identity
from cifarlab.sweeps.launchers import ray_launcher
from cifarlab.sweeps.launchers.launching import CellRun
from cifarlab.sweeps.launchers.ray_launcher import RayLauncher

TrainPy = Callable[..., Any]
TRAIN = Path(__file__).resolve().parents[2] / "train.py"


@pytest.fixture
def resources(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What a Ray that only pretends to be there has to give."""
    there: dict[str, float] = {"CPU": 8, "GPU": 2}
    pretended = types.ModuleType("ray")
    pretended.__spec__ = importlib.machinery.ModuleSpec("ray", None)
    pretended.cluster_resources = lambda: there  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", pretended)
    return there


def cell(**known: Any) -> CellRun:
    return CellRun(Path("/s"), "x", Identity("k", "g"), ("train.py",), Path("/"), **known)


@pytest.mark.parametrize(
    ("options", "known", "there", "wanted", "fitting"),
    [
        ({}, {}, {}, (1, 1), 2),
        ({}, {"devices": 2}, {}, (1, 2), 1),
        ({}, {"accelerator": "cpu"}, {}, (1, 0), 8),
        ({}, {}, {"GPU": 0}, (1, 0), 8),
        ({"cpus_per_cell": 3}, {"accelerator": "cpu"}, {}, (3, 0), 2),
        ({"gpus_per_cell": 0.5}, {}, {}, (1, 0.5), 4),
        ({"gpus_per_cell": 0.4}, {}, {}, (1, 0.4), 4),  # two parts of 0.4 fit on each, a fifth on neither
        ({"gpus_per_cell": 0.1}, {}, {}, (1, 0.1), 8),  # twenty would fit on the GPUs, eight on the cores
        ({"gpus_per_cell": 0.1}, {}, {"CPU": 99}, (1, 0.1), 20),
        ({"gpus_per_cell": 0}, {}, {}, (1, 0), 8),
        ({"gpus_per_cell": 2}, {}, {"GPU": 5}, (1, 2), 2),
    ],
)
def test_the_resources_are_shared_out(
    resources: dict[str, float],
    options: dict[str, Any],
    known: dict[str, Any],
    there: dict[str, float],
    wanted: tuple[float, float],
    fitting: int,
) -> None:
    resources |= there
    launcher = RayLauncher(**options)
    assert launcher.wanted(cell(**known)) == {"CPU": wanted[0], "GPU": wanted[1]}
    assert launcher.excess(cell(**known)) is None
    assert launcher.capacity(cell(**known)) == launcher.slots() == fitting


@pytest.mark.usefixtures("resources")
def test_a_cluster_sees_the_demand_of_a_grid_but_not_of_a_search() -> None:
    launcher = RayLauncher(address="auto")
    assert (launcher.capacity(cell()), launcher.slots()) == (1000, 2)
    launcher.is_search = True
    assert launcher.capacity(cell()) == 2


@pytest.mark.parametrize(
    ("options", "known", "excess"),
    [
        ({"cpus_per_cell": 9}, {}, "it wants 9 CPU, Ray has 8"),
        ({}, {"devices": 3}, "it wants 3 GPU, Ray has 2"),
        ({"gpus_per_cell": 1}, {"devices": 2}, "hydra.launcher.gpus_per_cell=1: it uses 2 devices"),
        ({"gpus_per_cell": 1}, {"devices": 2, "accelerator": "cpu"}, None),
        ({"gpus_per_cell": 0}, {"devices": 2}, None),
        ({"address": "auto", "cpus_per_cell": 9}, {}, None),  # a cluster may grow
    ],
)
@pytest.mark.usefixtures("resources")
def test_what_can_never_be_run_is_not_waited_for(
    options: dict[str, Any], known: dict[str, Any], excess: str | None
) -> None:
    assert RayLauncher(**options).excess(cell(**known)) == excess


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"address": "auto", "num_cpus": 2}, "hydra.launcher.address=auto: num_cpus, num_gpus and include_dashboard"),
        ({"address": "ray://head:10001"}, "hydra.launcher.address=ray://head:10001: allowed: HOST:PORT, auto or null"),
        ({"gpus_per_cell": 1.5}, "hydra.launcher.gpus_per_cell=1.5: allowed: a part of one GPU, or whole ones"),
        ({"num_cpus": 2, "cpus_per_cell": 3}, "hydra.launcher.cpus_per_cell=3: allowed: at most num_cpus=2"),
    ],
)
@pytest.mark.usefixtures("resources")
def test_keys_that_contradict_each_other_are_refused(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        RayLauncher(**options)


@pytest.mark.usefixtures("resources")
def test_an_address_where_nobody_listens_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"hydra.launcher.address=127.0.0.1:{port}: nothing answers there"):
        next(RayLauncher(address=f"127.0.0.1:{port}").run(iter([cell()])))


def test_without_ray_the_command_that_installs_it_is_told(
    train_py: TrainPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else real(name, *more))
    ended = train_py("-m", "data=digits", "hydra/launcher=ray", "seed=0,1")
    assert (ended.code, ended.err) == (
        2,
        "hydra/launcher=ray: not installed; install it with: pip install -e '.[ray]'\n",
    )
    assert not list(tmp_path.iterdir())


def test_a_task_has_its_threads_and_the_environment_of_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine has of its own stays; a run that did not finish is no death of its process."""
    seen: list[Any] = []

    def run_cell(cell: CellRun) -> None:
        seen.append((cell, torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], os.environ["A"], os.environ["B"]))
        sys.exit(1)

    monkeypatch.setattr(ray_launcher, "run_cell", run_cell)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    monkeypatch.setenv("A", "of the machine")
    monkeypatch.delenv("B", raising=False)
    threads = torch.get_num_threads()
    try:
        ray_launcher.run_task(cell(), 2, {"A": "of the sweep", "B": "of the sweep"})
    finally:
        torch.set_num_threads(threads)
        os.environ.pop("B", None)
    assert seen == [(cell(), 2, "2", "of the machine", "of the sweep")]


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="pip install -e '.[ray]'")
def test_on_a_real_ray(tmp_path: Path, fated: tuple[str, ...]) -> None:
    """A failing job and a killed one stop no other; each has a process of its own, and Ray leaves none behind."""
    command = [
        sys.executable, str(TRAIN), *fated, "sweep=s", "data=digits", "limit=60", "epochs=1", "batch_size=32",
        "precision=32", "logger=none", "figures=[]", "trainer.accelerator=cpu", "model.fate=kill,raise,well",
        "hydra/launcher=ray", "hydra.launcher.num_cpus=2",
    ]  # fmt: skip
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "own"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "RAY_worker_register_timeout_seconds": "600",  # on a busy machine Ray gives its processes up too soon
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stderr
    results = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("multirun/s/*/result.json")}
    assert {name: result["status"] for name, result in results.items()} == {
        "model.fate-kill": "failed", "model.fate-raise": "failed", "model.fate-well": "finished"
    }  # fmt: skip
    words, _, cause = results["model.fate-kill"]["error"].rpartition("\n")
    assert words.endswith("the last words")
    assert cause.startswith("WorkerCrashedError: ")
    assert "broken on purpose" in results["model.fate-raise"]["error"]
    processes = {path.read_text().split("\n")[0].rpartition(" ")[2] for path in tmp_path.glob("multirun/s/*/job.log")}
    assert len(processes) == 3
    assert not [number for number in processes if Path("/proc", number).exists()]
