"""What every convolution, activation and pool of a net answers to one picture (report R4.5)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules import activation, pooling

# `nn.modules.activation` also holds attention, which is a layer of its own.
KINDS = (
    nn.Conv2d,
    *(getattr(pooling, name) for name in pooling.__all__),
    *(getattr(activation, name) for name in activation.__all__ if name != "MultiheadAttention"),
)


class Layer(NamedTuple):
    """What a layer gave.

    Attributes:
        kind: its type, as torch has it: ``Conv2d``.
        maps: float32 ``(C, h, w)``.
    """

    kind: str
    maps: NDArray[np.float32]


@torch.no_grad()
def feature_maps(net: nn.Module, image: Tensor, *, below: str = "", stop_at: Collection[str] = ()) -> dict[str, Layer]:
    """Run one picture through the net and keep what its layers give, in the order of the computation.

    A layer that is used several times (one activation shared by all blocks) has an entry a use: ``activation``,
    ``activation (2)``. Operations that are no modules (a plain addition) are not seen.

    Args:
        net: ``(1, 3, H, W)`` -> anything; in evaluation mode here.
        image: float32 ``(3, H, W)``, normalised.
        below: keep only layers whose name begins so.
        stop_at: modules whose weights mean nothing; the first of them that is used ends the record.

    Returns:
        By layer name; layers whose output is no batch of maps are left out.
    """
    kept: dict[str, Layer] = {}
    uses: dict[str, int] = {}
    ended = False

    def record(name: str, module: nn.Module, output: Any) -> None:
        nonlocal ended
        ended = ended or name in stop_at
        if ended or not name.startswith(below) or not isinstance(output, Tensor) or output.dim() != 4:
            return
        uses[name] = uses.get(name, 0) + 1
        # Copied at once: an activation that works in place would change what the layer before it gave.
        maps = output[0].float().cpu().numpy().copy()
        kept[name if uses[name] == 1 else f"{name} ({uses[name]})"] = Layer(_kind(module), maps)

    watched = [(name, module) for name, module in net.named_modules() if isinstance(module, KINDS) or name in stop_at]
    hooks = [
        module.register_forward_hook(lambda layer, _, output, name=name: record(name, layer, output))
        for name, module in watched
    ]
    try:
        net.eval()(image[None])
    finally:
        for hook in hooks:
            hook.remove()
    return kept


def _kind(module: nn.Module) -> str:
    """Of a subclass, such as one that pads as TensorFlow does, the name of what it is in torch."""
    own = (one for one in type(module).__mro__ if one.__module__.startswith("torch.nn."))
    return next(one.__name__ for one in own)
