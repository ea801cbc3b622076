"""One run: built objects in, a Result out, everything worth keeping in the run directory."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from logging import getLogger
from pathlib import Path
from typing import Literal

import lightning
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.heartbeat import Heartbeat
from cifarlab.models.weights import without_weights
from cifarlab.result import FILE, Identity, Result, Status, write_bytes, write_text
from cifarlab.training.divergence import Diverged, StopWhenDiverged, is_overflow
from cifarlab.training.finetune import StopInTheSecondPhase, TwoPhases
from cifarlab.training.hardware.cost import cost
from cifarlab.training.hardware.device import (
    device_name,
    peak_memory_bytes,
    quiet_allocator,
    reset_peak_memory,
    share_threads,
)
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.penalties import NoPenalty, Penalty
from cifarlab.training.recipe import Parent, Recipe
from cifarlab.training.records.bar import Bar
from cifarlab.training.records.checkpoints import check_checkpoints, discard, remove_half_written, start_over
from cifarlab.training.records.clock import Clock
from cifarlab.training.records.environment import write_environment
from cifarlab.training.records.faults import UnusableCheckpoint
from cifarlab.training.records.inheritance import Entrance, inherit
from cifarlab.training.records.interruption import Interrupted, raising_on_signals
from cifarlab.training.records.loggers import Loggers, RunLogger, going_on_without
from cifarlab.training.records.recorder import Recorder
from cifarlab.training.records.telling import opening
from cifarlab.training.records.watching import Pruned, Watch
from cifarlab.training.step.classifier import Classifier, MakeOptimizer, MakeSchedule
from cifarlab.training.step.ema import WeightEMA
from cifarlab.training.step.evaluation import Evaluation, evaluate

log = getLogger(__name__)

MakeNet = Callable[[int], nn.Module]
Keep = Literal["all", "best", "none"]


def run(
    directory: Path,
    *,
    identity: Identity,
    seeds: Seeds,
    recipe: Recipe,
    net: MakeNet,
    data: ImageData,
    optimizer: MakeOptimizer,
    schedule: MakeSchedule,
    penalty: Penalty | None = None,
    trainer: TrainerSettings | None = None,
    loggers: Loggers | None = None,
    checkpoints: Keep = "all",
    figures: Sequence[str] = ("curves", "confusion"),
    aloud: bool = True,
    watch: Watch | None = None,
    parent: Parent | None = None,
) -> Result:
    """Train, choose the weights on validation, test once, and write the run directory.

    A directory that holds ``checkpoints/last.ckpt`` is gone on with, to the same digits on the CPU as if it had not
    been stopped. The result says how the run ended; no exception of a run that has begun leaves this function. The
    record is written first; what comes after it (loggers, figures, removing checkpoints) can only warn.

    Args:
        directory: the run directory; made if need be.
        identity: who the run is, for its record.
        seeds: of the first weights, the order of the pictures and their augmentation.
        recipe: how long and how it trains.
        net: number of classes -> net; called after seeding.
        data: not yet set up.
        optimizer: net -> optimizer.
        schedule: optimizer and budget -> Lightning's scheduler config.
        penalty: a scalar of the net added to the loss.
        trainer: precision, devices and the like.
        loggers: where curves go besides ``history.csv``.
        checkpoints: what a finished run keeps.
        figures: of ``curves`` and ``confusion``.
        aloud: say on the terminal what is trained where, and each epoch in a line.
        parent: a finished run that this one goes on from where it has not begun: with its weights, momenta and
            epochs, and with the schedule of this run's own length from there on.
        watch: told of every epoch and its metrics; the run ends as ``pruned``, untested, where it says so.

    Raises:
        UnusableCheckpoint: the directory's checkpoints, or the parent's, cannot be gone on with; nothing was trained.
    """
    if parent is not None:
        inherit(parent, directory, identity.key)
    goes_on = check_checkpoints(directory, identity.key)
    quiet_allocator()
    directory.mkdir(parents=True, exist_ok=True)
    sitting = _Sitting(directory, identity.key, recipe, trainer or TrainerSettings(), watch, goes_on)
    record = Result.begun(identity, precision=sitting.settings.resolved_precision, started=sitting.started)
    if parent is not None:
        record.parent = {"key": parent.key, "directory": str(parent.directory)}
    evaluation: Evaluation | None = None
    with raising_on_signals() as ignore_signals:
        try:
            sitting.begin(loggers or Loggers(), record, aloud=aloud)
            classifier = _prepare(sitting, seeds, net, data, optimizer, schedule, penalty, record)
            _fit(sitting, classifier, data, record)
            evaluation = _evaluate(sitting, classifier, data)
            record.metrics = sitting.recorder.history.metrics(sitting.recorder.best.epoch) | evaluation.metrics
            record.metrics |= classifier.net_report()
            record.selected = {"by": sitting.recorder.best.by, "epoch": sitting.recorder.best.epoch}
            record.status = Status.FINISHED
        except BaseException as error:  # SystemExit too: a job of a sweep must not take the others with it
            if isinstance(error, UnusableCheckpoint) and not sitting.recorder.at_work:
                sitting.heartbeat.end()  # nothing was trained, and what the directory says of the run stays
                raise
            record.status, record.error = _ending(error)
        ignore_signals()
        _fill_in(record, sitting)
        if sitting.is_first_process:
            _put_away(record, sitting, evaluation, figures, checkpoints)
    return record


def _ending(error: BaseException) -> tuple[Status, str]:
    """How a run that is left by this error has ended, and what its record says of it."""
    match error:
        case Interrupted():
            return Status.INTERRUPTED, f"stopped by {error}"
        case Pruned():
            return Status.PRUNED, str(error)
        case Diverged():
            return Status.DIVERGED, str(error)
        case UnusableCheckpoint():
            return Status.FAILED, str(error)
        case OSError():  # a full disk, a folder without permission: what was in the way says enough
            return Status.FAILED, f"{type(error).__name__}: {error}"
    if is_overflow(error):
        return Status.DIVERGED, f"a step became too large for its type: {error}"
    return Status.FAILED, str(error) if _is_ours(error) else "".join(traceback.format_exception(error))


@dataclass
class _Sitting:
    """What one sitting at a run holds on to: its clocks and records, and once it has begun Trainer and loggers."""

    directory: Path
    key: str
    recipe: Recipe
    settings: TrainerSettings
    watch: Watch | None
    goes_on: bool
    seconds_data: float = 0.0
    loggers: list[RunLogger] = field(default_factory=list)
    trainer: Trainer | None = None
    aloud: bool = False

    def __post_init__(self) -> None:
        self.started = _timestamp()
        self.clock = Clock()
        recipe = self.recipe
        self.phases = TwoPhases(recipe.finetune, recipe.epochs) if recipe.finetune is not None else None
        self.average = WeightEMA(decay=recipe.ema) if recipe.ema is not None else None
        self.heartbeat = Heartbeat(self.directory, recipe.epochs)
        self.recorder = Recorder(
            self.directory,
            self.key,
            self.clock,
            self.heartbeat,
            phases=self.phases,
            average=self.average,
            watch=self.watch,
        )

    def begin(self, loggers: Loggers, record: Result, *, aloud: bool) -> None:
        """Make the Trainer and the loggers, and write down where the run takes place."""
        self.recorder.aloud = self.aloud = aloud
        share_threads(self.settings.devices)
        self.loggers = loggers.make(self.directory)
        callbacks = [
            self.phases,
            StopWhenDiverged(),
            self.clock,
            self.average,
            self._early_stopping(),
            Entrance(),
            self.recorder,
        ]
        self.trainer = self.settings.make(
            self.recipe.epochs,
            self.directory,
            [callback for callback in callbacks if callback is not None],
            self.loggers,
            bar=Bar(self.recorder.history),
        )
        record.device = device_name(self.device)
        reset_peak_memory(self.device)
        if self.is_first_process:
            remove_half_written(self.directory)
            sittings = write_environment(
                self.directory,
                self.device,
                processes=self.trainer.world_size,
                started=self.started,
                goes_on=self.goes_on,
            )
            record.sittings, record.started = sittings.count, sittings.started
            self.heartbeat.beat(0)

    @property
    def device(self) -> torch.device:
        return self.begun.strategy.root_device

    @property
    def begun(self) -> Trainer:
        """The Trainer of a sitting that has begun."""
        assert self.trainer is not None
        return self.trainer

    @property
    def is_first_process(self) -> bool:
        """Whether this process writes; the others of a run on several devices only take part."""
        return self.trainer.is_global_zero if self.trainer is not None else getattr(rank_zero_only, "rank", 0) == 0

    def _early_stopping(self) -> Callback | None:
        patience = self.recipe.early_stopping
        if patience is None:
            return None
        if self.phases is not None:
            return StopInTheSecondPhase(patience, self.phases.lengths[0])
        return EarlyStopping("val/loss", patience=patience)


def _prepare(
    sitting: _Sitting,
    seeds: Seeds,
    make_net: MakeNet,
    data: ImageData,
    optimizer: MakeOptimizer,
    schedule: MakeSchedule,
    penalty: Penalty | None,
    record: Result,
) -> Classifier:
    """Seed, load the data, build the net."""
    before = time.perf_counter()
    data.trainer = sitting.begun
    data.prepare_data()
    data.setup("fit")
    sitting.seconds_data = time.perf_counter() - before
    if sitting.recipe.early_stopping is not None and not data.sizes["val"]:
        raise ValueError("early_stopping needs a validation split; set data.val_fraction above 0")
    counted = cost(make_net, data.num_classes, data.image_size)
    record.parameters, record.flops = counted.parameters, counted.flops
    if sitting.aloud and sitting.is_first_process:
        print(
            opening(
                sitting.directory,
                knobs=record.knobs,
                parameters=counted.parameters,
                sizes=data.sizes,
                device=str(record.device),
                precision=sitting.settings.resolved_precision,
            )
        )
    lightning.seed_everything(seeds.init % 2**32, verbose=False)
    with without_weights() if sitting.goes_on else nullcontext():
        net = make_net(data.num_classes)
    if sitting.settings.channels_last:
        net = net.to(memory_format=torch.channels_last)
    fit_to_images = getattr(net, "fit_to_images", None)
    if fit_to_images is not None and not sitting.goes_on:
        fit_to_images(first_pictures(data))
    phases = sitting.phases
    return Classifier(
        net,
        optimizer=phases.optimizer(optimizer) if phases else optimizer,
        schedule=phases.schedule(schedule) if phases else schedule,
        penalty=penalty or NoPenalty(),
        average=sitting.average,
        label_smoothing=sitting.recipe.label_smoothing,
        gradient_clip_norm=sitting.settings.gradient_clip_norm,
        accumulate_batches=sitting.settings.accumulate_batches,
        compile=sitting.settings.compile,
        record=sitting.settings.record,
        top5=data.num_classes >= 100,
        tta=sitting.recipe.tta,
    )


def first_pictures(data: ImageData, count: int = 5000) -> Tensor:
    """float32 ``(count, 3, H, W)``, normalised, on the CPU: what a net may look at before its first step."""
    found: list[Tensor] = []
    for images, _ in data.batches("train"):
        found.append(images.cpu())
        if sum(map(len, found)) >= count:
            break
    return torch.cat(found)[:count]


def _fit(sitting: _Sitting, classifier: Classifier, data: ImageData, record: Result) -> None:
    resume_from = sitting.recorder.last.path if sitting.goes_on else None
    try:
        sitting.begun.fit(classifier, datamodule=data, ckpt_path=resume_from, weights_only=True)
    except Exception as error:
        of_its_own = isinstance(error, (OSError, UnusableCheckpoint, Diverged, Interrupted))
        if resume_from is None or sitting.recorder.at_work or of_its_own:
            raise
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnusableCheckpoint(
            f"{resume_from} is not of this run ({why[:200]}): {start_over(resume_from)}"
        ) from error
    finally:
        record.step, record.not_recorded = classifier.step_kind, classifier.not_recorded
        record.compiled = classifier.compile_net


def _evaluate(sitting: _Sitting, classifier: Classifier, data: ImageData) -> Evaluation:
    sitting.recorder.best.load(classifier.net)
    return evaluate(classifier, data, sitting.begun)


def _fill_in(record: Result, sitting: _Sitting) -> None:
    """What is known however the run ended."""
    history, best, clock = sitting.recorder.history, sitting.recorder.best, sitting.clock
    record.epochs = len(history.rows)
    if record.status not in (Status.FINISHED, Status.DIVERGED) and best.epoch >= 0:
        record.metrics = history.metrics(best.epoch)
    record.seconds = {"data": sitting.seconds_data, **clock.seconds, "total": clock.total}
    record.images_per_second = clock.images_per_second
    record.peak_memory_bytes = peak_memory_bytes(sitting.device) if sitting.trainer is not None else None
    record.finished = _timestamp()


def _put_away(
    record: Result, sitting: _Sitting, evaluation: Evaluation | None, figures: Sequence[str], keep: Keep
) -> None:
    """Write the record, then what is made of it; checkpoints go only when nothing else needs them."""
    try:
        record.write(sitting.directory)
    except OSError as error:
        record.status, record.error = Status.FAILED, f"{FILE} could not be written: {error}"
        log.warning(record.error)
        return
    sitting.heartbeat.end()
    for logger in sitting.loggers:
        logger.log_run(record, sitting.directory.resolve().name)
    if evaluation is not None:
        with going_on_without("report.txt"):
            write_text(sitting.directory / "report.txt", evaluation.report())
        for name in figures:
            with going_on_without(f"figures={name}"):
                _draw(name, sitting, evaluation, record)
    for logger in sitting.loggers:
        logger.close("success" if record.status in (Status.FINISHED, Status.PRUNED) else "failed")
    if record.status == Status.FINISHED:
        with going_on_without(f"checkpoints={keep}"):
            discard(sitting.directory, keep)


def _draw(name: str, sitting: _Sitting, evaluation: Evaluation, record: Result) -> None:
    from cifarlab.figures.captions import caption, in_words  # matplotlib need not be there before the first step
    from cifarlab.figures.confusion import confusion
    from cifarlab.figures.curves import curves
    from cifarlab.figures.formats import rendered

    draw = {
        "curves": lambda: curves(sitting.recorder.history.columns()),
        "confusion": lambda: confusion(evaluation.confusion, evaluation.classes),
    }
    data = str(record.knobs.get("data", ""))
    tested = name == "confusion"
    selected = record.selected if tested else None
    figure = draw[name]()
    caption(figure, in_words(sitting.directory, data=data, split="test" if tested else "", selected=selected))
    folder = sitting.directory / "figures"
    folder.mkdir(exist_ok=True)
    write_bytes(folder / f"{name}.png", rendered(figure))
    for logger in sitting.loggers:
        logger.log_figure(name, figure, sitting.begun.global_step)


def _is_ours(error: BaseException) -> bool:
    """Whether this package raised a `ValueError`, which says what is wrong; of others the traceback says where."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, ValueError) and str(frame.f_globals.get("__name__")).startswith("cifarlab.")


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
