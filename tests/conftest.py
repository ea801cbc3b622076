"""What tests of several rooms share."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from cifarlab.job.job import Job
from cifarlab.job.read import read_job
from cifarlab.training.step import compiling
from cifarlab.verbs import command_line

CONF = Path(__file__).resolve().parents[1] / "conf"
# The smallest run that is still a run: 100 digits a split, a net of 4 filters, full precision.
TINY = (
    "data=digits",
    "++limit=100",
    "++width=4",
    "++epochs=1",
    "++batch_size=32",
    "++precision=32",
    "++trainer.progress_bar=false",
    "++trainer.accelerator=cpu",
    "logger=none",
)


def composed_job(*overrides: str) -> Job:
    """Overrides as they are typed -> the checked job, composed from the project's own configs."""
    prepared = [each if each.startswith("~") else command_line.prepare(each, CONF) for each in overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=prepared, return_hydra_config=True)
    return read_job(config, config.hydra)


@pytest.fixture(scope="session")
def compose_job() -> Callable[..., Job]:
    """`composed_job`."""
    return composed_job


@pytest.fixture(scope="session")
def tiny_job(compose_job: Callable[..., Job]) -> Callable[..., Job]:
    """Overrides on top of the smallest run -> the checked job."""
    return lambda *overrides: compose_job(*TINY, *overrides)


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """The overrides of the smallest run."""
    return TINY


@pytest.fixture
def compile_eagerly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Compiles without a code generator, which takes a minute; holds the sizes of the batches that came through."""
    call, sizes = torch.compile(compiling._call, backend="eager", dynamic=False), []

    def noted(net: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return call(net, images)

    monkeypatch.setattr(compiling, "_compiled_call", lambda: noted)
    return sizes


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """``python SCRIPT ARGUMENTS`` of one of ours, in this process, which spares the imports, and in an empty folder.

    With one thread, here and in processes that a test starts: several would only wait for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "CONF", CONF)
    monkeypatch.setenv("COLUMNS", "200")

    def call(name: str, *arguments: str) -> Ended:
        script = CONF.with_name(name)
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        GlobalHydra.instance().clear()
        capfd.readouterr()
        try:
            runpy.run_path(str(script), run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            GlobalHydra.instance().clear()
        return Ended(code, *capfd.readouterr())

    yield call
    torch.set_num_threads(threads)


@pytest.fixture
def train_py(run_py: Callable[..., Ended]) -> Callable[..., Ended]:
    """``python train.py ARGUMENTS``, likewise."""
    return lambda *arguments: run_py("train.py", *arguments)
