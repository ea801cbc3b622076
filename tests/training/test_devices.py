"""One run on several devices: ``batch_size`` pictures a step, however many share them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cifarlab.job.job import Job
from cifarlab.job.preflight import preflight

MakeJob = Callable[..., Job]
TRAIN = Path(__file__).resolve().parents[2] / "train.py"
# Batch norm would see the pictures of one device alone, and augmentation is drawn by each.
SAME_ON_ANY = (
    "model=tiny_vgg",
    "model.batch_norm=false",
    "augment=none",
    "lr=0.01",
    "epochs=2",
    "width=4",
    "figures=[]",
)
SMALL = ("data=digits", "limit=100", "batch_size=30", "precision=32", "logger=none", "trainer.progress_bar=false")


def history(directory: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((directory / "history.csv").open())
    return [{name: float(value) for name, value in row.items() if name != "seconds"} for row in rows]


def test_two_processes_train_on_the_pictures_that_one_would(tmp_path: Path) -> None:
    """The losses agree but for rounding: the same pictures in every step, and a step for every mean of two halves."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for devices in (1, 2):
        command = [
            sys.executable, str(TRAIN), *SMALL, *SAME_ON_ANY, "trainer.accelerator=cpu", "trainer.progress_bar=false",
            f"trainer.devices={devices}", "trainer.strategy=ddp", f"hydra.run.dir={tmp_path / str(devices)}",
        ]  # fmt: skip
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert ended.returncode == 0, ended.stderr
    one, two = history(tmp_path / "1"), history(tmp_path / "2")
    assert len(one) == len(two) == 2
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert one[0]["train/loss"] != one[1]["train/loss"]


@pytest.mark.parametrize("shared", [("++trainer.devices=2",), ("++trainer.num_nodes=2",)])
def test_a_batch_that_cannot_be_shared_evenly_is_refused(
    tiny_job: MakeJob, shared: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("NODE_RANK", "0")
    job = tiny_job("++batch_size=33", *shared)
    planned, refused = preflight([()], lambda _: job)
    assert not planned
    assert refused[0].faults == (
        "batch_size=33 is shared by devices=2 (trainer.devices times trainer.num_nodes); allowed: a multiple of 2",
    )
    assert preflight([()], lambda _: tiny_job("++batch_size=34", *shared))[0]
