"""Highway network: layers that learn how much of their input they carry (report R3.6)."""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.initialization import initialize
from cifarlab.models.ranges import Rate


class HighwayLayer(nn.Module):
    """``T * H + (1 - T) * x`` with ``T = sigmoid(gate(x))`` a value and a pixel; ``(B, C, H, W)`` -> same shape."""

    def __init__(self, channels: int, batch_norm: bool, activation: Activation) -> None:
        super().__init__()
        self.transform = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm),
            nn.BatchNorm2d(channels) if batch_norm else nn.Identity(),
            make_activation(activation),
        )
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return torch.lerp(images, self.transform(images), torch.sigmoid(self.gate(images)))


class Highway(nn.Module):
    """Stem, three stages of highway layers, average pool, one linear layer.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, any H and W. A stage keeps its width, since a carried value
    needs a place of the same shape; between stages a strided convolution halves the size and doubles the width. The
    default has 30 highway layers, 34 layers with weights in a row, and 995,386 parameters for 10 classes. Source:
    Srivastava, Greff and Schmidhuber 2015, "Training Very Deep Networks", 2 and 2.2 (a negative gate bias lets layers
    start by carrying). Weights otherwise: :func:`cifarlab.models.initialization.initialize`.

    Args:
        layers: highway layers in each of the three stages.
        width: filters of the stem and of the first stage.
        carry_bias: start of the gates' bias; at -3 a gate whose input is 0 carries 95 % of the layer's input, and the
            gates of an untrained net on CIFAR-10 carry 94 % on average (n = 3).
        batch_norm: batch norm before the activation of stem, transitions and transforms; the paper has none.
        dropout: share of values dropped at the end of each stage.
        activation: nonlinearity of the transformed value.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        layers: Annotated[int, Ge(1), Le(64)] = 10,
        width: Annotated[int, Ge(1), Le(512)] = 16,
        carry_bias: Annotated[float, Ge(-10.0), Le(10.0)] = -3.0,
        batch_norm: bool = True,
        dropout: Rate = 0.0,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for channels_in, channels, stride in [(3, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)]:
            entry = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=not batch_norm)
            norm = nn.BatchNorm2d(channels) if batch_norm else nn.Identity()
            carried = [HighwayLayer(channels, batch_norm, activation) for _ in range(layers)]
            stages.append(nn.Sequential(entry, norm, make_activation(activation), *carried, nn.Dropout(dropout)))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, num_classes)
        initialize(self, activation)
        for module in self.modules():
            if isinstance(module, HighwayLayer) and module.gate.bias is not None:
                nn.init.constant_(module.gate.bias, carry_bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.stages(images)).flatten(1))
