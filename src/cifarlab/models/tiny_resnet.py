"""Tiny ResNet: tiny VGG turned residual (report R4.9)."""

from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor, nn

from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.initialization import initialize
from cifarlab.models.ranges import Rate, Width
from cifarlab.models.same_convolution import SameConv2d


class TinyBlock(nn.Module):
    """Two 3x3 convolutions, input added, then the last activation; a 1x1 convolution where the width changes."""

    def __init__(self, channels_in: int, channels: int, batch_norm: bool, activation: Activation) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (channels_in, channels):
            layers.append(nn.Conv2d(inputs, channels, 3, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(make_activation(activation))
        self.branch = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity() if channels_in == channels else SameConv2d(channels_in, channels, 1)
        self.activation = make_activation(activation)

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(self.branch(images) + self.shortcut(images))


class TinyResNet(nn.Module):
    """7x7 convolution, batch norm, activation, 2x2 max pool; residual blocks; average pool; flatten; two dense layers.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, H and W at least 2. After report R4.9 to the letter: no max
    pooling in the blocks, so they work at 16x16; the average pool with ``pool_size`` 4 before the flatten layer leaves
    4x4 (other picture sizes are averaged to the same grid); the dense layers are those of
    :class:`cifarlab.models.tiny_vgg.TinyVGG`. 213,226 parameters for 10 classes. Weights:
    :func:`cifarlab.models.initialization.initialize`.

    Args:
        blocks: residual blocks; the first keeps the width, each further one doubles it.
        width: filters of the 7x7 convolution and of the first block.
        hidden: units of the dense layer before the output layer.
        batch_norm: batch norm after each convolution of the blocks too (the 7x7 convolution always has it).
        dropout: share of values dropped before the dense layer and before the output layer.
        activation: nonlinearity.
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
        self.stem = nn.Sequential(
            SameConv2d(3, width, 7), nn.BatchNorm2d(width), make_activation(activation), nn.MaxPool2d(2)
        )
        widths = [width * 2**index for index in range(blocks)]
        self.blocks = nn.Sequential(
            *(
                TinyBlock(before, after, batch_norm, activation)
                for before, after in zip([width, *widths[:-1]], widths, strict=True)
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.dense = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(widths[-1] * 4 * 4, hidden),
            make_activation(activation),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(hidden, num_classes)
        initialize(self, activation)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dense(self.pool(self.blocks(self.stem(images))).flatten(1)))
