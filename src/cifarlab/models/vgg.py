"""VGG for 32x32 pictures, with and without batch norm (report R3.1)."""

from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor, nn

from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.initialization import Scheme, initialize
from cifarlab.models.ranges import Rate


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each ended by 2x2 max pooling, then one linear layer.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, H and W at least ``2**len(stages)``: 32 for VGG-19. The width
    doubles a stage up to eight times the first. Source: Simonyan and Zisserman 2014, table 1, column E; its two dense
    layers of 4096 made for 224x224 are left out, as is usual for CIFAR. 20,040,522 parameters for 10 classes with batch
    norm, 20,029,514 without. Convolutions keep their biases before batch norm, so that weights fit torchvision's.

    Args:
        stages: convolutions in each stage, one to five stages.
        width: filters of the first stage.
        batch_norm: batch norm between each convolution and its activation.
        head_dropout: share of values dropped before the output layer.
        activation: nonlinearity after each convolution.
        scheme: start of the weights, he or glorot (what Keras does unasked; without batch norm the signal then shrinks
            through 16 layers of relu by about 2**8).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        stages: tuple[Annotated[int, Ge(1), Le(16)], ...] = (2, 2, 4, 4, 4),
        width: Annotated[int, Ge(1), Le(512)] = 64,
        batch_norm: bool = True,
        head_dropout: Rate = 0.0,
        activation: Activation = "relu",
        scheme: Scheme = "he",
    ) -> None:
        super().__init__()
        if not 1 <= len(stages) <= 5:
            raise ValueError(f"stages={list(stages)} has {len(stages)} entries; one to five stages are possible")
        layers: list[nn.Module] = []
        channels_in = 3
        for stage, convolutions in enumerate(stages):
            channels = width * min(2**stage, 8)
            for _ in range(convolutions):
                layers.append(nn.Conv2d(channels_in, channels, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(make_activation(activation))
                channels_in = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(channels_in, num_classes)
        initialize(self, activation, scheme=scheme)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.pool(self.features(images)).flatten(1)))
