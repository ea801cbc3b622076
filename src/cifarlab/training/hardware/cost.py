"""What a net costs before it is trained: parameters and arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cifarlab.models.weights import without_weights
from cifarlab.training.hardware.counts import Cost


def cost(make_net: Callable[[int], nn.Module], num_classes: int, image_size: tuple[int, int]) -> Cost:
    """Build the net on the meta device (no memory, no arithmetic, no weights from elsewhere) and count.

    Raises:
        ValueError: the net cannot be built so, or not for pictures of that size.
    """
    with torch.device("meta"), without_weights():
        net = make_net(num_classes).eval()
        image = torch.empty(1, 3, *image_size)
    outputs: list[int] = []
    for module in net.modules():
        if not any(module.children()):
            module.register_forward_hook(lambda module, given, found: outputs.append(_numel(found)))
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad():
            net(image)
    except RuntimeError as error:
        raise ValueError(f"the model does not fit {image_size[0]}x{image_size[1]} pictures: {error}") from None
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return Cost(parameters, counter.get_total_flops(), sum(outputs))


def _numel(found: object) -> int:
    return found.numel() if isinstance(found, torch.Tensor) else 0
