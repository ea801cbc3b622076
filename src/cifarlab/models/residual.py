"""The reports' residual CNN: a few wide residual blocks (reports R1.1, R5.2, R5.3)."""

from typing import Annotated, Literal

from annotated_types import Ge, Le
from torch import Tensor, nn

from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.initialization import initialize
from cifarlab.models.ranges import Rate
from cifarlab.models.same_convolution import SameConv2d

# From the second block on, the width doubles and the picture halves this often: 32x32 ends at 4x4 with 8 x width.
HALVINGS = 3


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm; the second activation follows the addition (He et al. 2016, fig. 2).

    The shortcut is the identity, or a 1x1 convolution with batch norm where the shape changes. Dropout comes last.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel_size: int, stride: int, dropout: float, activation: Activation
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            SameConv2d(channels_in, channels_out, kernel_size, stride),
            nn.BatchNorm2d(channels_out),
            make_activation(activation),
            SameConv2d(channels_out, channels_out, kernel_size),
            nn.BatchNorm2d(channels_out),
        )
        same_shape = stride == 1 and channels_in == channels_out
        self.shortcut: nn.Module = (
            nn.Identity()
            if same_shape
            else nn.Sequential(SameConv2d(channels_in, channels_out, 1, stride), nn.BatchNorm2d(channels_out))
        )
        self.activation = make_activation(activation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(self.activation(self.branch(images) + self.shortcut(images)))


class ResidualCNN(nn.Module):
    """Stem of 3x3 filters, residual blocks of growing width, average pool, one linear layer.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, any H and W (with ``downsample="pool"`` at least 2 for every
    halving). The first block keeps width and size; each of the next three doubles the width and halves the size, so
    that every block costs about the same; further blocks change neither. The default is 64-128-256 channels at 32, 16
    and 8 pixels, 1,227,594 parameters for 10 classes.

    Source: reports R1.1 (strides, dropout 0) and R5.2 (``downsample="pool"``, dropout 0.2). Weights:
    :func:`cifarlab.models.initialization.initialize`.

    Args:
        blocks: residual blocks, or with ``repeats`` stages of them: each has a width and size of its own.
        repeats: blocks in each of these stages; more deepen the net and change neither width nor size.
        kernel_size: side of the filters inside the blocks, in pixels, odd or even; the stem stays 3x3.
        width: filters of the stem and of the first block.
        dropout: share of values dropped at the end of each block.
        activation: nonlinearity after the stem, inside each block and after each addition.
        downsample: halve by a stride of 2 in the block's first convolution, or by 2x2 max pooling before the block.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        blocks: Annotated[int, Ge(1), Le(9)] = 3,
        repeats: Annotated[int, Ge(1), Le(9)] = 1,
        kernel_size: Annotated[int, Ge(1), Le(11)] = 3,
        width: Annotated[int, Ge(1), Le(512)] = 64,
        dropout: Rate = 0.0,
        activation: Activation = "relu",
        downsample: Literal["stride", "pool"] = "stride",
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(SameConv2d(3, width, 3), nn.BatchNorm2d(width), make_activation(activation))
        layers: list[nn.Module] = []
        channels = width
        for index in range(blocks):
            halves = 1 <= index <= HALVINGS
            channels_in, channels = channels, 2 * channels if halves else channels
            if halves and downsample == "pool":
                layers.append(nn.MaxPool2d(2))
            stride = 2 if halves and downsample == "stride" else 1
            layers.append(ResidualBlock(channels_in, channels, kernel_size, stride, dropout, activation))
            for _ in range(repeats - 1):
                layers.append(ResidualBlock(channels, channels, kernel_size, 1, dropout, activation))
        self.blocks = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, num_classes)
        initialize(self, activation)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.blocks(self.stem(images))).flatten(1))
