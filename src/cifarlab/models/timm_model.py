"""Any architecture of timm by its name."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from torch import nn

from cifarlab.models import pretrained as trained
from cifarlab.models.ranges import Rate

# A transformer with the small stem cuts 32x32 pictures into 8x8 patches.
SMALL_PATCH = 4


def timm_model(
    num_classes: int,
    *,
    name: str = "resnet18",
    pretrained: bool = False,
    stem: Literal["original", "small"] = "small",
    image_size: Annotated[int, Ge(8), Le(1024)] = 32,
    head_dropout: Rate = 0.0,
) -> nn.Module:
    """Builds the model of that name with a new head: ``(B, 3, H, W)`` float -> logits ``(B, num_classes)``.

    Most architectures in timm divide the size by 32 before the head, which leaves one pixel of a CIFAR picture. The
    small stem spares the first one or two halvings: the first convolution gets stride 1 (and, where nothing pretrained
    would be lost, 3x3 filters in place of 7x7) and a first max pool is dropped. A model made for one picture size only
    (a transformer) is built for ``image_size``, with patches of 4x4 pixels as small stem.

    Args:
        name: as in ``timm.list_models()``.
        pretrained: fetch the weights that timm has for it (ImageNet); the head always starts anew.
        stem: original, or small for pictures of about 32x32.
        image_size: side of the pictures, for architectures that must know it.
        head_dropout: share of values dropped before the output layer.

    Raises:
        ValueError: timm has no such model, its stem has no small form, or its weights cannot be fetched.
    """
    trained.check_name(name)
    options: dict[str, Any] = {}
    if trained.only_size(name) is not None:
        options = {"img_size": image_size} | ({"patch_size": SMALL_PATCH} if stem == "small" else {})
    try:
        net = trained.create(name, pretrained, num_classes=num_classes, drop_rate=head_dropout, **options)
    except TypeError as error:
        if "patch_size" in options:
            raise no_small_stem(name) from error
        raise
    if stem == "small" and not options:
        shrink_stem(net, name, keep_filters=pretrained)
    return net


def shrink_stem(net: nn.Module, name: str, *, keep_filters: bool) -> None:
    """Takes the halvings out of the first convolution and a max pool behind it, in place."""
    where = getattr(net, "default_cfg", {}).get("first_conv")
    path: str = (where[0] if isinstance(where, tuple | list) else where) or ""
    first = net.get_submodule(path)
    if not isinstance(first, nn.Conv2d) or first.stride == first.kernel_size:
        raise no_small_stem(name)
    first.stride = (1, 1)
    if first.kernel_size == (7, 7) and not keep_filters:
        parent, _, attribute = path.rpartition(".")
        bias = first.bias is not None
        small = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=bias)
        nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
        setattr(net.get_submodule(parent), attribute, small)
    if isinstance(getattr(net, "maxpool", None), nn.Module):
        net.maxpool = nn.Identity()


def no_small_stem(name: str) -> ValueError:
    """The refusal of a model whose first layer cannot be made finer."""
    return ValueError(f"stem=small is not known for name={name}; choose stem=original")
