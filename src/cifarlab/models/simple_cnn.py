"""The simple CNN on which report 5 compares augmentations (R5.5)."""

from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor, nn

from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.initialization import initialize
from cifarlab.models.ranges import Rate, Width


class SimpleCNN(nn.Module):
    """Three 3x3 convolutions, each followed by 2x2 max pooling, then three dense layers.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, H and W at least 8. The report gives no widths: 32, 64, 128
    filters and 256, 128 units are this project's choice. The first dense layer sees the 4x4 grid that 32x32 pictures
    leave; pictures of another size are averaged to it first. 651,978 parameters for 10 classes. Weights:
    :func:`cifarlab.models.initialization.initialize`.

    Args:
        width: filters of the first convolution; each further one has twice as many.
        hidden: units of the first dense layer; the second has half as many.
        dropout: share of values dropped after each hidden dense layer.
        activation: nonlinearity after each layer but the last.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: Annotated[int, Ge(1), Le(512)] = 32,
        hidden: Width = 256,
        dropout: Rate = 0.0,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if hidden % 2:
            raise ValueError(f"hidden={hidden} is odd; the second dense layer has half as many units")
        layers: list[nn.Module] = []
        for channels_in, channels in [(3, width), (width, 2 * width), (2 * width, 4 * width)]:
            layers += [nn.Conv2d(channels_in, channels, 3, padding=1), make_activation(activation), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.grid = nn.AdaptiveAvgPool2d(4)
        self.dense = nn.Sequential(
            nn.Linear(4 * width * 4 * 4, hidden),
            make_activation(activation),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden // 2),
            make_activation(activation),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(hidden // 2, num_classes)
        initialize(self, activation)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dense(self.grid(self.features(images)).flatten(1)))
