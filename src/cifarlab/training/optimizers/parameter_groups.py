"""Which parameters of a net share an optimizer's settings."""

from typing import Any, NamedTuple

from torch import nn


def decay_groups(net: nn.Module, weight_decay: float, decay_norm_and_bias: bool) -> list[dict[str, Any]]:
    """Parameter groups in which only matrices and filters decay.

    Biases, norm scales and scalar gates (at most one dimension) get weight decay 0 unless `decay_norm_and_bias`:
    decay on them costs accuracy (He et al., "Bag of Tricks", 2019, section 3.1). Parameters with
    `requires_grad=False` are left out. Empty groups are left out, since schedulers read every group's lr.

    Raises:
        ValueError: no parameter of the net is trainable.
    """
    trainable = trainable_parameters(net)
    decayed = [parameter for parameter in trainable if decay_norm_and_bias or parameter.ndim > 1]
    undecayed = [parameter for parameter in trainable if not (decay_norm_and_bias or parameter.ndim > 1)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class MuonParts(NamedTuple):
    """The trainable parameters of a net by how a Muon recipe steps them; each is in exactly one part."""

    matrices: list[nn.Parameter]
    head: list[nn.Parameter]
    rest: list[nn.Parameter]


def muon_parts(net: nn.Module) -> MuonParts:
    """Weights of convolution and linear layers; the weight of the last linear layer; biases, norms and all else.

    The head is apart since its rows are classes, not features to be kept orthogonal (Jordan, "Muon", 2024).

    Raises:
        ValueError: no parameter of the net is trainable.
    """
    linear = [module.weight for module in net.modules() if isinstance(module, nn.Linear)]
    head = {id(weight) for weight in linear[-1:]}
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    matrices = {id(module.weight) for module in net.modules() if isinstance(module, layers)} - head
    trainable = trainable_parameters(net)
    return MuonParts(
        matrices=[parameter for parameter in trainable if id(parameter) in matrices],
        head=[parameter for parameter in trainable if id(parameter) in head],
        rest=[parameter for parameter in trainable if id(parameter) not in matrices | head],
    )


def trainable_parameters(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that require a gradient.

    Raises:
        ValueError: there is none.
    """
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError(f"{type(net).__name__} has no parameter with requires_grad=True: there is nothing to train")
    return trainable
