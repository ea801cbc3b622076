"""The LightningModule: one training step, readable from here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from cifarlab.data.batches import Place
from cifarlab.models.gates import count_gates
from cifarlab.training.penalties import Penalty
from cifarlab.training.recipe import Views
from cifarlab.training.schedules import Budget
from cifarlab.training.step import recording
from cifarlab.training.step.arithmetic import cross_entropy, metric_sums, side_loss
from cifarlab.training.step.compiling import COMPILING_PAYS_FROM, compiled
from cifarlab.training.step.ema import WeightEMA
from cifarlab.training.step.head import head_in_float32
from cifarlab.training.step.metrics import EpochMeans
from cifarlab.training.step.recording import Dials, RecordedStep, obstacle
from cifarlab.training.step.tta import mean_logits

MakeOptimizer = Callable[[nn.Module], Optimizer]
MakeSchedule = Callable[[Optimizer, Budget], dict[str, Any]]


class Classifier(LightningModule):
    """A net, its loss and how both are improved.

    Args:
        net: images float ``(B, 3, H, W)`` -> logits ``(B, num_classes)``.
        optimizer: makes the optimizer from the net.
        schedule: makes Lightning's scheduler config from the optimizer and the budget of steps.
        penalty: a scalar of the net that is added to the loss.
        average: moving average of the weights.
        label_smoothing: in [0, 1).
        gradient_clip_norm: gradients are scaled down to this L2 norm.
        accumulate_batches: batches whose gradients are summed before a step.
        compile: compile the net for training batches of full size; `auto` where that pays.
        record: record the step on a CUDA device and replay it; `auto` where that can be done.
        top5: report top-5 accuracy too, as is usual from 100 classes on.
        tta: test-time augmentation, measured beside the plain test.

    Attributes:
        schedule: Lightning's scheduler config of the run, and
        budget: the length that it was made for, once there is an optimizer.
        not_recorded: why the training step is not recorded; None where it is, or may yet be.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        optimizer: MakeOptimizer,
        schedule: MakeSchedule,
        penalty: Penalty,
        average: WeightEMA | None = None,
        label_smoothing: float = 0.0,
        gradient_clip_norm: float | None = None,
        accumulate_batches: int = 1,
        compile: Literal["auto"] | bool = False,
        record: Literal["auto"] | bool = "auto",
        top5: bool = False,
        tta: Views = "none",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # the whole step is one function of ours, which can be recorded
        self.net = net
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.penalty = penalty
        self.average = average
        self.label_smoothing = label_smoothing
        self.gradient_clip_norm = gradient_clip_norm
        self.accumulate_batches = accumulate_batches
        self.compile_net = compile is True
        self.compile_if_long = compile == "auto"
        self.record = record
        self.top5 = top5
        self.tta = tta
        self.train_means = EpochMeans(top5=top5)
        self.val_means = EpochMeans(top5=top5)
        self.test_means = EpochMeans(top5=top5)
        self.tta_means = EpochMeans(top5=False)
        self.measured: dict[str, float] = {}
        self.not_recorded: str | None = None
        self.test_logits: list[Tensor] = []
        self.test_labels: list[Tensor] = []
        self._was_recorded = False
        self._recorder: RecordedStep | None = None
        self._val_recorder: RecordedStep | None = None

    def step(self, place: Place, share: float | Tensor = 0.0, *, updates: bool = True) -> None:
        """One training step: operations on tensors that stay, without a question to the device.

        Args:
            place: of the batch.
            share: how far the moving average goes towards the weights.
            updates: whether the gradients summed so far move the weights.
        """
        images, labels = place.make()
        logits = self.logits(images, compile=self.compile_net and place.is_full)
        loss = cross_entropy(logits, labels, self.label_smoothing)
        objective = loss + self.penalty(self.net) + side_loss(self.net, labels, self.label_smoothing)
        self.manual_backward(objective / self.accumulate_batches if self.accumulate_batches > 1 else objective)
        self.train_means.update(metric_sums(logits, labels, loss, top5=self.top5))
        if updates:
            optimizer = self.trainer.optimizers[0]
            self.trainer.strategy.optimizer_step(optimizer, _no_closure)
            optimizer.zero_grad(set_to_none=self.accumulate_batches == 1)
            self.penalty.after_step(self.net, optimizer)
            if self.average is not None:
                self.average.update(self.net, share)

    def logits(self, images: Tensor, *, compile: bool = False) -> Tensor:
        """The net's answer in the run's precision, which nothing else of a step is in."""
        precision = self.trainer.precision_plugin
        with precision.forward_context():
            images = precision.convert_input(images)
            return compiled(self.net, images) if compile else self.net(images)

    def ranking_logits(self, images: Tensor) -> Tensor:
        """The same for what is measured: the output layer in float32, as the rest is in the run's precision."""
        with head_in_float32(self.net):
            return self.logits(images)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.gradient_clip_norm is not None:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            torch.nn.utils.clip_grad_norm_(weights, self.gradient_clip_norm)

    def training_step(self, place: Place, batch_index: int) -> None:
        """What surrounds a step on the host: counting, the schedule, and whether the step is recorded."""
        is_last = self.trainer.is_last_batch
        updates = is_last or (batch_index + 1) % self.accumulate_batches == 0
        share = [self.average.next_share()] if self.average is not None and updates else []
        (self._recorder or self._start_recorder(place))(place, share, updates=updates)
        if updates:
            steps = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
            steps.increment_ready()
            steps.increment_completed()
            self._step_schedules("step")
        if is_last:
            self._step_schedules("epoch")

    def on_train_epoch_end(self) -> None:
        self._log_means("train", self.train_means)
        report = self.net_report()
        self.measured.update(report)
        self.log_dict(report)
        self._step_schedules("plateau")
        self.log("lr", float(self.trainer.optimizers[0].param_groups[0]["lr"]))

    def validation_step(self, place: Place, batch_index: int) -> None:
        if self._val_recorder is None and self._recorder is not None:
            self._val_recorder = RecordedStep(self.validate, self.device, on_failure=self._give_up_recording)
        (self._val_recorder or self.validate)(place)

    def validate(self, place: Place) -> None:
        """One step of validation, likewise."""
        images, labels = place.make()
        logits = self.ranking_logits(images)
        self.val_means.update(metric_sums(logits, labels, cross_entropy(logits, labels), top5=self.top5))

    def on_validation_epoch_end(self) -> None:
        self._log_means("val", self.val_means)

    def on_test_epoch_start(self) -> None:
        self.test_logits, self.test_labels = [], []

    def test_step(self, place: Place, batch_index: int) -> None:
        images, labels = place.make()
        logits = self.ranking_logits(images)
        self.test_means.update(metric_sums(logits, labels, cross_entropy(logits, labels), top5=self.top5))
        self.test_logits.append(logits.float())
        self.test_labels.append(labels)
        if self.tta != "none":
            averaged = mean_logits(self.ranking_logits, images, logits, self.tta)
            self.tta_means.update(metric_sums(averaged, labels, cross_entropy(averaged, labels)))

    def on_test_epoch_end(self) -> None:
        self._log_means("test", self.test_means)
        if self.tta != "none":
            self.measured["test/acc_tta"] = self.tta_means.compute()["acc"]
            self.tta_means.reset()

    def configure_optimizers(self) -> Any:
        self.on_fit_end()  # a recording is bound to the optimizer of before
        optimizer = self.make_optimizer(self.net)
        batches = int(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs or 1
        budget = Budget(epochs, math.ceil(max(1, batches // epochs) / self.accumulate_batches))
        if self.compile_if_long:
            recorded = self.record is not False and self.device.type in recording.DEVICES
            self.compile_net = recorded and budget.total_steps >= COMPILING_PAYS_FROM
        self.budget, self.schedule = budget, self.make_schedule(optimizer, budget)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule["scheduler"]}}

    def on_fit_end(self) -> None:
        """Drop what was recorded, before the weights that it reads and writes are moved to another place."""
        if self._recorder is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._was_recorded = self._was_recorded or (self._recorder is not None and self._recorder.recorded)
        self._recorder = self._val_recorder = None

    def _step_schedules(self, when: Literal["step", "epoch", "plateau"]) -> None:
        """A schedule by step after each, one by epoch after its last, plateau's once the epoch is measured."""
        scheduler, monitor = self.schedule["scheduler"], self.schedule.get("monitor")
        if when != (self.schedule["interval"] if monitor is None else "plateau"):
            return
        if monitor is not None and monitor not in self.measured:
            found = ", ".join(name for name in self.measured if name.endswith("loss"))
            raise ValueError(f"schedule.monitor={monitor}: this run does not measure it; allowed: {found}")
        self.lr_scheduler_step(scheduler, None if monitor is None else self.measured[monitor])

    def _start_recorder(self, place: Place) -> Callable[..., None]:
        """A recorder where the step can be recorded, else the step itself."""
        if self.record is False or self.device.type not in recording.DEVICES:
            return self._plain_step
        optimizer = self.trainer.optimizers[0]
        why_not = obstacle(self.trainer, optimizer, place)
        if why_not is not None:
            self._give_up_recording(why_not)
            return self._plain_step
        self._recorder = RecordedStep(
            self.step, self.device, dials=Dials(optimizer, self.device), on_failure=self._give_up_recording
        )
        return self._recorder

    @property
    def step_kind(self) -> Literal["recorded", "eager"]:
        """How the training step runs, or ran."""
        was = self._was_recorded or (self._recorder is not None and self._recorder.recorded)
        return "recorded" if was and self.not_recorded is None else "eager"

    def _plain_step(self, place: Place, share: list[float], *, updates: bool) -> None:
        self.step(place, *share, updates=updates)

    def _give_up_recording(self, reason: str) -> None:
        """Say so once, or refuse where recording was demanded."""
        if self.record is True:
            raise ValueError(f"trainer.record=true: {reason}; allowed: auto, false")
        if self.not_recorded is None:
            print(f"the training step is not recorded: {reason}")
        self.not_recorded = reason

    def net_report(self) -> dict[str, float]:
        """What the penalty and the gates say of the net as it is; empty for a net with neither."""
        return self.penalty.report(self.net) | count_gates(self.net)

    def _log_means(self, split: str, means: EpochMeans) -> None:
        """One copy to the host an epoch; `measured` keeps the full digits that Lightning's float32 would lose."""
        values = {f"{split}/{name}": value for name, value in means.compute().items()}
        self.measured.update(values)
        self.log_dict(values)
        means.reset()

    def test_outputs(self) -> tuple[Tensor, Tensor]:
        """Logits float32 ``(N, C)`` and labels int64 ``(N,)`` of the last test, of all devices, on the CPU."""
        own = (torch.cat(self.test_logits).cpu(), torch.cat(self.test_labels).cpu())
        if self.trainer.world_size == 1:
            return own
        gathered: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(gathered, own)
        return torch.cat([logits for logits, _ in gathered]), torch.cat([labels for _, labels in gathered])


def _no_closure() -> None:
    """Gradients are there already when Lightning's plugins step the optimizer."""


def classifier_of(module: LightningModule) -> Classifier:
    """The module that Lightning hands to a callback, by its own type."""
    assert isinstance(module, Classifier)
    return module
