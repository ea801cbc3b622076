"""Exponential moving average of the weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from annotated_types import Gt, Lt
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn


class WeightEMA(Callback):
    """Validates a net on the moving average of its weights, which the training step moves after each update of them.

    After update n the average has moved by 1 - d_n towards the weights, d_n = min(decay, (1 + n) / (10 + n)) with n
    from 0: a young average forgets the random start, so that short runs gain too (as TensorFlow's
    ExponentialMovingAverage with `num_updates`). Batch norm's statistics are averaged alike, counters are copied.
    Whoever keeps weights takes the averaged ones inside `with ema.applied(net)`. The average is part of the callback's
    state, so a resumed run goes on with it to the digit.

    Not Lightning's `EMAWeightAveraging`, because its fixed decay keeps 82 % of the start in a run of 200 steps, it
    copies the whole module with its metrics, and torch's `AveragedModel` below it waits for the GPU at each update.

    Args:
        decay: Share of the average that an update keeps, once warmed up.
    """

    def __init__(self, *, decay: Annotated[float, Gt(0), Lt(1)] = 0.999) -> None:
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._applied = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        state = _net(pl_module).state_dict()
        start = self.average or state
        self.average = {
            name: start[name].detach().to(value.device, _wide(value), copy=True) for name, value in state.items()
        }

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.average:
            self._swap(_net(pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._applied:
            self._swap(_net(pl_module))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._applied:
            self._swap(_net(pl_module))

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "average": dict(self.average)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.updates = state_dict["updates"]
        self.average = dict(state_dict["average"])

    def next_share(self) -> float:
        """How far, in (0, 1), the next update moves the average towards the weights; it counts as made."""
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        return share

    @torch.no_grad()
    def update(self, net: nn.Module, share: float | Tensor) -> None:
        """Move the average towards the net's weights by a share, which may be a tensor of one element beside them."""
        state = net.state_dict()
        moved = [name for name, value in self.average.items() if value.is_floating_point()]
        current = [state[name].to(self.average[name].dtype) for name in moved]
        averages = [self.average[name] for name in moved]
        if isinstance(share, Tensor):
            torch._foreach_add_(averages, torch._foreach_mul(torch._foreach_sub(current, averages), share))
        else:
            torch._foreach_lerp_(averages, current, share)
        for name in self.average.keys() - set(moved):
            self.average[name].copy_(state[name])

    @contextmanager
    def applied(self, net: nn.Module) -> Iterator[None]:
        """The net with the averaged weights inside the block, with its own after it."""
        self._swap(net)
        try:
            yield
        finally:
            self._swap(net)

    @torch.no_grad()
    def _swap(self, net: nn.Module) -> None:
        # In place, so that a compiled net and the optimizer keep their tensors.
        for name, value in net.state_dict().items():
            plain = value.to(self.average[name].dtype, copy=True)
            value.copy_(self.average[name])
            self.average[name].copy_(plain)
        self._applied = not self._applied


def _net(pl_module: LightningModule) -> nn.Module:
    net = pl_module.net
    assert isinstance(net, nn.Module)
    return net


def _wide(value: Tensor) -> torch.dtype:
    """At least float32 for floats: in bfloat16 a step of a thousandth is rounded away."""
    return torch.promote_types(value.dtype, torch.float32) if value.is_floating_point() else value.dtype
