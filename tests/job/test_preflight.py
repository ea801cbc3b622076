"""Every cell is looked at before the first one starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cifarlab.data.module import ImageData
from cifarlab.job.configure import ConfigError
from cifarlab.job.job import Job
from cifarlab.job.preflight import Refused, preflight, refusal
from cifarlab.training.hardware import cost as cost_module

MakeJob = Callable[..., Job]


@pytest.fixture
def read(tiny_job: MakeJob) -> Callable[[Sequence[str]], Job]:
    return lambda overrides: tiny_job(*overrides)


def test_good_cells_are_planned_with_what_they_cost(read: Callable[[Sequence[str]], Job]) -> None:
    planned, refused = preflight([("blocks=1",), ("blocks=2",)], read)
    assert not refused
    assert [cell.overrides for cell in planned] == [("blocks=1",), ("blocks=2",)]
    for cell in planned:
        net = cell.job.parts["model"](10)
        assert cell.cost.parameters == sum(weight.numel() for weight in net.parameters())
    assert planned[0].cost.flops < planned[1].cost.flops


def test_bad_cells_are_refused_each_with_all_its_faults(read: Callable[[Sequence[str]], Job]) -> None:
    planned, refused = preflight([("blocks=99", "kernel_size=abc"), ("blocks=1",), ("data.fold=9/3",)], read)
    assert [cell.overrides for cell in planned] == [("blocks=1",)]
    faults = (
        "model.blocks=99: allowed: an integer from 1 to 9",
        "model.kernel_size=abc: allowed: an integer from 1 to 11",
    )
    assert refused[0] == Refused(("blocks=99", "kernel_size=abc"), faults)
    assert "fold" in refused[1].faults[0]


def test_cells_that_differ_in_their_phases_alone_are_each_looked_at(
    compose_job: MakeJob, tiny: tuple[str, ...]
) -> None:
    kept = [override for override in tiny if "width" not in override]
    common = ("model=transfer", "++model.name=test_resnet", "++epochs=4", "schedule=multi_step")
    cells = [(f"++finetune.head_epochs={length}",) for length in (2, 3)]
    planned, refused = preflight(
        cells, lambda overrides: compose_job(*kept, *common, "++schedule.milestones=[1]", *overrides)
    )
    assert [cell.overrides for cell in planned] == cells[:1]
    assert "milestones=1 does not end before epochs=1" in refused[0].faults[0]
    assert "(the epochs are those of phase 2 of finetune)" in refused[0].faults[0]


def test_where_all_or_none_are_run_nothing_is_built_beside_a_bad_cell(
    read: Callable[[Sequence[str]], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageData, "prepare_data", lambda self: pytest.fail("it looks at the data"))
    planned, refused = preflight([("blocks=1",), ("blocks=99",)], read, all_or_none=True)
    assert not planned
    assert [cell.faults for cell in refused] == [("model.blocks=99: allowed: an integer from 1 to 9",)]


def test_a_class_that_breaks_refuses_its_cell_and_says_where(
    read: Callable[[Sequence[str]], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cost_module.cost

    def cost(make_net: Callable[[int], object], *given: object) -> object:
        if make_net.arguments["blocks"] == 2:  # type: ignore[attr-defined]
            raise ZeroDivisionError("division by zero")
        return real(make_net, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(cost_module, "cost", cost)
    planned, refused = preflight([("blocks=1",), ("blocks=2",)], read)
    assert len(planned) == 1
    (fault,) = refused[0].faults
    assert fault.startswith("ZeroDivisionError: division by zero (test_preflight.py:")


def test_a_missing_data_set_is_a_refusal(compose_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare_data(self: ImageData) -> None:
        raise ValueError("the archive is missing")

    monkeypatch.setattr(ImageData, "prepare_data", prepare_data)
    planned, refused = preflight([("blocks=1",)], lambda overrides: compose_job(*overrides, f"data.root={tmp_path}"))
    assert not planned
    assert refused[0].faults == ("the archive is missing",)


def test_data_and_nets_are_opened_once_for_all_seeds(
    read: Callable[[Sequence[str]], Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    real_cost, real_check = cost_module.cost, ImageData.check
    monkeypatch.setattr(cost_module, "cost", lambda *given: counted.append("net") or real_cost(*given))
    monkeypatch.setattr(ImageData, "check", lambda self: counted.append("data") or real_check(self))
    planned, _ = preflight([(f"seed={seed}", f"blocks={blocks}") for seed in range(3) for blocks in (1, 2)], read)
    assert len(planned) == 6
    assert sorted(counted) == ["data", "net", "net"]


def test_the_refusal_tells_each_fault_once_with_its_cells() -> None:
    error = refusal([Refused(("a",), ("x=1: bad", "y=2: bad")), Refused(("b",), ("x=1: bad",))], total=5)
    assert isinstance(error, ConfigError)
    assert str(error).splitlines() == [
        "nothing was started: 2 of 5 cells cannot be run",
        "x=1: bad  (2 of 5 cells)",
        "y=2: bad  (1 of 5 cells)",
    ]


def test_what_looks_at_validation_is_refused_where_there_is_none(read: Callable[[Sequence[str]], Job]) -> None:
    """Case 10."""
    cells = [
        ("early_stopping=3", "data.val_fraction=0"),
        ("schedule=plateau", "data.val_fraction=0"),
        ("schedule=plateau", "schedule.monitor=train/loss", "data.val_fraction=0"),
        ("early_stopping=3", "schedule=plateau"),
        ("data.val_fraction=0",),
    ]
    planned, refused = preflight(cells, read)
    assert [cell.overrides for cell in planned] == cells[2:]
    said = "there is no validation split; set data.val_fraction above 0"
    assert refused[0].faults == (f"early_stopping=3: {said}",)
    assert refused[1].faults == (f"schedule.monitor=val/loss: {said}, or schedule.monitor=train/loss",)
