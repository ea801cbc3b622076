"""Fine-tuning in two phases: the head of a trained net alone, then the whole net at a small learning rate."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import nn
from torch.optim import Optimizer

from cifarlab.training.recipe import Finetune
from cifarlab.training.schedules import Budget
from cifarlab.training.step.classifier import MakeOptimizer, MakeSchedule, classifier_of


class TwoPhases(Callback):
    """Trains `pl_module.net` as a `Finetune` says, and makes the optimizer and the schedule of each phase.

    In the first phase nothing but the head asks for a gradient: the optimizer has no state for the rest, and autograd
    keeps no activations of it. Batch norms outside of the head normalise with the statistics they have and leave them
    as they are; dropout goes on. The second phase gives everything back and starts with a new optimizer. The phase is
    part of the callback's state, which Lightning restores before it asks for an optimizer: a resumed run goes on in
    either to the digit.

    Args:
        finetune: the lengths and what the second phase does.
        epochs: of the whole run.

    Attributes:
        phase: 1 or 2.
    """

    def __init__(self, finetune: Finetune, epochs: int) -> None:
        self.lengths = finetune.lengths(epochs)
        self.lr = finetune.lr
        self.keep_statistics = finetune.keep_statistics
        self.phase = 1
        self._held: list[nn.Parameter] = []

    def optimizer(self, make: MakeOptimizer) -> MakeOptimizer:
        """The run's optimizer as this phase has it."""

        def make_for_phase(net: nn.Module) -> Optimizer:
            if self.phase == 1:
                self._hold(net)
                return make(net)
            self._release()
            optimizer = make(net)
            own = optimizer.param_groups[0]["lr"]
            for group in optimizer.param_groups:
                group["lr"] = self.lr * (group["lr"] / own)
            return optimizer

        return make_for_phase

    def schedule(self, make: MakeSchedule) -> MakeSchedule:
        """The run's schedule over the length of this phase."""

        def make_for_phase(optimizer: Optimizer, budget: Budget) -> dict[str, Any]:
            length = self.lengths[self.phase - 1]
            try:
                return make(optimizer, Budget(length, budget.steps_per_epoch))
            except ValueError as error:
                raise ValueError(f"{error} (the epochs are those of phase {self.phase} of finetune)") from None

        return make_for_phase

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        refuse_many_devices(trainer.world_size)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        net = classifier_of(pl_module).net
        if self.phase == 1 and trainer.current_epoch >= self.lengths[0]:
            self.phase = 2
            trainer.strategy.setup_optimizers(trainer)
        # Lightning's validation gives every module back the mode that it found, so an epoch's start is early enough.
        for norm in norms_outside(head_of(net), net):
            norm.train(self.phase == 2 and not self.keep_statistics)

    def state_dict(self) -> dict[str, Any]:
        return {"phase": self.phase}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.phase = state_dict["phase"]

    def _hold(self, net: nn.Module) -> None:
        head = {id(parameter) for part in head_of(net) for parameter in part.parameters()}
        self._held = [each for each in net.parameters() if each.requires_grad and id(each) not in head]
        for parameter in self._held:
            parameter.requires_grad_(False)

    def _release(self) -> None:
        for parameter in self._held:
            parameter.requires_grad_(True)
        self._held = []


class StopInTheSecondPhase(EarlyStopping):
    """Early stopping that looks away until the whole net learns: a head that has converged is no reason to end the run.

    Args:
        patience: epochs without a better validation loss.
        first_epoch: of the second phase, counted from 0.
    """

    def __init__(self, patience: int, first_epoch: int) -> None:
        super().__init__("val/loss", patience=patience, check_on_train_epoch_end=True)
        self.first_epoch = first_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch >= self.first_epoch:
            super().on_train_epoch_end(trainer, pl_module)


def check(
    finetune: Finetune, net: nn.Module, optimizer: MakeOptimizer, schedule: MakeSchedule, *, epochs: int, devices: int
) -> None:
    """Make what both phases need, for a look before a run starts; the net may lie on the meta device.

    Raises:
        ValueError: the run cannot have two phases.
    """
    refuse_many_devices(devices)
    phases = TwoPhases(finetune, epochs)
    for number, length in enumerate(phases.lengths, start=1):
        if length == 0:
            continue
        phases.phase = number
        made = phases.optimizer(optimizer)(net)
        phases.schedule(schedule)(made, Budget(epochs, steps_per_epoch=1000))


def head_of(net: nn.Module) -> tuple[nn.Module, ...]:
    """The parts of a net that start anew on a trained backbone: what its method ``get_classifier()`` returns.

    That is timm's name for it; all nets of timm have it, and ours where there is a backbone to be had.

    Raises:
        ValueError: the net has none, or it holds nothing to learn.
    """
    find = getattr(net, "get_classifier", None)
    found = find() if callable(find) else ()
    head = tuple(found) if isinstance(found, (tuple, list)) else (found,)
    if not any(parameter.requires_grad for part in head for parameter in part.parameters()):
        raise ValueError(
            f"finetune: {type(net).__name__} does not say what its head is (a method get_classifier); "
            "model=transfer and model=timm do"
        )
    return head


def norms_outside(head: tuple[nn.Module, ...], net: nn.Module) -> list[nn.Module]:
    """The modules outside of the head that keep running statistics of what passes through them."""
    inside = {id(module) for part in head for module in part.modules()}
    return [each for each in net.modules() if hasattr(each, "running_mean") and id(each) not in inside]


def refuse_many_devices(count: int) -> None:
    """Refuse to spread a run in two phases.

    Raises:
        ValueError: there is more than one device. Distributed training settles at the start which gradients it gathers.
    """
    if count > 1:
        raise ValueError(f"finetune: takes one device, {count} were given: set trainer.devices=1 trainer.num_nodes=1")
