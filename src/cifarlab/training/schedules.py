"""Learning-rate schedules: an optimizer and the run's length in, Lightning's scheduler config out.

Every lr is relative to the optimizer's own lr of each parameter group, which is the schedule's peak. A length inside
the run (`warmup_epochs`, `milestones`, ...) is in epochs, or, below 1, a share of the run whatever its length. A
schedule is stepped once an optimizer step unless `per="epoch"`, and reaches its end after the last one.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CyclicLR,
    LambdaLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

Tick = Literal["step", "epoch"]


@dataclass(frozen=True)
class Budget:
    """How long a run is: `epochs`, and optimizer steps (fewer than batches, where gradients accumulate) an epoch."""

    epochs: int
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def ticks(self, per: Tick) -> int:
        """How often a schedule of this kind is stepped in the run."""
        return self.total_steps if per == "step" else self.epochs

    def part(self, key: str, length: float, per: Tick = "step") -> int:
        """A part of the run in ticks: `length` epochs, or a share of the run where `length` is below 1.

        Raises:
            ValueError: the part does not end before the run does.
        """
        if 1 <= length >= self.epochs:
            raise ValueError(
                f"{key}={length:g} does not end before epochs={self.epochs}: "
                f"allowed are less than {self.epochs} epochs, or a share of the run below 1, such as 0.3"
            )
        share = length if length < 1 else length / self.epochs
        return min(round(share * self.ticks(per)), self.ticks(per) - 1)


def _config(scheduler: LRScheduler, per: Tick) -> LRSchedulerConfigType:
    return {"scheduler": scheduler, "interval": per, "frequency": 1}


@dataclass
class Decay:
    """The factor on the lr at a tick: a ramp up to 1 over `warmup` ticks, then down to `final` at tick `total`.

    An object, not a closure, because LambdaLR then keeps its fields in the checkpoint.
    """

    warmup: int
    total: int
    final: float
    shape: Literal["cosine", "linear"]

    def __call__(self, tick: int) -> float:
        if tick < self.warmup:
            return (tick + 1) / (self.warmup + 1)  # not from 0, which would waste the first step
        done = min((tick - self.warmup) / (self.total - self.warmup), 1.0)
        left = (1 + math.cos(math.pi * done)) / 2 if self.shape == "cosine" else 1 - done
        return self.final + (1 - self.final) * left


def constant(optimizer: Optimizer, budget: Budget) -> LRSchedulerConfigType:
    """The optimizer's lr throughout."""
    return _config(ConstantLR(optimizer, factor=1.0, total_iters=0), "epoch")


def step(
    optimizer: Optimizer,
    budget: Budget,
    *,
    step_epochs: Annotated[float, Gt(0)] = 0.4,
    factor: Annotated[float, Gt(0), Le(1)] = 0.1,
) -> LRSchedulerConfigType:
    """The lr times `factor` every `step_epochs`.

    Args:
        step_epochs: Epochs between two falls, or a share of the run below 1.
        factor: What a fall multiplies the lr by.

    Raises:
        ValueError: `step_epochs` is not below the run's epochs, so that the lr would never fall.
    """
    size = max(1, budget.part("step_epochs", step_epochs))
    return _config(StepLR(optimizer, step_size=size, gamma=factor), "step")


def multi_step(
    optimizer: Optimizer,
    budget: Budget,
    *,
    milestones: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [0.5, 0.75],  # noqa: B006 (never changed)
    factor: Annotated[float, Gt(0), Le(1)] = 0.1,
) -> LRSchedulerConfigType:
    """The lr times `factor` at each milestone (He et al., CVPR 2016, section 4.2: at half and three quarters).

    Args:
        milestones: Epochs after which the lr falls, or shares of the run below 1.
        factor: What a fall multiplies the lr by.

    Raises:
        ValueError: a milestone is not below the run's epochs.
    """
    ticks = [max(1, budget.part("milestones", milestone)) for milestone in milestones]
    return _config(MultiStepLR(optimizer, milestones=sorted(ticks), gamma=factor), "step")


def cosine(
    optimizer: Optimizer,
    budget: Budget,
    *,
    warmup_epochs: Annotated[float, Ge(0)] = 0.0,
    final_fraction: Annotated[float, Ge(0), Le(1)] = 0.0,
    per: Literal["step", "epoch"] = "step",
) -> LRSchedulerConfigType:
    """Half a cosine from the lr down to `final_fraction` of it (Loshchilov & Hutter, SGDR, 2017, eq. 5, no restart).

    Args:
        warmup_epochs: Epochs of linear rise before, or a share of the run below 1.
        final_fraction: The last lr as a share of the peak.
        per: Change the lr every step or every epoch.

    Raises:
        ValueError: `warmup_epochs` is not below the run's epochs.
    """
    warmup = budget.part("warmup_epochs", warmup_epochs, per)
    return _config(LambdaLR(optimizer, Decay(warmup, budget.ticks(per), final_fraction, "cosine")), per)


def linear(
    optimizer: Optimizer,
    budget: Budget,
    *,
    warmup_epochs: Annotated[float, Ge(0)] = 0.0,
    final_fraction: Annotated[float, Ge(0), Le(1)] = 0.0,
    per: Literal["step", "epoch"] = "step",
) -> LRSchedulerConfigType:
    """A triangle: linear rise to the lr, linear fall to `final_fraction` of it (Jordan, airbench, 2024).

    Args:
        warmup_epochs: Epochs of linear rise before, or a share of the run below 1.
        final_fraction: The last lr as a share of the peak.
        per: Change the lr every step or every epoch.

    Raises:
        ValueError: `warmup_epochs` is not below the run's epochs.
    """
    warmup = budget.part("warmup_epochs", warmup_epochs, per)
    return _config(LambdaLR(optimizer, Decay(warmup, budget.ticks(per), final_fraction, "linear")), per)


def plateau(
    optimizer: Optimizer,
    budget: Budget,
    *,
    factor: Annotated[float, Gt(0), Lt(1)] = 0.1,
    patience: Annotated[int, Ge(0)] = 10,
    min_lr: Annotated[float, Ge(0)] = 0.0,
    threshold: Annotated[float, Ge(0), Lt(1)] = 1e-4,
    monitor: Literal["val/loss", "train/loss"] = "val/loss",
) -> LRSchedulerConfigType:
    """The lr times `factor` when the monitored loss has not fallen for more than `patience` epochs.

    Args:
        factor: What a fall multiplies the lr by.
        patience: Epochs without a better loss that are borne.
        min_lr: The lr never falls below this.
        threshold: A loss counts as better when it is below the best by this share.
        monitor: Which loss; `train/loss` where there is no validation split.
    """
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience, min_lr=min_lr, threshold=threshold)
    return {"scheduler": scheduler, "interval": "epoch", "frequency": 1, "monitor": monitor}


def cyclical(
    optimizer: Optimizer,
    budget: Budget,
    *,
    half_cycle_epochs: Annotated[float, Gt(0)] = 0.1,
    base_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1,
    shape: Literal["triangular", "triangular2"] = "triangular",
) -> LRSchedulerConfigType:
    """Triangles between `base_fraction` of the lr and the lr (Smith, "Cyclical Learning Rates", 2017, section 3).

    Args:
        half_cycle_epochs: Epochs from the lowest to the highest lr (Smith: 2 to 10), or a share of the run below 1.
        base_fraction: The lowest lr as a share of the highest.
        shape: `triangular2` halves the triangle's height after each cycle.

    Raises:
        ValueError: `half_cycle_epochs` is not below the run's epochs.
    """
    half = max(1, budget.part("half_cycle_epochs", half_cycle_epochs))
    peaks = [group["lr"] for group in optimizer.param_groups]
    scheduler = CyclicLR(
        optimizer,
        base_lr=[base_fraction * peak for peak in peaks],
        max_lr=peaks,
        step_size_up=half,
        mode=shape,
        cycle_momentum=False,
    )
    return _config(scheduler, "step")


def one_cycle(
    optimizer: Optimizer,
    budget: Budget,
    *,
    peak_fraction: Annotated[float, Gt(0), Lt(1)] = 0.3,
    start_divider: Annotated[float, Ge(1)] = 25.0,
    final_divider: Annotated[float, Ge(1)] = 1e4,
    shape: Literal["cosine", "linear"] = "cosine",
    cycle_momentum: bool = False,
    base_momentum: Annotated[float, Ge(0), Lt(1)] = 0.85,
    max_momentum: Annotated[float, Ge(0), Lt(1)] = 0.95,
    per: Literal["step", "epoch"] = "step",
) -> LRSchedulerConfigType:
    """One rise to the lr and one longer fall: super-convergence (Smith & Topin, 2018, section 3).

    Args:
        peak_fraction: The share of the run after which the lr peaks.
        start_divider: The first lr is the peak over this.
        final_divider: The last lr is the first over this.
        shape: How the lr moves between those.
        cycle_momentum: Move momentum (Adam: beta1) against the lr.
        base_momentum: Momentum at the peak of the lr, where `cycle_momentum`.
        max_momentum: Momentum at its start and end, where `cycle_momentum`.
        per: Change the lr every step or every epoch.

    Raises:
        ValueError: another momentum than the defaults without `cycle_momentum`, which alone reads it.
    """
    if not cycle_momentum and (base_momentum, max_momentum) != (0.85, 0.95):
        raise ValueError(
            f"base_momentum={base_momentum} max_momentum={max_momentum}: nothing reads them without "
            "cycle_momentum=true; leave them out"
        )
    ticks = budget.ticks(per)
    # torch counts the last tick's lr as the end and divides by zero where the peak falls on the first tick; with the
    # end one tick later, and the peak placed accordingly, a run of any length works.
    scheduler = OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=ticks + 1,
        pct_start=(peak_fraction * ticks + 1) / (ticks + 1),
        anneal_strategy="cos" if shape == "cosine" else "linear",
        cycle_momentum=cycle_momentum,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
        div_factor=start_divider,
        final_div_factor=final_divider,
    )
    return _config(scheduler, per)
