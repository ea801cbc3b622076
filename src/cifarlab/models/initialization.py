"""The start of training: random weights whose scale keeps the variance of signals through the depth."""

import math
from typing import Literal

import torch
from torch import nn

from cifarlab.models.activations import Activation

Scheme = Literal["he", "glorot"]


@torch.no_grad()
def initialize(net: nn.Module, activation: Activation = "relu", *, scheme: Scheme = "he") -> None:
    """Draws the weights of every convolution and dense layer in ``net`` from torch's global generator.

    he: normal with variance ``gain**2 / fan_in`` (He et al. 2015, "Delving Deep into Rectifiers", eq. 10): gain
    ``sqrt(2)``, for tanh ``5/3`` (:func:`torch.nn.init.calculate_gain`). The output layer, which is the last
    ``nn.Linear`` in order of definition, is normal with deviation 0.01, so that the first loss is close to
    ``log(num_classes)`` (Goyal et al. 2017, "Accurate, Large Minibatch SGD", 5.1).
    glorot: uniform within ``sqrt(6 / (fan_in + fan_out))`` in every layer (Glorot and Bengio 2010, eq. 16), which is
    what Keras does unasked.

    Biases are 0, batch norms 1 and 0.
    """
    gain = 5 / 3 if activation == "tanh" else math.sqrt(2.0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if scheme == "he":
                fan_in = module.weight[0].numel()
                nn.init.normal_(module.weight, std=gain / math.sqrt(fan_in))
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if scheme == "he":
        nn.init.normal_(output_layer(net).weight, std=0.01)


def output_layer(net: nn.Module) -> nn.Linear:
    """The last ``nn.Linear`` of ``net`` in order of definition; in every architecture here it gives the logits.

    Raises:
        ValueError: ``net`` has no ``nn.Linear``.
    """
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(net).__name__} has no linear layer")
    return linear[-1]
