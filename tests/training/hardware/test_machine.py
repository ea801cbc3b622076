"""What a machine cannot do is refused by name; what another machine was asked for is computed on this one."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from cifarlab.training.hardware import device, machine
from cifarlab.training.hardware.machine import nearest, refusals, rehearse
from cifarlab.training.hardware.trainer import TrainerSettings


@pytest.fixture(autouse=True)
def two_cores_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    for name in (*machine.OWN_CLUSTER, "SLURM_NTASKS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"accelerator": "gpu"}, "accelerator=gpu: this machine has no CUDA device; allowed: cpu, auto"),
        ({"accelerator": "mps"}, "accelerator=mps: this machine has no Apple GPU; allowed: cpu, auto"),
        ({"devices": 64}, "devices=64: this machine has 2 CPU cores; allowed: 1 to 4"),
        ({"precision": "16-mixed"}, "precision=16-mixed: the CPU has no mixed precision of float16; allowed: auto, "),
        ({"record": True}, "record=true: accelerator=auto is cpu here, and only CUDA devices record; allowed: auto, "),
        ({"num_nodes": 2}, "num_nodes=2: nothing says who the other machines are, and the run would wait for them for"),
    ],
)
def test_what_the_cpu_cannot_do_is_refused(settings: dict[str, Any], fault: str) -> None:
    (found,) = refusals(TrainerSettings(**settings))
    assert found.startswith(f"trainer.{fault}")


def test_all_faults_are_told_at_once() -> None:
    assert len(refusals(TrainerSettings(accelerator="cpu", devices=64, precision="16-mixed", num_nodes=2))) == 3


@pytest.mark.parametrize(
    "settings",
    [{}, {"devices": 4}, {"precision": "16-true"}, {"precision": 64}, {"precision": "bf16-mixed"}, {"compile": "auto"}],
)
def test_what_it_can_do_is_not(settings: dict[str, Any]) -> None:
    assert refusals(TrainerSettings(accelerator="cpu", **settings)) == []


def test_several_machines_are_taken_where_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainerSettings(accelerator="cpu", num_nodes=2)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert "(not set: NODE_RANK)" in refusals(settings)[0]
    monkeypatch.setenv("NODE_RANK", "0")
    assert refusals(settings) == []
    monkeypatch.delenv("MASTER_ADDR")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a run of torchrun")
    assert refusals(settings) == []


def test_compiled_code_for_the_cpu_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    fault = "trainer.compile=true: it needs a C++ compiler, and there is none (no-such-compiler); allowed: auto, false"
    assert refusals(TrainerSettings(compile=True)) == [fault]


def test_gpus_are_counted_and_float64_is_none_of_apple_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    asked = TrainerSettings(devices=64, precision="16-mixed")
    assert refusals(asked) == ["trainer.devices=64: this machine has 1 CUDA device; allowed: 1"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    (fault,) = refusals(TrainerSettings(accelerator="mps", precision=64))
    assert fault.startswith("trainer.precision=64: an Apple GPU has no float64")


def test_the_rehearsal_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    rehearse(TrainerSettings(accelerator="cpu", deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_another_precision_than_was_asked_for_is_no_trainer(tmp_path: Any) -> None:
    """Lightning takes bf16-mixed for 16-mixed on the CPU."""
    with pytest.raises(ValueError, match="precision=16-mixed: would be computed in bf16-mixed here"):
        TrainerSettings(accelerator="cpu", precision="16-mixed").make(1, tmp_path)


def test_a_run_of_another_machine_is_tested_on_one_device_of_this(tmp_path: Any) -> None:
    there = TrainerSettings(accelerator="gpu", devices=8, precision="16-mixed", record=True, channels_last=False)
    here = nearest(there)
    assert (here.device_type, here.devices, here.precision, here.channels_last) == ("cpu", 1, 32, False)
    assert here.make(1, tmp_path).precision == "32-true"
    assert (there.accelerator, there.devices) == ("gpu", 8)
    same = TrainerSettings(accelerator="cpu", devices=2)
    assert nearest(same) is same


def test_threads_are_shared_before_they_are_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(device, "usable_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        device.share_threads(1)
        assert (torch.get_num_threads(), "OMP_NUM_THREADS" in os.environ) == (before, False)
        device.share_threads(2)
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (3, "3")
        device.share_threads(3)  # what is said already stays
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
