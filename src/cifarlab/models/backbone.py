"""A net of timm's without its head, whole or cut, with weights from the hub or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models.vgg import VGG
from torch import Tensor, nn

from cifarlab.models import pretrained as trained
from cifarlab.models.weights import Fit, by_part, compare, put_in, read_weights

MOST_FAULTS = 4


class Backbone(nn.Module):
    """Images ``(B, 3, H, W)`` -> the maps ``(B, C, h, w)`` with which a net of timm's ends.

    Args:
        net: of timm's; loses what lies behind the stage.
        name: its name there.
        stages: how many of its stages are kept; None keeps all.

    Attributes:
        channels: C.

    Raises:
        ValueError: it has fewer stages, or timm cannot take its head off.
    """

    net: Any

    def __init__(self, net: nn.Module, name: str, stages: int | None) -> None:
        super().__init__()
        self.net = net
        # timm 1.0.29 and older can cut most nets, but not VGG, whose layers stand in one row.
        self.in_a_row = not hasattr(net, "prune_intermediate_layers") and isinstance(net, VGG)
        if not (self.in_a_row or hasattr(net, "prune_intermediate_layers")):
            raise ValueError(f"model.name={name}: timm cannot take the head off this one")
        about = stages_of(net)
        if stages is not None and stages > len(about):
            allowed = f"an integer from 1 to {len(about)}"
            raise ValueError(f"model.stages={stages}: {name} has {len(about)} stages; allowed: {allowed}")
        # Whole, a transformer ends with its last norm: its own head has known its maps so.
        self.normed = stages is None
        self.stage = (stages or len(about)) - 1
        self.channels: int = about[self.stage]["num_chs"]
        if self.in_a_row:
            end = int(about[self.stage]["module"].removeprefix("features."))
            self.net.features = self.net.features[: end + 1]
            self.net.pre_logits = self.net.head = nn.Identity()
        else:
            self.net.prune_intermediate_layers([self.stage], prune_norm=not self.normed, prune_head=True)

    def forward(self, images: Tensor) -> Tensor:
        if self.in_a_row:
            whole: Tensor = self.net.features(images)
            return whole
        maps: list[Tensor] = self.net.forward_intermediates(
            images, indices=[self.stage], norm=self.normed, intermediates_only=True
        )
        return maps[-1]


def stages_of(net: Any) -> list[dict[str, Any]]:
    """What timm says of the places at which a net can be cut: channels, halvings, name of the module."""
    stages: list[dict[str, Any]] = getattr(net.feature_info, "info", net.feature_info)
    return stages


def make_backbone(name: str, pretrained: bool, stages: int | None, side: int | None) -> Backbone:
    """timm's model of that name, cut; ``side`` of the pictures is for those that know one size only."""
    options: dict[str, Any] = {} if trained.only_size(name) is None else {"img_size": side}
    if not trained.are_loaded(pretrained):
        options |= {"num_classes": 0}
        # VGG's two layers of 4096 are 119 of its 143 million parameters: not worth making to be thrown away.
        options |= {"mlp_ratio": 1 / 4096} if name.startswith("vgg") else {}
    return Backbone(trained.create(name, pretrained, **options), name, stages)


def fill(net: nn.Module, path: Path, name: str) -> None:
    """Weights for a cut net from a file that has all of them. It may also have what was cut off, and a head.

    Raises:
        ValueError: there is no such file, it lacks tensors of the backbone, or it is another net's.
    """
    if not path.is_file():
        raise ValueError(
            f"model.weights={path}: there is no such file; a state_dict of {name} with torchvision's or timm's names "
            "is needed (.pth, .safetensors or .npz)"
        )
    given = read_weights(path)
    fit = compare(given, net)
    _judge(fit, given, path, net, name)
    if not trained.is_dry_run():
        put_in(given, net)
        rest = f"; not used: {by_part(fit.unused)}" if fit.unused else ""
        print(f"{path}: {len(given) - len(fit.unused)} tensors for the backbone {name}{rest}")


def _judge(fit: Fit, given: Mapping[str, Tensor], path: Path, net: nn.Module, name: str) -> None:
    faults = [f"{each} is missing" for each in fit.missing]
    faults += [f"{each} is {_shape(found)}, not {_shape(own)}" for each, (found, own) in fit.misshapen.items()]
    if not faults:
        # A deeper net of the same family holds all that a shallower one needs, and is another net.
        parts = {each.partition(".")[0] for each in net.state_dict()}
        strangers = [each for each in fit.unused if each.partition(".")[0] in parts]
        known = _names(name, None) if strangers else set()
        faults = [f"{each} is not in {name}" for each in strangers if each not in known]
    if not faults:
        return
    more = f", and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
    reach = 0 if fit.misshapen or not fit.missing else _stages_held(given, net, name)
    hint = f"; it holds the first stages: model.stages={reach}" if reach else ""
    raise ValueError(f"model.weights={path}: not the weights of {name}: {', '.join(faults[:MOST_FAULTS])}{more}{hint}")


def _stages_held(given: Mapping[str, Tensor], net: nn.Module, name: str) -> int:
    """How many whole stages a file holds that was cut off; 0 where its first one is not whole."""
    held = 0
    counters = {each for each in _names(name, None) if each.endswith(".num_batches_tracked")}
    while held < len(stages_of(net)) and _names(name, held + 1) <= counters | set(given):
        held += 1
    return held


def _names(name: str, stages: int | None) -> set[str]:
    """Names of the tensors of a net that is cut; without ``stages`` of a whole one, its head included."""
    with torch.device("meta"):
        whole = trained.create(name, False)
        net = whole if stages is None else Backbone(whole, name, stages).net
    return set(net.state_dict())


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "a number"
