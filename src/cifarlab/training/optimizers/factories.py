"""Optimizers by name: a net in, a torch optimizer over its trainable parameters out."""

import difflib
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import nn
from torch.optim import Optimizer

from cifarlab.training.optimizers.muon import Muon
from cifarlab.training.optimizers.parameter_groups import decay_groups, muon_parts
from cifarlab.training.optimizers.sgd import SGD


def sgd(
    net: nn.Module,
    *,
    lr: Annotated[float, Gt(0)] = 0.1,
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9,
    nesterov: bool = True,
    weight_decay: Annotated[float, Ge(0)] = 5e-4,
    decay_norm_and_bias: bool = False,
) -> Optimizer:
    """Stochastic gradient descent with (Nesterov) momentum; the decay is L2, added to the gradient.

    Args:
        lr: Learning rate (the peak, under a schedule).
        momentum: Share of the last step that is kept; 0 is plain SGD.
        nesterov: Take the gradient after the momentum step; needs momentum.
        weight_decay: L2 decay of matrices and filters.
        decay_norm_and_bias: Decay norms and biases too.

    Raises:
        ValueError: `nesterov` without momentum.
    """
    if nesterov and momentum == 0:
        raise ValueError("nesterov=true needs momentum above 0, momentum=0.0 was given: set nesterov=false")
    groups = decay_groups(net, weight_decay, decay_norm_and_bias)
    return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov)


def adam(
    net: nn.Module,
    *,
    lr: Annotated[float, Gt(0)] = 1e-3,
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9,
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999,
    eps: Annotated[float, Gt(0)] = 1e-8,
    weight_decay: Annotated[float, Ge(0)] = 0.0,
    decay_norm_and_bias: bool = False,
) -> Optimizer:
    """Adam (Kingma & Ba, 2015, algorithm 1); the decay is L2, added to the gradient.

    Args:
        lr: Learning rate (the peak, under a schedule).
        beta1: Decay of the running mean of the gradient.
        beta2: Decay of the running mean of its square.
        eps: Added to the denominator.
        weight_decay: L2 decay of matrices and filters.
        decay_norm_and_bias: Decay norms and biases too.
    """
    groups = decay_groups(net, weight_decay, decay_norm_and_bias)
    return torch.optim.Adam(groups, lr=lr, betas=(beta1, beta2), eps=eps)


def adamw(
    net: nn.Module,
    *,
    lr: Annotated[float, Gt(0)] = 1e-3,
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9,
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999,
    eps: Annotated[float, Gt(0)] = 1e-8,
    weight_decay: Annotated[float, Ge(0)] = 0.05,
    decay_norm_and_bias: bool = False,
) -> Optimizer:
    """Adam with decoupled decay: each step shrinks weights by lr * weight_decay (Loshchilov & Hutter, 2019).

    Args:
        lr: Learning rate (the peak, under a schedule).
        beta1: Decay of the running mean of the gradient.
        beta2: Decay of the running mean of its square.
        eps: Added to the denominator.
        weight_decay: Decoupled decay of matrices and filters, in units of 1 / lr a step.
        decay_norm_and_bias: Decay norms and biases too.
    """
    groups = decay_groups(net, weight_decay, decay_norm_and_bias)
    return torch.optim.AdamW(groups, lr=lr, betas=(beta1, beta2), eps=eps)


def muon(
    net: nn.Module,
    *,
    lr: Annotated[float, Gt(0)] = 0.24,
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.6,
    newton_schulz_steps: Annotated[int, Ge(1), Le(20)] = 3,
    newton_schulz_dtype: Literal["auto", "bfloat16", "float32"] = "auto",
    normalize: bool = True,
    bias_lr: Annotated[float, Gt(0)] = 0.1,
    head_lr: Annotated[float, Gt(0)] = 0.1,
    sgd_momentum: Annotated[float, Ge(0), Lt(1)] = 0.85,
    weight_decay: Annotated[float, Ge(0), Lt(1)] = 5e-5,
    decay_norm_and_bias: bool = False,
) -> Optimizer:
    """Muon (Jordan, 2024) for filters and matrices, SGD with Nesterov momentum for head, biases and norms.

    The settings are airbench94_muon's, but `bias_lr` and `head_lr` are for a mean loss: a recipe whose loss is summed
    over batches of B pictures has them B times as large here (airbench's 0.053 and 0.67 at B = 1000: 53 and 670).

    Args:
        lr: Learning rate of filters and matrices (the peak, under a schedule); it does not depend on the loss's scale.
        momentum: Momentum of filters and matrices.
        newton_schulz_steps: Iterations that orthogonalise a step.
        newton_schulz_dtype: What they compute in; `auto` is bfloat16 where the device gains by it.
        normalize: Scale each filter weight to norm sqrt(outputs) before each step; false lets norms move, with decay.
        bias_lr: Learning rate of biases and norms.
        head_lr: Learning rate of the last linear layer's weight.
        sgd_momentum: Momentum of what SGD steps.
        weight_decay: Share of a weight that decay takes in a step at full lr, whatever that lr is.
        decay_norm_and_bias: Decay norms and biases too.
    """
    parts = muon_parts(net)
    common = {"rule": "sgd", "momentum": sgd_momentum}
    rest_decay = weight_decay / bias_lr if decay_norm_and_bias else 0.0
    groups = [
        {"params": parts.matrices, "rule": "muon", "lr": lr, "momentum": momentum, "weight_decay": weight_decay / lr},
        {"params": parts.head, "lr": head_lr, "weight_decay": weight_decay / head_lr, **common},
        {"params": parts.rest, "lr": bias_lr, "weight_decay": rest_decay, **common},
    ]
    return Muon(
        [group for group in groups if group["params"]],
        newton_schulz_steps=newton_schulz_steps,
        newton_schulz_dtype=newton_schulz_dtype,
        normalize=normalize,
    )


def timm_optimizer(
    net: nn.Module,
    *,
    name: str = "lamb",
    lr: Annotated[float, Gt(0)] = 1e-3,
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9,
    weight_decay: Annotated[float, Ge(0)] = 0.0,
    decay_norm_and_bias: bool = False,
) -> Optimizer:
    """Any optimizer of timm by its name there, with timm's defaults for whatever is not named here.

    Left out are those that need bitsandbytes or apex, and adahessian, which needs second gradients.

    Args:
        name: One of `timm.optim.list_optimizers()`, such as `lamb`, `lion`, `adopt`, `nadamw`.
        lr: Learning rate (the peak, under a schedule).
        momentum: Momentum, for those that have one; others ignore it.
        weight_decay: Decay of matrices and filters, coupled or not as the optimizer has it.
        decay_norm_and_bias: Decay norms and biases too.

    Raises:
        ValueError: timm has no optimizer of that name.
    """
    from timm.optim import create_optimizer_v2, list_optimizers  # 0.4 s, for this one only

    known = [str(each) for each in list_optimizers(exclude_filters=["bnb*", "fused*", "adahessian"])]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(f"name={name}: timm has no such optimizer.{hint} Allowed: {', '.join(known)}")
    groups = decay_groups(net, weight_decay, decay_norm_and_bias)
    return create_optimizer_v2(groups, opt=name, lr=lr, weight_decay=weight_decay, momentum=momentum)
