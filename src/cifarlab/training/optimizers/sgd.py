"""SGD whose rates may be tensors, as a step that is recorded on a GPU needs them where a schedule moves them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

Rate = float | Tensor  # a tensor of one element, beside the weights


class SGD(torch.optim.SGD):
    """torch's; where the momentum is a tensor, which torch does not take, its formula in products of tensors."""

    recordable = True

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        if not any(isinstance(group["momentum"], Tensor) for group in self.param_groups):
            return super().step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            rates = {name: group[name] for name in ("lr", "momentum", "nesterov", "weight_decay")}
            sgd_step(weights, momentum_buffers(self, weights), **rates)
        return loss


def sgd_step(
    weights: list[Tensor], buffers: list[Tensor], *, lr: Rate, momentum: Rate, nesterov: bool, weight_decay: float
) -> None:
    """One step of SGD in place, with the L2 decay and Nesterov momentum of `torch.optim.SGD`."""
    gradients = gradients_of(weights)
    if isinstance(momentum, Tensor):
        gradients = list(torch._foreach_add(gradients, weights, alpha=weight_decay))
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        steps = torch._foreach_add(gradients, torch._foreach_mul(buffers, momentum)) if nesterov else buffers
        torch._foreach_sub_(weights, torch._foreach_mul(steps, lr))
        return
    sgd(
        weights,
        gradients,
        list(buffers),
        lr=lr,
        momentum=momentum,
        dampening=0.0,
        nesterov=nesterov,
        weight_decay=weight_decay,
        maximize=False,
        fused=True if isinstance(lr, Tensor) else None,
    )


def momentum_buffers(optimizer: torch.optim.Optimizer, weights: list[Tensor]) -> list[Tensor]:
    """The `momentum_buffer` of each weight in the optimizer's state, made of zeros where there is none."""
    for weight in weights:
        if optimizer.state[weight].get("momentum_buffer") is None:
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return [optimizer.state[weight]["momentum_buffer"] for weight in weights]


def gradients_of(weights: list[Tensor]) -> list[Tensor]:
    return [weight.grad for weight in weights if weight.grad is not None]
