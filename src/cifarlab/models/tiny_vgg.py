"""Tiny VGG: two blocks of two 3x3 convolutions and a pool (reports R4.2, R4.7, R4.8)."""

from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor, nn

from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.initialization import initialize
from cifarlab.models.ranges import Rate, Width


class TinyVGG(nn.Module):
    """VGG blocks (conv, conv, 2x2 max pool), then flatten, one dense layer and the output layer.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, H and W at least ``2**blocks``. The report gives neither
    widths nor the dense layer: 32 filters, doubled by each block as in VGG, and 128 units are this project's choice.
    The default has 591,274 parameters for 10 classes. The dense layer sees the grid that 32x32 pictures leave (8x8
    after two blocks); pictures of another size are averaged to that grid first.

    Source: report R4.2; R4.7 is ``batch_norm=true``, R4.8 is ``blocks=3``. Simonyan and Zisserman 2014. Weights:
    :func:`cifarlab.models.initialization.initialize`.

    Args:
        blocks: VGG blocks.
        width: filters of the first block.
        hidden: units of the dense layer before the output layer.
        batch_norm: batch norm between each convolution and its activation.
        dropout: share of values dropped at the end of each block and before the output layer.
        activation: nonlinearity after each convolution and after the dense layer.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        blocks: Annotated[int, Ge(1), Le(4)] = 2,
        width: Annotated[int, Ge(1), Le(512)] = 32,
        hidden: Width = 128,
        batch_norm: bool = False,
        dropout: Rate = 0.0,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 3
        for index in range(blocks):
            channels = width * 2**index
            for _ in range(2):
                layers.append(nn.Conv2d(channels_in, channels, 3, padding=1, bias=not batch_norm))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(make_activation(activation))
                channels_in = channels
            layers += [nn.MaxPool2d(2), nn.Dropout(dropout)]
        self.blocks = nn.Sequential(*layers)
        grid = 32 // 2**blocks
        self.grid = nn.AdaptiveAvgPool2d(grid)
        self.dense = nn.Sequential(
            nn.Linear(channels_in * grid**2, hidden), make_activation(activation), nn.Dropout(dropout)
        )
        self.head = nn.Linear(hidden, num_classes)
        initialize(self, activation)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dense(self.grid(self.blocks(images)).flatten(1)))
