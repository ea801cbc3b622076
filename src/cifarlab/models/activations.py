"""The nonlinearities that the architectures offer, by name."""

from typing import Literal, get_args

from torch import nn

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "mish", "tanh"]

_CLASSES: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
}
assert set(_CLASSES) == set(get_args(Activation))


def make_activation(name: Activation) -> nn.Module:
    """A new module of that name, with PyTorch's own parameters (leaky_relu: slope 0.01; gelu: exact).

    Never in place: a probe that keeps the output of the layer before would see it overwritten.
    """
    return _CLASSES[name]()
