"""ResNets with stems for 32x32 pictures (reports R3.2, R3.3, R3.5, R3.7)."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.gates import SparseGate
from cifarlab.models.initialization import initialize
from cifarlab.models.ranges import Rate
from cifarlab.models.same_convolution import SameConv2d

# A bottleneck block hands on this many times the channels of its 3x3 convolution (He et al. 2016, fig. 5).
EXPANSION = 4


class PaddedShortcut(nn.Module):
    """Every ``stride``-th pixel, and zeros for the channels that the block adds (He et al. 2016, 3.3, option A)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.missing, self.stride = channels_out - channels_in, stride

    def forward(self, images: Tensor) -> Tensor:
        return F.pad(images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))


class Block(nn.Module):
    """Activation of (branch + shortcut), with dropout between addition and activation."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module, dropout: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut
        self.dropout, self.activation = dropout, activation

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(self.dropout(self.branch(images) + self.shortcut(images)))


class ResNet(nn.Module):
    """Residual network with a 3x3 stem of stride 1 and no first pooling.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, any H and W. Each stage after the first halves the size in
    its first block (a bottleneck in its 3x3 convolution) and doubles the width. Source: He et al. 2016 (CVPR), table 1
    for resnet18 and resnet50, 4.2 for resnet20 and resnet110, whose shortcuts have no parameters. Parameters for
    10 classes: resnet18 11,173,962; resnet50 23,520,842; resnet20 269,722; resnet110 1,727,962. Weights:
    :func:`cifarlab.models.initialization.initialize`.

    Args:
        stages: blocks in each stage, one to five stages.
        width: filters of the stem and of the first stage.
        block: two 3x3 convolutions (basic), or 1x1, 3x3 and 1x1 with four times the width at the end (bottleneck).
        shortcut: where the shape changes, a 1x1 convolution with batch norm (projection) or zeros for the new channels
            (padding).
        dropout: share of values dropped in each block.
        dropout_at: before the last convolution of the branch (inside; Zagoruyko and Komodakis 2016, 2.4) or after the
            shortcut addition (after_addition; report R3.7).
        head_dropout: share of values dropped before the output layer.
        gate: sparse ends each branch with a gate that can close for good; see cifarlab.models.gates.
        gate_threshold: root mean square response below which a gate is closed; branches start at 1.
        activation: nonlinearity; with relu a block whose gate closed is a strict identity.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        stages: tuple[Annotated[int, Ge(1), Le(64)], ...] = (2, 2, 2, 2),
        width: Annotated[int, Ge(1), Le(512)] = 64,
        block: Literal["basic", "bottleneck"] = "basic",
        shortcut: Literal["projection", "padding"] = "projection",
        dropout: Rate = 0.0,
        dropout_at: Literal["inside", "after_addition"] = "inside",
        head_dropout: Rate = 0.0,
        gate: Literal["none", "sparse"] = "none",
        gate_threshold: Annotated[float, Gt(0.0), Lt(1.0)] = 0.1,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if not 1 <= len(stages) <= 5:
            raise ValueError(f"stages={list(stages)} has {len(stages)} entries; one to five stages are possible")
        inside, after = (dropout, 0.0) if dropout_at == "inside" else (0.0, dropout)
        make_branch = make_basic_branch if block == "basic" else make_bottleneck_branch
        self.stem = nn.Sequential(SameConv2d(3, width, 3), nn.BatchNorm2d(width), make_activation(activation))
        blocks: list[nn.Module] = []
        channels_in = width
        for stage, count in enumerate(stages):
            channels = width * 2**stage
            channels_out = channels if block == "basic" else EXPANSION * channels
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                norm = SparseGate(channels_out, gate_threshold) if gate == "sparse" else nn.BatchNorm2d(channels_out)
                branch = make_branch(channels_in, channels, stride, activation, inside, norm)
                around = make_shortcut(shortcut, channels_in, channels_out, stride)
                blocks.append(Block(branch, around, nn.Dropout(after), make_activation(activation)))
                channels_in = channels_out
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(channels_in, num_classes)
        initialize(self, activation)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.pool(self.blocks(self.stem(images))).flatten(1)))


def make_basic_branch(
    channels_in: int, channels: int, stride: int, activation: Activation, dropout: float, norm: nn.Module
) -> nn.Sequential:
    """Two 3x3 convolutions, ended by ``norm``."""
    return nn.Sequential(
        SameConv2d(channels_in, channels, 3, stride),
        nn.BatchNorm2d(channels),
        make_activation(activation),
        nn.Dropout(dropout),
        SameConv2d(channels, channels, 3),
        norm,
    )


def make_bottleneck_branch(
    channels_in: int, channels: int, stride: int, activation: Activation, dropout: float, norm: nn.Module
) -> nn.Sequential:
    """1x1, 3x3 and widening 1x1 convolution, ended by ``norm``."""
    return nn.Sequential(
        SameConv2d(channels_in, channels, 1),
        nn.BatchNorm2d(channels),
        make_activation(activation),
        SameConv2d(channels, channels, 3, stride),
        nn.BatchNorm2d(channels),
        make_activation(activation),
        nn.Dropout(dropout),
        SameConv2d(channels, EXPANSION * channels, 1),
        norm,
    )


def make_shortcut(
    kind: Literal["projection", "padding"], channels_in: int, channels_out: int, stride: int
) -> nn.Module:
    """The identity where the shape stays; else what ``kind`` says."""
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    if kind == "padding":
        return PaddedShortcut(channels_in, channels_out, stride)
    return nn.Sequential(SameConv2d(channels_in, channels_out, 1, stride), nn.BatchNorm2d(channels_out))
