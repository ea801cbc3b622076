"""What is written down when an epoch ends."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from cifarlab.heartbeat import Heartbeat
from cifarlab.training.divergence import refuse_broken_metrics, refuse_broken_weights
from cifarlab.training.finetune import TwoPhases
from cifarlab.training.records.checkpoints import BestWeights, LastState, recorded
from cifarlab.training.records.clock import Clock
from cifarlab.training.records.history import History, Row
from cifarlab.training.records.telling import epoch_line
from cifarlab.training.records.watching import Pruned, Watch
from cifarlab.training.step.classifier import classifier_of
from cifarlab.training.step.ema import WeightEMA


class Recorder(Checkpoint):
    """Ends an epoch: history, best weights, all that resuming needs, and then whoever watches is told.

    An epoch with NaN or infinity in its weights or metrics is none: the run ends before anything of it is written.

    It is the run's one `Checkpoint`, because Lightning calls these last: the module has measured the epoch by then, and
    every other callback has learnt from it what ``last.ckpt`` is to hold.

    Attributes:
        aloud: each epoch is said in a line.
        at_work: training has begun, in this sitting.

    Args:
        directory: the run directory.
        key: of the run; both checkpoints carry it.
        clock: of the run.
        heartbeat: of the run; the first process beats.
        phases: of a run that has two; each row of the history then says in which it was.
        average: the run's moving average, if it has one; its weights, which validation has seen, are the best.
        watch: told of every epoch in the first process; the run ends where it says so, but not after the last epoch.
    """

    def __init__(
        self,
        directory: Path,
        key: str,
        clock: Clock,
        heartbeat: Heartbeat,
        *,
        phases: TwoPhases | None = None,
        average: WeightEMA | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.history = History(directory)
        self.best = BestWeights(directory, key)
        self.last = LastState(directory)
        self.key, self.clock, self.phases, self.average, self.watch = key, clock, phases, average, watch
        self.heartbeat, self.aloud, self.at_work = heartbeat, False, False
        self._first_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.at_work = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._first_step = trainer.global_step
        self.last.restore_generators(pl_module.device)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch, net, measured = trainer.current_epoch, classifier_of(pl_module).net, classifier_of(pl_module).measured
        between = f"between steps {self._first_step} and {trainer.global_step}"
        refuse_broken_weights(net, between)
        refuse_broken_metrics(measured, between)
        self.history.rows.append(self._row(trainer, measured))
        is_best = self.best.takes(epoch, measured)
        if trainer.is_global_zero:
            self.history.write()
            self.heartbeat.beat(epoch + 1)
            if self.aloud:
                print(epoch_line(self.history.rows[-1], trainer.max_epochs or epoch + 1))
            if is_best:
                with self.average.applied(net) if self.average else nullcontext():
                    self.best.save(net)
        self.last.save(trainer)
        if self.watch is not None:
            self._tell(self.watch, trainer, measured)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["key"] = self.key
        checkpoint["record"] = {
            "history": self.history.state(),
            "best": self.best.state(),
            "generators": self.last.state(),
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        record = recorded(checkpoint, self.last.path)
        self.history.restore(record["history"])
        self.best.restore(record["best"], last_epoch=checkpoint["epoch"])
        self.last.restore(record["generators"])

    def _row(self, trainer: Trainer, measured: dict[str, float]) -> Row:
        row: Row = {"epoch": trainer.current_epoch, **measured, "lr": trainer.optimizers[0].param_groups[0]["lr"]}
        if self.phases is not None:
            row["phase"] = self.phases.phase
        row["seconds"] = round(self.clock.seconds["train"] + self.clock.seconds["compile"], 3)
        return row

    def _tell(self, watch: Watch, trainer: Trainer, measured: dict[str, float]) -> None:
        told_to_stop = trainer.is_global_zero and watch(trainer.current_epoch, measured)
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        # All devices stop together, or those that go on wait for the others for ever.
        if trainer.strategy.broadcast(told_to_stop) and not is_last:
            raise Pruned(f"stopped after epoch {trainer.current_epoch} by the validation curve")
