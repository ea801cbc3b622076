"""What in a picture speaks for a class: Grad-CAM and integrated gradients, through captum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

# Points on the way from the grey picture, by Gauss and Legendre's rule: captum's own choice is 50.
POINTS = 64
AT_ONCE = 512  # pictures in one pass


class Attributions(NamedTuple):
    """Integrated gradients.

    Attributes:
        maps: float32 ``(N, H, W)``, in units of the logit, summed over the channels; negative speaks against the class.
        gap: float32 ``(N,)``, what the sum of a map lacks to the difference of the logits, which it would be with
            infinitely many points.
    """

    maps: NDArray[np.float32]
    gap: NDArray[np.float32]


def gradcam(net: nn.Module, images: Tensor, targets: Tensor, *, layer: str) -> NDArray[np.float32]:
    """Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2): a layer's maps, weighted by their mean gradient.

    Args:
        net: ``(B, 3, H, W)`` -> logits; in evaluation mode here.
        images: float ``(N, 3, H, W)``, normalised, where the net is.
        targets: int64 ``(N,)``, the logits that are explained.
        layer: name of a module that gives maps.

    Returns:
        ``(N, H, W)``, at least 0, enlarged bilinearly from the size of the maps.

    Raises:
        ValueError: the layer gives no maps, or there is no such layer.
        ModuleNotFoundError: captum is not installed.
    """
    from captum.attr import LayerGradCam

    modules = dict(net.eval().named_modules())
    if layer not in modules:
        raise ValueError(f"layer={layer}: allowed: {', '.join(mapping_layers(net, images[:1]))}")
    maps = LayerGradCam(net, modules[layer]).attribute(images, target=targets, relu_attributions=True)
    if not isinstance(maps, Tensor) or maps.dim() != 4:
        raise ValueError(f"layer={layer}: it gives no maps; allowed: {', '.join(mapping_layers(net, images[:1]))}")
    large = F.interpolate(maps.detach().float(), images.shape[-2:], mode="bilinear", align_corners=False)
    return large[:, 0].cpu().numpy()


def attribute(net: nn.Module, images: Tensor, targets: Tensor) -> Attributions:
    """Integrated gradients (Sundararajan et al., ICML 2017, eq. 1) from the mean colour of the training pictures.

    Args:
        net: ``(B, 3, H, W)`` -> logits; in evaluation mode here.
        images: float ``(N, 3, H, W)``, normalised, so that 0 is the mean colour.
        targets: int64 ``(N,)``, the logits that are explained.

    Raises:
        ModuleNotFoundError: captum is not installed.
    """
    from captum.attr import IntegratedGradients

    maps, gap = IntegratedGradients(net.eval()).attribute(
        images,
        target=targets,
        n_steps=POINTS,
        internal_batch_size=max(AT_ONCE, len(images)),
        return_convergence_delta=True,
    )
    return Attributions(maps.detach().sum(1).float().cpu().numpy(), gap.detach().float().cpu().numpy())


@torch.no_grad()
def mapping_layers(net: nn.Module, image: Tensor) -> list[str]:
    """The convolutions whose maps are larger than one pixel, in the order in which they are used.

    Args:
        net: in evaluation mode here.
        image: ``(1, 3, H, W)``.

    Raises:
        ValueError: there are none.
    """
    found: dict[str, None] = {}

    def note(name: str, output: Tensor) -> None:
        if output.dim() == 4 and output.shape[-1] * output.shape[-2] > 1:
            found.pop(name, None)
            found[name] = None

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        net.eval()(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError(f"{type(net).__name__} has no convolution whose maps are larger than one pixel")
    return list(found)
