"""The ConvNet of report 2 (R2.3)."""

from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor, nn

from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.initialization import initialize
from cifarlab.models.ranges import Rate, Width


class ConvNet(nn.Module):
    """conv32, conv32, pool, conv64, conv64, pool, dense 512, output, each but the output with batch norm.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, H and W at least 4. Source: report R2.3; every layer keeps
    the bias that the report's framework gives it. The dense layer sees the 8x8 grid that 32x32 pictures leave; pictures
    of another size are averaged to it first. 2,169,770 parameters for 10 classes. Weights:
    :func:`cifarlab.models.initialization.initialize`.

    Args:
        width: filters of the first two convolutions; the other two have twice as many.
        hidden: units of the dense layer.
        dropout: share of values dropped after each pooling.
        head_dropout: share of values dropped before the output layer.
        activation: nonlinearity after each batch norm; the report compares leaky_relu and tanh.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: Annotated[int, Ge(1), Le(512)] = 32,
        hidden: Width = 512,
        dropout: Rate = 0.25,
        head_dropout: Rate = 0.5,
        activation: Activation = "leaky_relu",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels in [(3, width), (width, 2 * width)]:
            for inputs in (channels_in, channels):
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.BatchNorm2d(channels)]
                layers.append(make_activation(activation))
            layers += [nn.MaxPool2d(2), nn.Dropout(dropout)]
        self.features = nn.Sequential(*layers)
        self.grid = nn.AdaptiveAvgPool2d(8)
        self.dense = nn.Sequential(
            nn.Linear(2 * width * 8 * 8, hidden),
            nn.BatchNorm1d(hidden),
            make_activation(activation),
            nn.Dropout(head_dropout),
        )
        self.head = nn.Linear(hidden, num_classes)
        initialize(self, activation)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dense(self.grid(self.features(images)).flatten(1)))
