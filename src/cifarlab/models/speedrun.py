"""The fast net: what reaches 94 % on CIFAR-10 in the least time."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F

from cifarlab.models.activations import Activation, make_activation

# Patches are 2x2 pixels of 3 channels; each of the 12 whitened directions comes with both signs.
PATCH = 2
WHITENED = 2 * 3 * PATCH**2
# Pictures that the whitening looks at, and what is added to each variance (arXiv 2404.00498, section 3).
WHITENING_IMAGES = 5000
WHITENING_EPSILON = 5e-4


class QuickBatchNorm(nn.BatchNorm2d):
    """Batch norm with a learned shift only and running statistics that follow within a few steps (0.6 kept a step)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-12, momentum=0.4)
        self.weight.requires_grad_(False)


class Shortcut(nn.Sequential):
    """Adds its input to what its layers make of it."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps + super().forward(maps)


class Group(nn.Sequential):
    """Convolution, 2x2 max pool, then convolution, each with batch norm and activation; halves the size.

    A depth of 3 adds a third convolution, and a shortcut around the last two, as airbench96 has them (Jordan, 2024).
    """

    def __init__(self, channels_in: int, channels: int, depth: int, activation: Activation) -> None:
        after_pool = [make_dirac_convolution(channels, channels), QuickBatchNorm(channels)]
        if depth == 3:
            more = [make_activation(activation), make_dirac_convolution(channels, channels), QuickBatchNorm(channels)]
            after_pool = [Shortcut(*after_pool, *more)]
        super().__init__(
            make_dirac_convolution(channels_in, channels),
            nn.MaxPool2d(2),
            QuickBatchNorm(channels),
            make_activation(activation),
            *after_pool,
            make_activation(activation),
        )


class Speedrun(nn.Module):
    """Fixed whitening of 2x2 patches, three groups of convolutions, max pool, linear head without bias.

    ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``, H and W at least 9. Source: Jordan 2024, "94% on CIFAR-10 in
    3.29 Seconds on a Single GPU" (arXiv 2404.00498), section 3: frozen patch whitening, half of its filters
    the negatives of the others, its bias learned; convolutions start as the identity on their first channels and random
    beyond; pooling after the first convolution of a group. The head starts with deviation 1 and its sum is divided by
    the number of channels, as in the author's later version with Muon. 1,972,792 parameters for 10 classes, of which
    288 (the whitening filters) and 1,152 (the scales of batch norm) do not learn (``requires_grad`` is false).

    Args:
        widths: channels of the three groups.
        depths: convolutions of the three groups; with 3 the last two have a shortcut around them. Widths of 128, 384,
            512 with depths of 3 make the net of airbench96.
        activation: nonlinearity; relu and silu are 5 % faster on a CPU and 0.6 points worse.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        widths: tuple[
            Annotated[int, Ge(1), Le(2048)], Annotated[int, Ge(1), Le(2048)], Annotated[int, Ge(1), Le(2048)]
        ] = (64, 256, 256),
        depths: tuple[Literal[2, 3], Literal[2, 3], Literal[2, 3]] = (2, 2, 2),
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, WHITENED, PATCH)
        self.whiten.weight.requires_grad_(False)
        self.activation = make_activation(activation)
        inputs = (WHITENED, *widths[:2])
        self.groups = nn.Sequential(*(Group(*each, activation) for each in zip(inputs, widths, depths, strict=True)))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(widths[-1], num_classes, bias=False)
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.head.weight)

    @torch.no_grad()
    def fit_to_images(self, images: Tensor) -> None:
        """Sets the first layer from ``images`` (normalised float ``(N, 3, H, W)``; the first 5,000 are looked at).

        The filters are the eigenvectors of the patches' second moments over the root of (eigenvalue + 5e-4), and the
        negatives of these: the outputs of the first twelve are uncorrelated with mean square 1.
        """
        patches = F.unfold(images[:WHITENING_IMAGES].float(), PATCH).transpose(1, 2).reshape(-1, 3 * PATCH**2)
        moments = patches.T @ patches / len(patches)
        values, vectors = torch.linalg.eigh(moments)
        values = values.clamp_min(0)  # float32 sums over millions of patches: some BLAS kernels leave -4e-4 on CIFAR-10
        filters = (vectors / (values + WHITENING_EPSILON).sqrt()).T.reshape(-1, 3, PATCH, PATCH)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pool(self.groups(self.activation(self.whiten(images)))).flatten(1)
        return self.head(maps) / maps.shape[1]


def make_dirac_convolution(channels_in: int, channels: int) -> nn.Conv2d:
    """3x3 without bias; the first ``channels_in`` filters hand their channel on, the others start as PyTorch's do."""
    convolution = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[: min(channels_in, channels)])
    return convolution
