"""How many jobs share a GPU, and the service that lets them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cifarlab.sweeps.launchers import mps
from cifarlab.sweeps.launchers.packing import Packing


def told(speed: Callable[[int], float | None], cells: int = 40) -> Packing:
    """A packing that has seen cells whose speed depends on how many share the GPU."""
    packing = Packing()
    for _ in range(cells):
        packing.learn(speed(packing.jobs), jobs=packing.jobs)
    return packing


@pytest.mark.parametrize(
    ("speed", "jobs"),
    [
        (lambda jobs: 100.0 / jobs, 1),  # time slices: nothing is gained
        (lambda jobs: 100.0, 8),  # each as fast as alone, however many
        (lambda jobs: min(100.0, 380.0 / jobs), 4),  # four eager processes, as measured on an H200
        (lambda jobs: 100.0 if jobs < 4 else 10.0, 2),  # the fourth breaks the memory's back
        (lambda jobs: None, 1),  # cells that fail say nothing
    ],
)
def test_jobs_are_added_as_long_as_that_pays(speed: Callable[[int], float | None], jobs: int) -> None:
    assert told(speed).jobs == jobs


def test_a_cell_that_began_under_another_number_is_not_counted() -> None:
    packing = Packing()
    packing.learn(100.0, jobs=1)
    assert packing.jobs == 2
    packing.learn(1.0, jobs=1)
    packing.learn(90.0, jobs=2)
    assert (packing.jobs, packing.settled) == (2, False)
    packing.learn(90.0, jobs=2)
    assert packing.jobs == 4


CONTROL = """#!/bin/sh
if [ "$1" = -d ]; then
    echo "started $CUDA_MPS_PIPE_DIRECTORY" >> {log}
    touch "$CUDA_MPS_PIPE_DIRECTORY/control"
    exit {code}
fi
read word; echo "$word" >> {log}
"""


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """A daemon that does nothing but write down what it is told; and a GPU that answers."""

    def make(code: int = 0) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / mps.CONTROL).write_text(CONTROL.format(log=tmp_path / "log", code=code))
        (folder / mps.CONTROL).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(mps.sys, "executable", "true")
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "nobody"))
        return tmp_path / "log"

    return make


def test_the_service_is_started_and_stopped(control: Callable[..., Path]) -> None:
    log = control()
    with mps.shared_gpus(True) as variables:
        assert log.read_text() == f"started {variables['CUDA_MPS_PIPE_DIRECTORY']}\n"
    assert log.read_text().splitlines()[1:] == ["quit"]
    assert not Path(variables["CUDA_MPS_PIPE_DIRECTORY"]).exists()


def test_a_service_that_does_not_start_is_done_without(
    control: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    control(code=1)
    with mps.shared_gpus(True) as variables:
        assert variables == {}
    assert "hydra.launcher.mps: not used" in capfd.readouterr().err


def test_a_service_that_runs_is_left_alone(control: Callable[..., Path], tmp_path: Path) -> None:
    log = control()
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / "control").touch()
    with mps.shared_gpus(True) as variables:
        assert variables == {}
    assert not log.exists()


def test_without_the_program_or_the_wish_nothing_happens(control: Callable[..., Path], tmp_path: Path) -> None:
    with mps.shared_gpus(True) as variables:
        assert variables == {}
    log = control()
    with mps.shared_gpus(False) as variables:
        assert variables == {}
    assert not log.exists()
