"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from cifarlab.sweeps.compose import read_job
from cifarlab.training.job import Job

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


@pytest.fixture(scope="session")
def compose_job() -> Callable[..., Job]:
    """Overrides -> the checked job, composed from the project's own configs."""

    def make(*overrides: str) -> Job:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", overrides=list(overrides), return_hydra_config=True)
        return read_job(config, config.hydra)

    return make


@pytest.fixture(scope="session")
def tiny_job(compose_job: Callable[..., Job]) -> Callable[..., Job]:
    """Overrides on top of the smallest run -> the checked job."""
    return lambda *overrides: compose_job(*TINY, *overrides)


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """The overrides of the smallest run."""
    return TINY
