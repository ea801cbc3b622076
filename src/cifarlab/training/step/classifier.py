"""The LightningModule: one training step, readable from here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from cifarlab.training.penalties import Penalty
from cifarlab.training.schedules import Budget
from cifarlab.training.step.arithmetic import cross_entropy, metric_sums
from cifarlab.training.step.metrics import EpochMeans
from cifarlab.training.step.tta import Views, mean_logits

Batch = tuple[Tensor, Tensor]
MakeOptimizer = Callable[[nn.Module], Optimizer]
MakeSchedule = Callable[[Optimizer, Budget], dict[str, Any]]


class Classifier(LightningModule):
    """A net, its loss and how both are improved.

    Args:
        net: images float ``(B, 3, H, W)`` -> logits ``(B, num_classes)``.
        optimizer: makes the optimizer from the net.
        schedule: makes Lightning's scheduler config from the optimizer and the budget of steps.
        penalty: a scalar of the net that is added to the loss.
        label_smoothing: in [0, 1).
        top5: report top-5 accuracy too, as is usual from 100 classes on.
        tta: test-time augmentation, measured beside the plain test.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        optimizer: MakeOptimizer,
        schedule: MakeSchedule,
        penalty: Penalty,
        label_smoothing: float = 0.0,
        top5: bool = False,
        tta: Views = "none",
    ) -> None:
        super().__init__()
        self.net = net
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.penalty = penalty
        self.label_smoothing = label_smoothing
        self.train_means = EpochMeans(top5=top5)
        self.val_means = EpochMeans(top5=top5)
        self.test_means = EpochMeans(top5=top5)
        self.tta_means = EpochMeans(top5=False)
        self.tta = tta
        self.measured: dict[str, float] = {}
        self.test_logits: list[Tensor] = []
        self.test_labels: list[Tensor] = []

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        images, labels = batch
        logits = self.net(images)
        loss = cross_entropy(logits, labels, self.label_smoothing)
        self.train_means.update(metric_sums(logits, labels, loss))
        return loss + self.penalty(self.net)

    def on_train_epoch_end(self) -> None:
        self._log_means("train", self.train_means)
        report = self.penalty.report(self.net)
        self.measured.update(report)
        self.log_dict(report)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        images, labels = batch
        logits = self.net(images)
        self.val_means.update(metric_sums(logits, labels, cross_entropy(logits, labels)))

    def on_validation_epoch_end(self) -> None:
        self._log_means("val", self.val_means)

    def on_test_epoch_start(self) -> None:
        self.test_logits, self.test_labels = [], []

    def test_step(self, batch: Batch, batch_index: int) -> None:
        images, labels = batch
        logits = self.net(images)
        self.test_means.update(metric_sums(logits, labels, cross_entropy(logits, labels)))
        self.test_logits.append(logits.float())
        self.test_labels.append(labels)
        if self.tta != "none":
            averaged = mean_logits(self.net, images, logits, self.tta)
            self.tta_means.update(metric_sums(averaged, labels, cross_entropy(averaged, labels)))

    def on_test_epoch_end(self) -> None:
        self._log_means("test", self.test_means)
        if self.tta != "none":
            self.measured["test/acc_tta"] = self.tta_means.compute()["acc"]
            self.tta_means.reset()

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.net)
        total_steps = int(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs or 1
        budget = Budget(epochs=epochs, steps_per_epoch=max(1, total_steps // epochs))
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer, budget)}

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Lightning's step, then a proximal penalty moves the weights with the learning rates of that step."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.penalty.after_step(self.net, optimizer)

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


def classifier_of(module: LightningModule) -> Classifier:
    """The module that Lightning hands to a callback, by its own type."""
    assert isinstance(module, Classifier)
    return module
