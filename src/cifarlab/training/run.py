"""One run: built objects in, a Result out, everything worth keeping in the run directory."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import lightning
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor, nn

from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.figures.confusion import confusion
from cifarlab.figures.curves import curves
from cifarlab.models.weights import without_weights
from cifarlab.result import Identity, Result, Status, write_text
from cifarlab.training.finetune import Finetune, StopInTheSecondPhase, TwoPhases
from cifarlab.training.hardware.cost import cost
from cifarlab.training.hardware.device import device_name, peak_memory_bytes, quiet_allocator, reset_peak_memory
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.penalties import NoPenalty, Penalty
from cifarlab.training.records.checkpoints import BestWeights, LastState, discard, load_weights
from cifarlab.training.records.environment import write_environment
from cifarlab.training.records.history import Clock, Diverged, History, StopWhenDiverged, read_metrics
from cifarlab.training.records.interruption import Interrupted, raising_on_signals
from cifarlab.training.records.loggers import Loggers, close, log_hyperparameters
from cifarlab.training.records.watching import Pruned, Watch, Watching
from cifarlab.training.step.classifier import Classifier, MakeOptimizer, MakeSchedule
from cifarlab.training.step.ema import WeightEMA
from cifarlab.training.step.evaluation import Evaluation, evaluate
from cifarlab.training.step.tta import Views

MakeNet = Callable[[int], nn.Module]
Keep = Literal["all", "best", "none"]


def run(
    directory: Path,
    *,
    identity: Identity,
    seeds: Seeds,
    epochs: int,
    net: MakeNet,
    data: ImageData,
    optimizer: MakeOptimizer,
    schedule: MakeSchedule,
    penalty: Penalty | None = None,
    trainer: TrainerSettings | None = None,
    loggers: Loggers | None = None,
    label_smoothing: float = 0.0,
    ema: float | None = None,
    early_stopping: int | None = None,
    finetune: Finetune | None = None,
    tta: Views = "none",
    checkpoints: Keep = "all",
    figures: Sequence[str] = ("curves", "confusion"),
    one_of_many: bool = False,
    watch: Watch | None = None,
) -> Result:
    """Train, choose the weights on validation, test once, and write the run directory.

    A directory that holds ``checkpoints/last.ckpt`` is gone on with, to the same digits on the CPU as if it had not
    been stopped. The result says how the run ended; no exception of the run leaves this function.

    Args:
        directory: the run directory; made if need be.
        identity: who the run is, for its record.
        seeds: of the first weights, the order of the pictures and their augmentation.
        epochs: passes over the training split.
        net: number of classes -> net; called after seeding.
        data: not yet set up.
        optimizer: net -> optimizer.
        schedule: optimizer and budget -> Lightning's scheduler config.
        penalty: a scalar of the net added to the loss.
        trainer: precision, devices and the like.
        loggers: where curves go besides ``history.csv``.
        label_smoothing: in [0, 1).
        ema: decay of the moving average of the weights that is validated, kept and tested.
        early_stopping: epochs without a better validation loss after which training ends.
        finetune: train the head of a trained net alone, then all of it.
        tta: test-time augmentation, measured beside the plain test.
        checkpoints: what a finished run keeps.
        figures: of ``curves`` and ``confusion``.
        one_of_many: the run's progress bar vanishes with it.
        watch: told of every epoch and its metrics; the run ends as ``pruned``, untested, where it says so.
    """
    quiet_allocator()
    settings = trainer or TrainerSettings()
    directory.mkdir(parents=True, exist_ok=True)
    made_loggers = (loggers or Loggers()).make(directory)
    sitting = _Sitting(directory, settings, made_loggers, epochs, ema, early_stopping, finetune, watch, not one_of_many)
    record = sitting.blank(identity)
    status: Status = "failed"
    with raising_on_signals() as ignore_signals:
        try:
            classifier = _prepare(sitting, seeds, net, data, optimizer, schedule, penalty, label_smoothing, tta, record)
            try:
                _fit(sitting, classifier, data)
            finally:
                record.step, record.not_recorded = classifier.step_kind, classifier.not_recorded
            evaluation = _evaluate(sitting, classifier, data)
            record.metrics = _selected_metrics(sitting.history, sitting.best) | evaluation.metrics
            record.metrics |= classifier.penalty.report(classifier.net)
            record.selected = {"by": sitting.best.by, "epoch": sitting.best.epoch}
            if sitting.trainer.is_global_zero:
                _write_outcome(sitting, evaluation, figures)
            status = "finished"
        except Interrupted as reason:
            status, record.error = "interrupted", f"stopped by {reason}"
        except Diverged as error:
            status, record.error = "diverged", str(error)
        except Pruned as reason:
            status, record.error = "pruned", str(reason)
        except BaseException:  # SystemExit too: a job of a sweep must not take the others with it
            record.error = traceback.format_exc()
        ignore_signals()
        return _close(sitting, record, status, checkpoints)


@dataclass
class _Sitting:
    """What one sitting at a run holds on to: callbacks, Trainer, clocks."""

    directory: Path
    settings: TrainerSettings
    loggers: list[Logger]
    epochs: int
    ema: float | None
    early_stopping: int | None
    finetune: Finetune | None
    watch: Watch | None
    keep_bar: bool
    seconds_data: float = 0.0

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.phases = TwoPhases(self.finetune, self.epochs) if self.finetune is not None else None
        self.history = History(self.directory, self.clock, self.phases)
        average = WeightEMA(decay=self.ema) if self.ema is not None else None
        self.average = average
        self.best = BestWeights(self.directory, average)
        self.last = LastState(self.directory)
        first: list[Callback] = [self.phases] if self.phases is not None else []
        stop: list[Callback] = []
        if self.early_stopping is not None and self.phases is not None:
            stop = [StopInTheSecondPhase(self.early_stopping, self.phases.lengths[0])]
        elif self.early_stopping is not None:
            stop = [EarlyStopping("val/loss", patience=self.early_stopping)]
        # LastState saves what the callbacks before it have just learnt; a run that is stopped has then been saved.
        before = [*first, StopWhenDiverged(), self.clock, *([average] if average else []), *stop]
        watching = [Watching(self.watch)] if self.watch is not None else []
        callbacks = [*before, self.history, self.best, self.last, *watching]
        self.trainer: Trainer = self.settings.make(
            self.epochs, self.directory, callbacks, self.loggers, keep_bar=self.keep_bar
        )

    @property
    def device(self) -> torch.device:
        return self.trainer.strategy.root_device

    def blank(self, identity: Identity) -> Result:
        return Result.begun(
            identity,
            device=device_name(self.device),
            precision=self.settings.resolved_precision,
            started=_timestamp(),
        )


def _prepare(
    sitting: _Sitting,
    seeds: Seeds,
    make_net: MakeNet,
    data: ImageData,
    optimizer: MakeOptimizer,
    schedule: MakeSchedule,
    penalty: Penalty | None,
    label_smoothing: float,
    tta: Views,
    record: Result,
) -> Classifier:
    """Seed, load the data, build the net."""
    reset_peak_memory(sitting.device)
    if sitting.trainer.is_global_zero:
        write_environment(sitting.directory, sitting.device)
    before = time.perf_counter()
    data.trainer = sitting.trainer
    data.prepare_data()
    data.setup("fit")
    sitting.seconds_data = time.perf_counter() - before
    if sitting.early_stopping is not None and not data.sizes["val"]:
        raise ValueError("early_stopping needs a validation split; set data.val_fraction above 0")
    counted = cost(make_net, data.num_classes, data.image_size)
    record.parameters, record.flops = counted.parameters, counted.flops
    lightning.seed_everything(seeds.init % 2**32, verbose=False)
    is_resumed = sitting.last.path.exists()
    with without_weights() if is_resumed else nullcontext():
        net = make_net(data.num_classes)
    if sitting.settings.channels_last:
        net = net.to(memory_format=torch.channels_last)
    fit_to_images = getattr(net, "fit_to_images", None)
    if fit_to_images is not None and not is_resumed:
        fit_to_images(first_pictures(data))
    phases = sitting.phases
    return Classifier(
        net,
        optimizer=phases.optimizer(optimizer) if phases else optimizer,
        schedule=phases.schedule(schedule) if phases else schedule,
        penalty=penalty or NoPenalty(),
        average=sitting.average,
        label_smoothing=label_smoothing,
        gradient_clip_norm=sitting.settings.gradient_clip_norm,
        accumulate_batches=sitting.settings.accumulate_batches,
        compile=sitting.settings.compile,
        record=sitting.settings.record,
        top5=data.num_classes >= 100,
        tta=tta,
    )


def first_pictures(data: ImageData, count: int = 5000) -> Tensor:
    """float32 ``(count, 3, H, W)``, normalised, on the CPU: what a net may look at before its first step."""
    found: list[Tensor] = []
    for images, _ in data.batches("train"):
        found.append(images.cpu())
        if sum(map(len, found)) >= count:
            break
    return torch.cat(found)[:count]


def _fit(sitting: _Sitting, classifier: Classifier, data: ImageData) -> None:
    resume_from = sitting.last.path if sitting.last.path.exists() else None
    sitting.trainer.fit(classifier, datamodule=data, ckpt_path=resume_from, weights_only=True)


def _evaluate(sitting: _Sitting, classifier: Classifier, data: ImageData) -> Evaluation:
    load_weights(sitting.best.path, classifier.net)
    return evaluate(classifier, data, sitting.trainer)


def _write_outcome(sitting: _Sitting, evaluation: Evaluation, figures: Sequence[str]) -> None:
    write_text(sitting.directory / "report.txt", evaluation.report())
    drawn = {"curves": lambda: curves(sitting.history.columns())}
    drawn["confusion"] = lambda: confusion(evaluation.confusion, evaluation.classes)
    folder = sitting.directory / "figures"
    for name in figures:
        folder.mkdir(exist_ok=True)
        figure = drawn[name]()
        figure.savefig(folder / f"{name}.png", dpi=120)
        for logger in sitting.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(name, figure, sitting.trainer.global_step)


def _selected_metrics(history: History, best: BestWeights) -> dict[str, float]:
    """Train and validation metrics of the epoch whose weights were chosen."""
    row = next(row for row in history.rows if row["epoch"] == best.epoch)
    return {name: value for name, value in read_metrics(row).items() if "/" in name}


def _close(sitting: _Sitting, record: Result, status: Status, keep: Keep) -> Result:
    """Fill in what is known however the run ended, and write the result last."""
    record.status = status
    record.epochs = len(sitting.history.rows)
    if not record.metrics and sitting.best.epoch >= 0 and status != "diverged":
        record.metrics = _selected_metrics(sitting.history, sitting.best)
    clock = sitting.clock
    record.seconds = {"data": sitting.seconds_data, **clock.seconds, "total": clock.total}
    record.images_per_second = clock.images_per_second
    record.peak_memory_bytes = peak_memory_bytes(sitting.device)
    record.finished = _timestamp()
    if sitting.trainer.is_global_zero:
        log_hyperparameters(sitting.loggers, record.knobs, record.metrics)
        close(sitting.loggers, "success" if status in ("finished", "pruned") else "failed")
        if status == "finished":
            discard(sitting.directory, keep)
        record.write(sitting.directory)
    return record


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
