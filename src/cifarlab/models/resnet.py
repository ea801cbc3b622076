"""ResNets with stems for 32x32 pictures (reports R3.2, R3.3, R3.5, R3.7)."""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn
from torch.nn import functional as F

from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.gates import ResponseGate, SparseGate
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


class SideHead(nn.Sequential):
    """Norm, activation, average pool and a linear layer on the maps of a block halfway; used in training alone."""

    def __init__(self, channels: int, num_classes: int, activation: Activation) -> None:
        pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(nn.BatchNorm2d(channels), make_activation(activation), *pool, nn.Linear(channels, num_classes))


class ResNet(nn.Module):
    """Residual network with a 3x3 stem of stride 1 and no first pooling.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, any H and W. Each stage after the first halves the size in
    its first block (a bottleneck in its 3x3 convolution) and doubles the width. Source: He et al. 2016 (CVPR), table 1
    for resnet18 and resnet50, 4.2 for resnet20 and resnet110, whose shortcuts have no parameters. Parameters for
    10 classes: resnet18 11,173,962; resnet50 23,520,842; resnet20 269,722; resnet110 1,727,962. Weights:
    :func:`cifarlab.models.initialization.initialize`, the output layer's divided by the number of blocks, since each
    adds to what it hands on: the first loss is then near ``log(num_classes)`` at any depth (ResNet-110 on CIFAR-100
    with dropout 0.5 after its additions: 11.4 without, 4.6 to 4.9 with it).

    Args:
        stages: blocks in each stage, one to five stages.
        width: filters of the stem and of the first stage.
        block: two 3x3 convolutions (basic), or 1x1, 3x3 and 1x1 with four times the width at the end (bottleneck).
        shortcut: where the shape changes, a 1x1 convolution with batch norm (projection) or zeros for the new channels
            (padding).
        dropout: share of values dropped in each block.
        dropout_at: before the last convolution of the branch (inside; Zagoruyko and Komodakis 2016, 2.4), after each
            shortcut addition (after_addition), or after those of blocks that keep the shape (after_identity; report
            R3.7).
        head_dropout: share of values dropped before the output layer.
        gate: sparse ends each branch with a gate that reads its scales; response is the method of Yu, Yu and Ramalingam
            (CVPR 2018), with their blocks: norm and activation before each convolution, none after the addition. Both
            can close for good; see cifarlab.models.gates.
        gate_threshold: response below which a gate is closed; null takes 0.1 for sparse, whose branches start at a root
            mean square of 1, and 2.5 for response, the authors' for CIFAR.
        side_weight: weight in the loss of a second output layer halfway, in training alone (the authors' gates: 0.1).
        activation: nonlinearity; with relu a block whose gate closed is a strict identity.
    """

    version = 2  # 2: the output layer starts smaller
    side_logits: Tensor | None = None

    def __init__(
        self,
        num_classes: int,
        *,
        stages: tuple[Annotated[int, Ge(1), Le(64)], ...] = (2, 2, 2, 2),
        width: Annotated[int, Ge(1), Le(512)] = 64,
        block: Literal["basic", "bottleneck"] = "basic",
        shortcut: Literal["projection", "padding"] = "projection",
        dropout: Rate = 0.0,
        dropout_at: Literal["inside", "after_addition", "after_identity"] = "inside",
        head_dropout: Rate = 0.0,
        gate: Literal["none", "sparse", "response"] = "none",
        gate_threshold: Annotated[float, Gt(0.0), Le(100.0)] | None = None,
        side_weight: Annotated[float, Ge(0.0), Le(1.0)] = 0.0,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if not 1 <= len(stages) <= 5:
            raise ValueError(f"stages={list(stages)} has {len(stages)} entries; one to five stages are possible")
        if gate == "none" and gate_threshold is not None:
            raise ValueError(f"gate_threshold={gate_threshold}: nothing reads it with gate=none; leave it out")
        if gate == "sparse" and gate_threshold is not None and gate_threshold >= 1:
            raise ValueError(
                f"gate_threshold={gate_threshold} closes every sparse gate from the start; below 1 is possible"
            )
        before = gate == "response"  # norm and activation stand before the convolutions
        self.stem = nn.Sequential(SameConv2d(3, width, 3), nn.BatchNorm2d(width), make_activation(activation))
        blocks: list[nn.Module] = []
        channels_in, channels_at = width, [width]
        for stage, count in enumerate(stages):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                convolutions = make_convolutions(block, channels_in, width * 2**stage, stride)
                channels_out = convolutions[-1].out_channels
                around = make_shortcut(shortcut, channels_in, channels_out, stride)
                keeps_shape = isinstance(around, nn.Identity)
                after = dropout_at == "after_addition" or (dropout_at == "after_identity" and keeps_shape)
                branch = make_branch(
                    convolutions,
                    activation,
                    dropout if dropout_at == "inside" else 0.0,
                    start=[nn.BatchNorm2d(channels_in), make_activation(activation)] if before and blocks else [],
                    end=make_end(gate, gate_threshold, channels_out),
                )
                last = nn.Identity() if before else make_activation(activation)
                blocks.append(Block(branch, around, nn.Dropout(dropout if after else 0.0), last))
                channels_in = channels_out
                channels_at.append(channels_in)
        self.blocks = nn.Sequential(*blocks)
        self.end = nn.Sequential(nn.BatchNorm2d(channels_in), make_activation(activation)) if before else nn.Identity()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(head_dropout)
        self.side_weight = side_weight
        self.halfway = max(1, len(blocks) // 2)
        self.side = SideHead(channels_at[self.halfway], num_classes, activation) if side_weight > 0 else None
        self.head = nn.Linear(channels_in, num_classes)
        initialize(self, activation)
        with torch.no_grad():
            self.head.weight.div_(len(blocks))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        for index, block in enumerate(self.blocks, start=1):
            maps = block(maps)
            if index == self.halfway and self.side is not None and self.training:
                self.side_logits = self.side(maps)
        return self.head(self.dropout(self.pool(self.end(maps)).flatten(1)))


def make_convolutions(
    block: Literal["basic", "bottleneck"], channels_in: int, channels: int, stride: int
) -> list[SameConv2d]:
    """The convolutions of a branch: two of 3x3, or 1x1, 3x3 and a widening 1x1."""
    if block == "basic":
        return [SameConv2d(channels_in, channels, 3, stride), SameConv2d(channels, channels, 3)]
    return [
        SameConv2d(channels_in, channels, 1),
        SameConv2d(channels, channels, 3, stride),
        SameConv2d(channels, EXPANSION * channels, 1),
    ]


def make_branch(
    convolutions: list[SameConv2d],
    activation: Activation,
    dropout: float,
    *,
    start: list[nn.Module],
    end: nn.Module,
) -> nn.Sequential:
    """``start``, the convolutions with norm and activation between them and dropout before the last, ``end``."""
    layers = [*start, convolutions[0]]
    for before, convolution in pairwise(convolutions):
        layers += [nn.BatchNorm2d(before.out_channels), make_activation(activation)]
        layers += [nn.Dropout(dropout), convolution] if convolution is convolutions[-1] else [convolution]
    return nn.Sequential(*layers, end)


def make_end(gate: Literal["none", "sparse", "response"], threshold: float | None, channels: int) -> nn.Module:
    """What ends a branch: its last norm, a norm that can close, or a gate alone."""
    if gate == "response":
        return ResponseGate(2.5 if threshold is None else threshold)
    return nn.BatchNorm2d(channels) if gate == "none" else SparseGate(channels, 0.1 if threshold is None else threshold)


def make_shortcut(
    kind: Literal["projection", "padding"], channels_in: int, channels_out: int, stride: int
) -> nn.Module:
    """The identity where the shape stays; else what ``kind`` says."""
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    if kind == "padding":
        return PaddedShortcut(channels_in, channels_out, stride)
    return nn.Sequential(SameConv2d(channels_in, channels_out, 1, stride), nn.BatchNorm2d(channels_out))
