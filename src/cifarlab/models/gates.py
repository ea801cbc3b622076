"""Gates that can switch a residual branch off and leave a strict identity (report R3.5)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SparseGate(nn.BatchNorm2d):
    """The batch norm that ends a residual branch, with a gate that closes when the branch has become too weak.

    ``(B, C, H, W)`` -> same shape, exactly 0 everywhere once closed, so that the block is its shortcut alone. Yu, Yu
    and Ramalingam (CVPR 2018, section 3) put a branch to 0 when no response of the batch exceeds a threshold, without
    further variables. Here too the gate has none: after batch norm a branch's root mean square response over data is
    ``sqrt(mean over channels of weight**2 + bias**2)``, so the threshold reads that. Unlike the largest response, it
    does not depend on which pictures share a batch, and the gate costs no pass over the activations.

    A closed branch gets no gradient from the data and stays closed; :func:`gates_l1` and weight decay drive it to 0.

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


def gates(net: nn.Module) -> dict[str, SparseGate]:
    """The gates of ``net`` by module name, from input to output; empty for a net without gates."""
    return {name: module for name, module in net.named_modules() if isinstance(module, SparseGate)}


def gates_l1(net: nn.Module) -> Tensor:
    """Sum of the gates' strengths, each times its channels: the L1 norm over branches, a scalar with gradient.

    As a function of a branch's scales it is a group lasso with the usual weight sqrt(group size) (Yuan and Lin 2006):
    it ends whole branches, and under SGD it lowers each gate's strength by ``lr * factor`` a step at any width.

    Raises:
        ValueError: ``net`` has no gates.
    """
    found = gates(net)
    if not found:
        raise ValueError(f"{type(net).__name__} has no gates; gate=sparse gives each residual branch one")
    return torch.stack([gate.strength() * gate.num_features for gate in found.values()]).sum()
