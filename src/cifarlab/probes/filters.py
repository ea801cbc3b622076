"""The first convolution of a net."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn


def first_convolution(net: nn.Module) -> tuple[str, nn.Conv2d]:
    """The first convolution that was registered, with its name in the net.

    Raises:
        ValueError: the net has none.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module
    raise ValueError(f"{type(net).__name__} has no convolution whose filters could be shown")


def first_filters(net: nn.Module) -> NDArray[np.float32]:
    """``(F, C, h, w)``, the filters that see the picture (reports R1.4, R4.6).

    Raises:
        ValueError: the net has no convolution.
    """
    return first_convolution(net)[1].weight.detach().float().cpu().numpy()
