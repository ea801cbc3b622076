"""Muon for filters and matrices with SGD for everything else, as one optimizer.

`torch.optim.Muon` takes matrices only and nothing beside them; timm's falls back to AdamW and does not hold the
filters' norms. The CIFAR recipe (Jordan, airbench94_muon, 2024) needs SGD for biases and head, and normalised filters.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from cifarlab.training.hardware.device import gains_by_bfloat16
from cifarlab.training.optimizers.sgd import gradients_of, momentum_buffers, sgd_step

# Quintic coefficients with the steepest slope at 0 (Jordan, "Muon", kellerjordan.github.io/posts/muon, 2024).
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315


def orthogonalize(matrices: Tensor, steps: int) -> Tensor:
    """Move the singular values of each matrix near 1 (about 0.7 to 1.2 after 5 steps) by Newton-Schulz iterations.

    Args:
        matrices: ``(K, rows, columns)``; the products run in its dtype.
        steps: iterations; fewer leave small singular values small.

    Returns:
        Same shape and dtype.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    wide = wide / (torch.linalg.vector_norm(wide, dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = wide @ wide.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=CUBIC, alpha=QUINTIC)
        wide = torch.baddbmm(wide, polynomial, wide, beta=LINEAR)
    return wide.mT if tall else wide


class Muon(Optimizer):
    """Each group's `rule` says how it steps: `muon` or `sgd`, both with Nesterov momentum and their own lr.

    A `muon` group steps by lr * orthogonalize(momentum); filters ``(out, in, h, w)`` count as matrices
    ``(out, in * h * w)``. With `normalize` each weight is first scaled to the Frobenius norm sqrt(out), as in
    airbench94_muon; without, it decays by lr * weight_decay and steps by sqrt(max(1, rows / columns)) times as much,
    as in `torch.optim.Muon`.

    Args:
        groups: parameter groups with `params`, `rule`, `lr`, `momentum`, `weight_decay`.
        newton_schulz_steps: iterations of `orthogonalize`.
        newton_schulz_dtype: `bfloat16`, `float32`, or `auto`: bfloat16 where the device gains by it (on
            two Zen 4 cores four 256 x 2304 matrices take 24 ms, 44 ms in float32).
        normalize: hold the norms of the `muon` weights.
    """

    recordable = True  # lr and momentum of a group may be tensors

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        newton_schulz_steps: int,
        newton_schulz_dtype: str,
        normalize: bool,
    ) -> None:
        defaults = {
            "newton_schulz_steps": newton_schulz_steps,
            "newton_schulz_dtype": newton_schulz_dtype,
            "normalize": normalize,
            "momentum": 0.0,
        }
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights and group["rule"] == "muon":
                self._muon_step(group, weights)
            elif weights:
                self._sgd_step(group, weights)
        return loss

    def _muon_step(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        gradients = gradients_of(weights)
        buffers = momentum_buffers(self, weights)
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        if isinstance(momentum, Tensor):
            directions = torch._foreach_add(gradients, torch._foreach_mul(buffers, momentum))
        else:
            directions = torch._foreach_add(gradients, buffers, alpha=momentum)
        # Weights of one shape share a batched product, which saves launches on a GPU.
        by_shape: dict[tuple[int, int], list[int]] = {}
        for index, weight in enumerate(weights):
            by_shape.setdefault((len(weight), weight[0].numel()), []).append(index)
        for (rows, columns), members in by_shape.items():
            dtype = _product_dtype(group["newton_schulz_dtype"], weights[members[0]])
            stacked = torch.stack([directions[index].flatten(1) for index in members]).to(dtype)
            updates = orthogonalize(stacked, group["newton_schulz_steps"])
            stretch = 1.0 if group["normalize"] else math.sqrt(max(1.0, rows / columns))
            for index, update in zip(members, updates, strict=True):
                weight = weights[index]
                if group["normalize"]:
                    weight.mul_(math.sqrt(rows) / weight.norm().clamp_min(1e-7))
                else:
                    weight.mul_(1 - lr * group["weight_decay"])
                if isinstance(lr, Tensor):
                    weight.sub_(update.reshape(weight.shape) * (lr * stretch))
                else:
                    weight.add_(update.reshape(weight.shape), alpha=-lr * stretch)

    def _sgd_step(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        momentum = group["momentum"]
        nesterov = isinstance(momentum, Tensor) or momentum > 0
        rates = {"lr": group["lr"], "momentum": momentum, "weight_decay": group["weight_decay"]}
        sgd_step(weights, momentum_buffers(self, weights), nesterov=nesterov, **rates)


def _product_dtype(name: str, weight: Tensor) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if gains_by_bfloat16(weight.device.type) else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32
