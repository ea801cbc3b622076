"""Wide ResNet (Zagoruyko and Komodakis 2016, "Wide Residual Networks", BMVC, arXiv 1605.07146)."""

from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor, nn

from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.initialization import initialize
from cifarlab.models.ranges import Rate
from cifarlab.models.same_convolution import SameConv2d

STEM = 16  # filters before the first block, whatever the width


class PreActivationBlock(nn.Module):
    """Norm, activation, 3x3, norm, activation, dropout, 3x3; added to the picture as it came (He et al. 2016b, 4e).

    Where the shape changes, the shortcut is a 1x1 convolution of what the first activation gives, as in the authors'
    code.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, dropout: float, activation: Activation) -> None:
        super().__init__()
        self.entry = nn.Sequential(nn.BatchNorm2d(channels_in), make_activation(activation))
        self.branch = nn.Sequential(
            SameConv2d(channels_in, channels, 3, stride),
            nn.BatchNorm2d(channels),
            make_activation(activation),
            nn.Dropout(dropout),
            SameConv2d(channels, channels, 3),
        )
        changes = stride != 1 or channels_in != channels
        self.shortcut = SameConv2d(channels_in, channels, 1, stride) if changes else None

    def forward(self, images: Tensor) -> Tensor:
        entered = self.entry(images)
        return self.branch(entered) + (images if self.shortcut is None else self.shortcut(entered))


class WideResNet(nn.Module):
    """WRN-depth-widen: a 3x3 stem of stride 1 and three groups of pre-activation blocks, for small pictures.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, any H and W. The groups have ``(depth - 4) / 6`` blocks each
    and 16, 32 and 64 filters times ``widen``; the second and the third halve the size. Parameters for 10 classes:
    WRN-16-4 2,748,890; WRN-40-4 8,949,210; WRN-28-5 9,132,634; WRN-16-8 10,961,370; WRN-28-10 36,479,194. The paper's
    table 4 trains WRN-28-10 for 200 epochs. Weights: :func:`cifarlab.models.initialization.initialize`.

    Args:
        depth: convolutions along the main path and the output layer: 10, 16, 22, 28, 34, 40 and so on by six.
        widen: how many times as many filters as the thin ResNet's 16, 32 and 64.
        dropout: share of values dropped between the two convolutions of a block (2.4; the paper has 0.3 for CIFAR).
        activation: nonlinearity.

    Raises:
        ValueError: ``depth`` is not ``6 n + 4``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        depth: Annotated[int, Ge(10), Le(1000)] = 16,
        widen: Annotated[int, Ge(1), Le(32)] = 4,
        dropout: Rate = 0.0,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if (depth - 4) % 6:
            near = 6 * round((depth - 4) / 6) + 4
            raise ValueError(f"depth={depth}: allowed is 6 n + 4, such as 16, 22, 28, 40; the nearest is {near}")
        self.stem = SameConv2d(3, STEM, 3)
        blocks: list[nn.Module] = []
        channels_in = STEM
        for group in range(3):
            channels = STEM * widen * 2**group
            for index in range((depth - 4) // 6):
                stride = 2 if group > 0 and index == 0 else 1
                blocks.append(PreActivationBlock(channels_in, channels, stride, dropout, activation))
                channels_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.exit = nn.Sequential(nn.BatchNorm2d(channels_in), make_activation(activation))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels_in, num_classes)
        initialize(self, activation)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.exit(self.blocks(self.stem(images)))).flatten(1))
