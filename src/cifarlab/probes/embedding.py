"""Where a net puts pictures: what its output layer is given, and that in a plane."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Features(NamedTuple):
    """One entry a picture, in the order given.

    Attributes:
        features: float32 ``(N, D)``.
        labels: int64 ``(N,)``, the truth.
        predicted: int64 ``(N,)``.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]


class Planes(NamedTuple):
    """Features in two dimensions.

    Attributes:
        pca: float ``(N, 2)``, the two directions of the largest variance.
        explained: their share of the variance, in [0, 1].
        tsne: float ``(N, 2)``.
        perplexity: that t-SNE was made with.
    """

    pca: NDArray[np.floating]
    explained: float
    tsne: NDArray[np.floating]
    perplexity: float


@torch.no_grad()
def penultimate(net: nn.Module, output_layer: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Features:
    """What the output layer is given.

    Args:
        net: ``(B, 3, H, W)`` -> logits ``(B, C)``, on the batches' device; in evaluation mode here.
        output_layer: the module of the net that gives the logits.
        batches: normalised pictures with int64 ``(B,)`` labels.
    """
    given: list[Tensor] = []
    hook = output_layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].flatten(1).float().cpu()))
    truth, said = [], []
    try:
        net.eval()
        for images, labels in batches:
            said.append(net(images).argmax(1).cpu())
            truth.append(labels.cpu())
    finally:
        hook.remove()
    return Features(*(torch.cat(column).numpy() for column in (given, truth, said)))


def planes(features: NDArray[np.float32], *, seed: int) -> Planes:
    """PCA, and t-SNE (van der Maaten and Hinton 2008) from there, by scikit-learn.

    Args:
        features: ``(N, D)``, N at least 5, D at least 2.
        seed: of both.

    Raises:
        ValueError: there are too few pictures, or features.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(features) < 5 or features.shape[1] < 2:
        raise ValueError(f"{len(features)} pictures of {features.shape[1]} features: allowed are 5 of 2, or more")
    linear = PCA(2, random_state=seed)
    flat = linear.fit_transform(features)
    perplexity = min(30.0, (len(features) - 1) / 3)  # scikit-learn's own; it must stay below the number of pictures
    curved = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    return Planes(flat, float(linear.explained_variance_ratio_.sum()), curved, perplexity)
