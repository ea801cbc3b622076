"""What jobs ask of their nets is found out once, and again where it may be another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cifarlab.data.module import ImageData
from cifarlab.job.configure import config_key, config_parameters, describe
from cifarlab.job.job import Job
from cifarlab.job.nets import Nets, shape_of
from cifarlab.job.once import Once
from cifarlab.job.preflight import preflight
from cifarlab.models.residual import ResidualCNN
from cifarlab.training.hardware.cost import cost
from cifarlab.training.hardware.memory import need

MakeJob = Callable[..., Job]
CONF = Path(__file__).resolve().parents[2] / "conf"
ROOMS = {"model": "cifarlab.models", "optimizer": "cifarlab.training.optimizers"}
# Smaller than they are made, for the sake of time; the gates that read a fraction are there.
SMALL: dict[tuple[str, str], dict[str, Any]] = {
    ("model", "highway"): {"layers": 1},
    ("model", "resnet110"): {"stages": [1], "gate": "sparse"},
    ("model", "resnet18"): {"stages": [1], "gate": "response"},
    ("model", "resnet20"): {"stages": [1]},
    ("model", "resnet50"): {"stages": [1]},
    ("model", "timm"): {"name": "test_resnet"},
    ("model", "transfer"): {"name": "test_resnet", "hidden": [16]},
    ("model", "vgg19"): {"stages": [1]},
    ("model", "wrn"): {"depth": 10, "widen": 1},
}


def with_fractions(group: str) -> list[Any]:
    """Each option of a group, and each of its arguments that takes a number with a fraction."""
    found = []
    for path in sorted((CONF / group).glob("*.yaml")):
        node = yaml.safe_load(path.read_text()) | SMALL.get((group, path.stem), {})
        for name, parameter in config_parameters(describe(node, key=group, room=ROOMS[group]).target).items():
            if "Literal" not in str(parameter.annotation) and "float" in str(parameter.annotation):
                found.append(pytest.param(node, config_key(name), id=f"{path.stem}-{name}"))
    return found


@pytest.mark.parametrize(("node", "name"), with_fractions("model"))
def test_no_fraction_decides_on_what_a_net_of_ours_costs(node: dict[str, Any], name: str) -> None:
    gated = {"gate": "response"} if name == "gate_threshold" else {}  # else nothing reads it, which is refused
    nets = [describe({**node, **gated, name: value}, key="model", room=ROOMS["model"]) for value in (0.3, 0.6)]
    assert nets[0].plain() != nets[1].plain()
    assert shape_of(nets[0]) == shape_of(nets[1])
    assert cost(nets[0], 10, (32, 32)) == cost(nets[1], 10, (32, 32))
    sgd = describe({"_target_": "cifarlab.training.optimizers.sgd"}, key="optimizer", room=ROOMS["optimizer"])
    assert need(nets[0], sgd, 10, (32, 32)) == need(nets[1], sgd, 10, (32, 32))


@pytest.mark.parametrize(("node", "name"), with_fractions("optimizer"))
def test_no_fraction_decides_on_what_an_optimizer_of_ours_keeps(node: dict[str, Any], name: str) -> None:
    made = [describe({**node, name: value}, key="optimizer", room=ROOMS["optimizer"]) for value in (0.3, 0.6)]
    assert shape_of(made[0]) == shape_of(made[1])
    net = lambda num_classes: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, num_classes))  # noqa: E731
    assert need(net, made[0], 10, (4, 4)) == need(net, made[1], 10, (4, 4))


def test_what_a_0_switches_off_is_another_shape(tiny_job: MakeJob) -> None:
    without, some, more = (
        tiny_job(f"optimizer.momentum={value}", "optimizer.nesterov=false") for value in (0, 0.5, 0.9)
    )
    assert shape_of(without.parts["optimizer"]) != shape_of(some.parts["optimizer"])
    assert shape_of(some.parts["optimizer"]) == shape_of(more.parts["optimizer"])
    assert Nets().cost(without.parts["model"], 10, (8, 8)).parameters > 0


def test_a_net_of_the_users_own_is_counted_for_each_of_its_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wide_nets.py").write_text(
        "from torch import nn\n\n\n"
        "def net(num_classes: int, *, times: float = 8.0) -> nn.Module:\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(192, int(times)), nn.Linear(int(times), num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    nets = Nets()
    own = [
        describe({"_target_": "wide_nets.net", "times": times}, key="model", room=ROOMS["model"], allow=["wide_nets"])
        for times in (8.0, 16.0)
    ]
    assert [nets.cost(each, 10, (8, 8)).parameters for each in own] == [193 * 8 + 90, 193 * 16 + 170]


def test_a_net_is_built_once_however_the_cells_that_share_it_are_mixed(
    tiny_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    real = ResidualCNN.__init__

    def noted(self: ResidualCNN, num_classes: int, **given: Any) -> None:
        built.append(given["blocks"])
        real(self, num_classes, **given)

    monkeypatch.setattr(ResidualCNN, "__init__", noted)
    cells = [(f"optimizer.lr={lr}", f"model.blocks={blocks}") for lr in (0.1, 0.2) for blocks in (1, 2)]
    planned, _ = preflight(cells, lambda overrides: tiny_job(*overrides))
    assert [each.overrides for each in planned] == cells
    assert sorted(built) == [1, 1, 2, 2]  # to count it, and for all optimizers


def test_what_failed_once_is_not_tried_again(tiny_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def break_down(self: ImageData) -> None:
        tried.append("data")
        raise ValueError("no copy of the archive answers")

    monkeypatch.setattr(ImageData, "prepare_data", break_down)
    planned, refused = preflight([(f"seed={seed}",) for seed in range(3)], lambda overrides: tiny_job(*overrides))
    assert (planned, tried) == ([], ["data"])
    assert [each.faults for each in refused] == [("no copy of the archive answers",)] * 3


def test_a_failure_is_the_same_each_time() -> None:
    once, asked = Once(), []

    def fail() -> None:
        asked.append(1)
        raise ZeroDivisionError("by hand")

    found = []
    for _ in range(3):
        with pytest.raises(ZeroDivisionError, match="by hand") as caught:
            once("a", fail)
        found.append((caught.tb.tb_next is not None, len(caught.traceback)))
    assert found[1] == found[2]
    assert len(asked) == 1
    assert [once("b", lambda: 1), once("b", lambda: 2)] == [1, 1]
