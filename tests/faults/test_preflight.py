"""What cannot be, or would not be what was asked for, is refused before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cifarlab.data.batches import Batches, smallest_batch
from cifarlab.data.images import ImageSet
from cifarlab.job import feasible
from cifarlab.job.job import Job
from cifarlab.job.preflight import Checked, preflight
from cifarlab.training.hardware import memory

MakeJob = Callable[..., Job]
Check = Callable[..., tuple[str, ...]]


@pytest.fixture
def faults(tiny_job: MakeJob) -> Check:
    """The faults of the smallest run with these overrides; it has 90 training pictures in batches of 32."""

    def find(*overrides: str, where: Any = "process") -> tuple[str, ...]:
        def read(typed: Sequence[str]) -> Job:
            return tiny_job("++limit=90", *typed)

        _, refused = preflight([overrides], read, Checked(where))
        return refused[0].faults if refused else ()

    return find


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["precision=16-mixed"], "trainer.precision=16-mixed: the CPU has no mixed precision of float16"),
        (["trainer.strategy=banana"], "trainer.strategy=banana: allowed: one of auto, ddp, ddp_find_unused_"),
        (["trainer.strategy=fsdp"], "trainer.strategy=fsdp: allowed: one of auto, ddp, "),
        (["trainer.devices=64", "batch_size=64"], "trainer.devices=64: this machine has "),
        (["trainer.num_nodes=2"], "trainer.num_nodes=2: nothing says who the other machines are"),
        (["batch_size=89"], "batch_size=89: of 90 training pictures one is left to be a batch of its own"),
        (["batch_size=1"], "batch_size=1: of 90 training pictures one is left to be a batch of its own"),
        (["augment.mode=append", "batch_size=179"], "batch_size=179: of 180 training pictures one is left"),
        (["data.drop_last=true", "batch_size=91"], "data.drop_last=true: batch_size=91 is more than the 90 training"),
        (["trainer.accumulate_batches=4"], "trainer.accumulate_batches=4: an epoch of 90 pictures has 3 batches of 32"),
        (
            ["schedule=one_cycle", "schedule.max_momentum=0.9"],
            "base_momentum=0.85 max_momentum=0.9: nothing reads them",
        ),
        (["data.fold=1/3", "data.val_fraction=0.2"], "data.val_fraction=0.2: nothing reads it beside data.fold=1/3"),
    ],
)
def test_what_must_fail_is_refused(faults: Check, overrides: list[str], fault: str) -> None:
    """``convnet`` has a batch norm of vectors."""
    (found,) = faults("model=convnet", *overrides)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=resnet", "batch_size=89"],  # its batch norms see pictures of 4 x 4 and more
        ["model=convnet", "batch_size=89", "data.drop_last=true"],
        ["model=convnet", "batch_size=88"],
        ["model=convnet", "batch_size=500"],
        ["model=resnet", "data.drop_last=true", "batch_size=90"],
        ["model=resnet", "data.val_fraction=0.2"],
        ["model=resnet", "trainer.accumulate_batches=3"],
        ["model=resnet", "schedule=one_cycle", "schedule.max_momentum=0.9", "schedule.cycle_momentum=true"],
    ],
)
def test_what_can_be_is_not(faults: Check, overrides: list[str]) -> None:
    assert faults(*overrides) == ()


def test_cells_of_another_machine_are_not_judged_by_this_one(faults: Check) -> None:
    asked = ("precision=16-mixed", "trainer.num_nodes=2", "trainer.record=true")
    assert len(faults(*asked, where="machine")) == 3
    assert faults(*asked, where="elsewhere") == ()
    assert len(faults("trainer.strategy=banana", where="elsewhere")) == 1


def test_a_second_cell_of_a_refused_machine_is_refused_too(tiny_job: MakeJob) -> None:
    cells = [("precision=16-mixed", f"seed={seed}") for seed in (0, 1)]
    planned, refused = preflight(cells, lambda typed: tiny_job(*typed))
    assert not planned
    assert refused[0].faults == refused[1].faults


@pytest.mark.parametrize(
    ("size", "batch_size", "ranks"), [(9, 4, 1), (8, 4, 1), (3, 4, 1), (9, 2, 2), (13, 3, 4), (4, 1, 3)]
)
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_smallest_batch_is_that_of_an_epoch(size: int, batch_size: int, ranks: int, drop_last: bool) -> None:
    images = ImageSet(torch.zeros(size, 3, 4, 4, dtype=torch.uint8), torch.zeros(size, dtype=torch.int64), ("a",))
    seen = []
    for rank in range(ranks):
        try:
            batches = Batches(
                images, batch_size, mean=(0.5,) * 3, std=(0.5,) * 3, device=torch.device("cpu"), rank=rank,
                world_size=ranks, drop_last=drop_last,
            )  # fmt: skip
        except ValueError:
            seen.append(0)
        else:
            seen += [len(labels) for _, labels in batches]
    assert smallest_batch(size, batch_size, ranks, drop_last=drop_last) == min(seen)


def test_sizes_that_cannot_fit_are_refused_with_the_numbers(faults: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults("model=vgg19", "batch_size=90") == ()
    monkeypatch.setattr(feasible, "available_bytes", lambda settings: 2**28)
    (found,) = faults("model=vgg19", "width=64", "batch_size=90")
    # 20,040,522 weights with a gradient and a momentum, 230 MiB; activations of 708,492 numbers a picture, 243 MiB.
    assert found == (
        "model=vgg19 batch_size=90: a training step needs at least 0.5 GiB (0.1 GiB for weights and gradients, 0.1 GiB "
        "for the optimizer, 0.2 GiB for the activations of 90 pictures), 0.2 GiB are free; about 9 pictures a step and "
        "device would fit"
    )
    monkeypatch.setattr(feasible, "available_bytes", lambda settings: 2**26)
    assert faults("model=vgg19", "width=64", "batch_size=90")[0].endswith("0.1 GiB are free; a smaller net is needed")
    assert faults("model=resnet", "batch_size=90") == ()
    assert faults("model=vgg19", "width=64", "batch_size=90", where="elsewhere") == ()


def test_what_takes_time_is_counted_once_for_all_seeds(tiny_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    real_need, real_one = memory.need, feasible.refuse_batch_of_one
    monkeypatch.setattr(memory, "need", lambda *given: counted.append("need") or real_need(*given))
    monkeypatch.setattr(feasible, "refuse_batch_of_one", lambda *given: counted.append("one") or real_one(*given))
    monkeypatch.setattr(feasible, "may_not_fit", lambda *given: True)
    cells = [(f"seed={seed}", "++limit=90", "++batch_size=89") for seed in range(3)]
    assert len(preflight(cells, lambda typed: tiny_job(*typed))[0]) == 3
    assert sorted(counted) == ["need", "one"]


def test_what_is_free_is_what_the_container_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory._free_in_the_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.stat").write_text("anon 200\ninactive_file 50\n")
    assert memory._free_in_the_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory._free_in_the_container(tmp_path) == 750


def test_the_estimate_is_what_autograd_keeps() -> None:
    """Three layers counted by hand, for a picture of 4 x 4."""

    def make_net(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32, num_classes))

    needed = memory.need(make_net, lambda net: torch.optim.SGD(net.parameters(), momentum=0.9), 5, (4, 4))
    weights = (3 * 2 + 2) + (32 * 5 + 5)
    assert (needed.weights, needed.optimizer) == (2 * weights, weights)
    # The picture, ReLU's output (which the linear layer keeps too), the log-probabilities, a label of 8 bytes, and a
    # number that the loss keeps for both pictures.
    assert needed.activations == 48 + 32 + 5 + 2 + 0.5
