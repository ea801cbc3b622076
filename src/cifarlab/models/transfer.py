"""Transfer: a backbone that others have trained, and a new head on it (report R5.6)."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F

from cifarlab.models import pretrained as trained
from cifarlab.models.activations import Activation, make_activation
from cifarlab.models.backbone import fill, make_backbone
from cifarlab.models.initialization import initialize
from cifarlab.models.ranges import Rate, Width
from cifarlab.models.weights import are_wanted


class Transfer(nn.Module):
    """A backbone of timm's, its last maps averaged, dense layers, dropout, one linear layer.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, H and W as the backbone allows: at least 32 for the whole of
    VGG19, which halves them five times. The default is the report's: the convolutions and pools of VGG19 (Simonyan and
    Zisserman 2014, table 1, column E; 20,024,384 parameters) and three dense layers of 512; 20,817,482 parameters for
    10 classes. A trained backbone knows pictures with the mean and deviation that it was trained with:
    ``data.normalize=imagenet`` gives them so.

    The head is what `get_classifier` returns (timm's name for it); weights of the backbone alone come from elsewhere.

    Args:
        name: of the backbone, as in ``timm.list_models()``.
        pretrained: fetch the weights that timm has for it (ImageNet).
        weights: file with a state_dict of the backbone (.pth, .safetensors, .npz; torchvision's or timm's names), in
            place of fetching.
        stages: the first so many stages of the backbone alone; null takes all. VGG19 has five, each ended by its last
            convolution before a pool, and its last pool as the sixth.
        image_size: side that pictures are scaled to first; null leaves them (32x32 as in the report), or takes the one
            size that the backbone knows.
        head_norm: batch norm before the first dense layer. In a net trained without any, such as VGG19, maps reach
            hundreds, with which the dense layers start badly; the report has none.
        hidden: units of each dense layer of the head.
        dropout: share of values dropped before the output layer.
        activation: nonlinearity after each dense layer.

    Raises:
        ValueError: timm has no such backbone, it has fewer stages, or the weights are not to be had or not its own.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        name: str = "vgg19",
        pretrained: bool = False,
        weights: str | None = None,
        stages: Annotated[int, Ge(1), Le(100)] | None = None,
        image_size: Annotated[int, Ge(8), Le(1024)] | None = None,
        head_norm: bool = False,
        hidden: tuple[Width, ...] = (512, 512, 512),
        dropout: Rate = 0.4,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        trained.check_name(name)
        self.image_size = image_size or trained.only_size(name)
        self.backbone = make_backbone(name, pretrained and weights is None, stages, self.image_size)
        self.pool = nn.AdaptiveAvgPool2d(1)
        units = (self.backbone.channels, *hidden)
        dense = [layer for pair in pairwise(units) for layer in (nn.Linear(*pair), make_activation(activation))]
        norm = [nn.BatchNorm1d(units[0])] if head_norm else []
        self.head = nn.Sequential(*norm, *dense, nn.Dropout(dropout), nn.Linear(units[-1], num_classes))
        initialize(self.head, activation)
        if weights is not None and are_wanted():
            path = os.path.expanduser(weights)  # noqa: PTH111 - Path.expanduser raises for a name that is no user's
            fill(self.backbone.net, Path(path), name)

    def get_classifier(self) -> nn.Module:
        """What starts anew: the dense layers."""
        return self.head

    def forward(self, images: Tensor) -> Tensor:
        side = self.image_size
        if side is not None and images.shape[2:] != (side, side):
            images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
        return self.head(self.pool(self.backbone(images)).flatten(1))
