"""A net's compiled code, kept for all nets of a process that have the same layers and shapes."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Optimizer steps from which a run gains more by compiled code than compiling takes: tiny VGG at batch 128 on an H200
# takes 15 s and wins 0.19 ms a step (benchmarks/README.md).
COMPILING_PAYS_FROM = 80_000


def compiled(net: nn.Module, images: Tensor) -> Tensor:
    """``net(images)`` by ``torch.compile``; the net and the names of its weights stay as they are."""
    return _compiled_call()(net, images)


@functools.cache
def _compiled_call() -> Callable[[nn.Module, Tensor], Tensor]:
    # One function for all nets, so that one of the same layers finds the code of one before; 8 is torch's limit.
    torch._dynamo.config.recompile_limit = max(256, torch._dynamo.config.recompile_limit)
    torch._dynamo.config.accumulated_recompile_limit = max(1024, torch._dynamo.config.accumulated_recompile_limit)
    return torch.compile(_call, dynamic=False)


def _call(net: nn.Module, images: Tensor) -> Tensor:
    return net(images)
