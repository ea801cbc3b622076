"""Gates that can switch a residual branch off and leave a strict identity (report R3.5)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SparseGate(nn.BatchNorm2d):
    """The batch norm that ends a residual branch, with a gate that closes when the branch has become too weak.

    ``(B, C, H, W)`` -> same shape, exactly 0 everywhere once closed, so that the block is its shortcut alone. A
    relative of :class:`ResponseGate`, which is the published method: this one reads scales instead of responses. After
    batch norm a branch's root mean square response over data is ``sqrt(mean over channels of weight**2 + bias**2)``, so
    the threshold reads that. Unlike the largest response, it does not depend on which pictures share a batch, and the
    gate costs no pass over the activations.

    A closed branch gets no gradient from the data and stays closed. :func:`gates_l1` alone lowers a gate, since norms
    do not decay.

    Args:
        channels: channels of the branch.
        threshold: response below which the gate is closed; every branch starts at 1.
    """

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, channels: int, threshold: float) -> None:
        super().__init__(channels)
        self.threshold = threshold

    def strength(self) -> Tensor:
        """Root mean square response of the branch, a scalar; its gradient at 0 is 0, not NaN."""
        scales = torch.cat([self.weight, self.bias])
        return torch.linalg.vector_norm(scales) / math.sqrt(self.num_features)

    def is_open(self) -> Tensor:
        """Boolean scalar on the gate's device."""
        return self.strength() >= self.threshold

    def forward(self, branch: Tensor) -> Tensor:
        is_open = self.is_open().to(self.weight.dtype)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return F.batch_norm(
            branch,
            self.running_mean,
            self.running_var,
            self.weight * is_open,
            self.bias * is_open,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )


class ResponseGate(nn.Module):
    """Puts a branch to 0 for a whole batch in which none of its responses is as large as a threshold.

    ``(B, C, H, W)`` -> same shape. Yu, Yu and Ramalingam, "Learning Strict Identity Mappings in Deep Residual Networks"
    (CVPR 2018, section 3): the branch ends with a convolution (see ``gate`` of :class:`cifarlab.models.resnet.ResNet`);
    once closed it gets no gradient from the data, and weight decay drives it to 0. Training batches decide for
    themselves; in evaluation the gate is as most of the last hundred training batches found it, so that a picture's
    answer does not hang on its neighbours.

    Args:
        threshold: absolute response that keeps the gate open.
    """

    share_open: Tensor

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.register_buffer("share_open", torch.ones(()))

    def is_open(self) -> Tensor:
        """Boolean scalar on the gate's device."""
        return self.share_open >= 0.5

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training:
            return branch * self.is_open().to(branch.dtype)
        is_open = branch.detach().abs().amax() >= self.threshold
        self.share_open.lerp_(is_open.to(self.share_open.dtype), 0.01)
        return branch * is_open.to(branch.dtype)


Gate = SparseGate | ResponseGate


def gates(net: nn.Module) -> dict[str, Gate]:
    """The gates of ``net`` by module name, from input to output; empty for a net without gates."""
    return {name: module for name, module in net.named_modules() if isinstance(module, Gate)}


@torch.no_grad()
def count_gates(net: nn.Module) -> dict[Literal["gates", "closed_gates"], float]:
    """How many gates a net has and how many are closed, read from its device; empty for a net without gates."""
    found = gates(net).values()
    if not found:
        return {}
    return {"gates": float(len(found)), "closed_gates": float(sum(not bool(gate.is_open()) for gate in found))}


def gates_l1(net: nn.Module) -> Tensor:
    """Sum of the sparse gates' strengths, each times its channels: the L1 norm over branches, a scalar with gradient.

    As a function of a branch's scales it is a group lasso with the usual weight sqrt(group size) (Yuan and Lin 2006):
    it ends whole branches, and under SGD it lowers each gate's strength by ``lr * factor`` a step at any width.

    Raises:
        ValueError: ``net`` has no gates of this kind.
    """
    found = [gate for gate in gates(net).values() if isinstance(gate, SparseGate)]
    if not found:
        raise ValueError(f"{type(net).__name__} has no gates; gate=sparse gives each residual branch one")
    return torch.stack([gate.strength() * gate.num_features for gate in found]).sum()
