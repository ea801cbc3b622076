"""Penalties: terms on a net's weights, added to the loss or applied after each optimizer step."""

from abc import ABC, abstractmethod
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le, MinLen
from torch import Tensor, nn
from torch.optim import Optimizer

from cifarlab.models.gates import gates_l1


class Penalty(ABC):
    """A term on the weights of a net. It holds no state of its own, so it needs no place in a checkpoint."""

    @abstractmethod
    def __call__(self, net: nn.Module) -> Tensor:
        """The scalar (float32, on the net's device, differentiable) that is added to the loss."""

    @abstractmethod
    def report(self, net: nn.Module) -> dict[str, float]:
        """Numbers to log at the end of an epoch; they leave the device here."""

    def after_step(self, net: nn.Module, optimizer: Optimizer) -> None:  # noqa: B027 (most act through the loss only)
        """Called after each optimizer step, before the schedule's. Changes the weights in place."""


class NoPenalty(Penalty):
    """Nothing: adds zero to the loss and reports nothing."""

    def __call__(self, net: nn.Module) -> Tensor:
        return next(net.parameters()).new_zeros((), dtype=torch.float32)

    def report(self, net: nn.Module) -> dict[str, float]:
        return {}


class ElasticNet(Penalty):
    """lambda * (alpha * L1 + (1 - alpha) * L2) with L1 = sum |w| and L2 = sum w^2 over the weights of some layers.

    As in report R5.4 and in Keras' `L1L2`, alpha as scikit-learn's `l1_ratio`. Zou & Hastie (2005, eq. 3) have the
    same two sums (their alpha is the share of L2); scikit-learn and glmnet halve L2. Biases and norms are left alone.

    With `proximal` only the L2 part is in the loss. The L1 part is its proximal step after each optimizer step, the
    soft threshold w -> sign(w) * max(|w| - lr * lambda * alpha, 0) with the lr of the weight's own parameter group,
    which makes zeros exact (Parikh & Boyd, "Proximal Algorithms", 2014, section 6.5). With plain SGD that is proximal
    gradient descent; with momentum or Adam's scaling it only resembles it.

    Args:
        alpha: Share of L1; 0 is L2 only, 1 is L1 only.
        lambda_: Strength of the whole.
        layers: `output` (the last linear layer), `all` (every linear and convolution layer), or name patterns of
            layers, such as `layer4.*`.
        proximal: Apply L1 as a soft threshold after each step rather than through the loss.
    """

    def __init__(
        self,
        *,
        alpha: Annotated[float, Ge(0), Le(1)] = 0.5,
        lambda_: Annotated[float, Ge(0)] = 0.01,
        layers: Literal["output", "all"] | Annotated[list[str], MinLen(1)] = "output",
        proximal: bool = False,
    ) -> None:
        self.alpha = alpha
        self.lambda_ = lambda_
        self.layers = layers
        self.proximal = proximal

    def __call__(self, net: nn.Module) -> Tensor:
        return self._value(self.weights(net), with_l1=not self.proximal)

    def report(self, net: nn.Module) -> dict[str, float]:
        """`penalty` (L1 included, also where it is proximal) and `zero_weights`, the share of weights exactly 0."""
        with torch.no_grad():
            weights = self.weights(net)
            zeros = sum(int((weight == 0).sum()) for weight in weights)
            penalty = float(self._value(weights, with_l1=True))
        return {"penalty": penalty, "zero_weights": zeros / sum(weight.numel() for weight in weights)}

    @torch.no_grad()
    def after_step(self, net: nn.Module, optimizer: Optimizer) -> None:
        if not self.proximal or self.lambda_ * self.alpha == 0:
            return
        # A weight that no group holds was not stepped either: it is frozen.
        rates = {id(each): group["lr"] for group in optimizer.param_groups for each in group["params"]}
        for weight in self.weights(net):
            if id(weight) in rates:  # a rate may be a tensor, which softshrink does not take
                threshold = rates[id(weight)] * self.lambda_ * self.alpha
                weight.copy_(weight.sign() * (weight.abs() - threshold).clamp_min_(0))

    def weights(self, net: nn.Module) -> list[Tensor]:
        """The penalised weights, each of at least two dimensions.

        Raises:
            ValueError: the net has no layer of the kind asked for.
        """
        layers = {
            name: module
            for name, module in net.named_modules()
            if isinstance(getattr(module, "weight", None), Tensor) and module.weight.ndim > 1
        }
        if self.layers == "all":
            chosen = list(layers.values())
        elif self.layers == "output":
            chosen = [module for module in layers.values() if isinstance(module, nn.Linear)][-1:]
        else:
            for pattern in self.layers:
                if not any(fnmatchcase(name, pattern) for name in layers):
                    raise ValueError(f"layers={pattern} fits no layer with weights: allowed are {', '.join(layers)}")
            chosen = [module for name, module in layers.items() if any(fnmatchcase(name, each) for each in self.layers)]
        if not chosen:
            raise ValueError(f"layers={self.layers} needs a linear layer and {type(net).__name__} has none")
        return [module.weight for module in chosen]

    def _value(self, weights: list[Tensor], with_l1: bool) -> Tensor:
        total = weights[0].new_zeros((), dtype=torch.float32)
        for weight in weights:
            if self.alpha < 1:
                total = total + (1 - self.alpha) * weight.float().square().sum()
            if self.alpha > 0 and with_l1:
                total = total + self.alpha * weight.float().abs().sum()
        return self.lambda_ * total


class SparseGates(Penalty):
    """lambda times the L1 norm of a net's sparse gates, which closes residual branches it can do without (report R3.5).

    What a gate's strength is, and when it is closed, stands in `cifarlab.models.gates`.

    Args:
        lambda_: Strength; each gate counts once a channel.
    """

    def __init__(self, *, lambda_: Annotated[float, Ge(0)] = 1e-4) -> None:
        self.lambda_ = lambda_

    def __call__(self, net: nn.Module) -> Tensor:
        return self.lambda_ * gates_l1(net).float()

    def report(self, net: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            return {"penalty": float(self(net))}
