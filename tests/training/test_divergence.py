"""Numbers that are none end a run, wherever they show; and nothing of them is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cifarlab.data.module import ImageData
from cifarlab.result import Result
from cifarlab.training.divergence import Diverged, refuse_broken_weights
from cifarlab.training.optimizers.factories import adam, sgd
from cifarlab.training.recipe import Recipe

SmallRun = Callable[..., Result]


class Wrong(nn.Module):
    """Answers a class that no digit has, with logits that are finite and whose loss is not."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((11,), 3e38))
        self.when: Callable[[nn.Module], bool] = lambda net: True

    def forward(self, images: Tensor) -> Tensor:
        signs = torch.cat([-torch.ones(10), torch.ones(1)]) if self.when(self) else torch.zeros(11)
        return self.weight * signs.to(images.device) + 0 * images[:, 0, 0, :1]


def wrong(when: Callable[[nn.Module], bool]) -> Callable[[int], nn.Module]:
    def make(num_classes: int) -> nn.Module:
        net = Wrong(num_classes)
        net.when = when
        return net

    return make


def assert_diverged(result: Result, directory: Path, said: str) -> None:
    assert (result.status, result.error) == ("diverged", said)
    stored = json.loads((directory / "result.json").read_text())
    assert (stored["status"], stored["error"], stored["metrics"]) == ("diverged", said, {})
    assert not (directory / "report.txt").exists()


def test_an_infinite_training_loss(small_run: SmallRun, tmp_path: Path) -> None:
    result = small_run(tmp_path, net=wrong(lambda net: net.training), lr=1e-30)
    assert_diverged(result, tmp_path, "the training loss became NaN or infinite between steps 0 and 4")


def test_an_infinite_validation_loss(small_run: SmallRun, tmp_path: Path) -> None:
    result = small_run(tmp_path, net=wrong(lambda net: not net.training), lr=1e-30)
    assert_diverged(result, tmp_path, "val/loss became NaN or infinite between steps 0 and 4")
    assert not (tmp_path / "checkpoints").exists()


def test_early_stopping_does_not_take_it_for_an_end(small_run: SmallRun, tmp_path: Path) -> None:
    """Lightning's own stops quietly at a loss that is no number."""
    recipe = Recipe(epochs=3, early_stopping=2)
    result = small_run(tmp_path, net=wrong(lambda net: not net.training), lr=1e-30, recipe=recipe)
    assert_diverged(result, tmp_path, "val/loss became NaN or infinite between steps 0 and 4")


def test_an_infinite_test_loss(small_run: SmallRun, digits: Callable[..., ImageData], tmp_path: Path) -> None:
    data = digits(val_fraction=0)
    result = small_run(tmp_path, net=wrong(lambda net: not net.training), lr=1e-30, data=data)
    assert_diverged(result, tmp_path, "test/loss became NaN or infinite in the test")


class LastStep(torch.optim.SGD):
    """Breaks something when it has made so many steps."""

    def __init__(self, net: nn.Module, at: int, do: Callable[[nn.Module], None]) -> None:
        super().__init__(net.parameters(), lr=1e-30)  # so that nothing else moves
        self.net, self.left, self.do = [net], at, do

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        self.left -= 1
        if not self.left:
            self.do(self.net[0])
        return loss


class WithBuffers(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, num_classes)
        self.register_buffer("unused", torch.zeros(3))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


def break_bias(net: nn.Module) -> None:
    net.layer.bias[3] = torch.inf  # type: ignore[union-attr]


def break_buffer(net: nn.Module) -> None:
    net.unused[1] = torch.nan  # type: ignore[index]


@pytest.mark.parametrize(("broken", "name"), [(break_bias, "layer.bias"), (break_buffer, "unused")])
def test_weights_after_the_last_step_of_an_epoch(
    small_run: SmallRun, tmp_path: Path, broken: Callable[[nn.Module], None], name: str
) -> None:
    """The last step's loss was fine, and a buffer that nothing reads leaves every loss as it is."""

    def optimizer(net: nn.Module) -> Optimizer:
        return LastStep(net, at=8, do=broken)

    result = small_run(tmp_path, net=WithBuffers, optimizer=optimizer, recipe=Recipe(epochs=3))
    said = f"the weights became NaN or infinite between steps 4 and 8: 1 of 3 tensors, the first is {name}"
    assert_diverged(result, tmp_path, said)
    assert result.epochs == 1
    kept = [torch.load(path, weights_only=True) for path in (tmp_path / "checkpoints").glob("*.ckpt")]
    assert [checkpoint["epoch"] for checkpoint in kept] == [0, 0]


@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize("lr", [1e308, 1e39])
def test_a_learning_rate_beyond_all_measure(small_run: SmallRun, tmp_path: Path, make: Any, lr: float) -> None:
    result = small_run(tmp_path, optimizer=lambda net: make(net, lr=lr))
    assert result.status == "diverged"
    assert "\n" not in (result.error or "")


def test_a_net_of_integers_alone_is_whole() -> None:
    net = nn.Module()
    net.register_buffer("count", torch.zeros((), dtype=torch.int64))
    refuse_broken_weights(net, "ever")
    net.register_buffer("share", torch.tensor(torch.inf))
    with pytest.raises(Diverged, match=r"infinite ever: 1 of 1 tensors, the first is share"):
        refuse_broken_weights(net, "ever")
