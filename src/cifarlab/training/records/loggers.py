"""Where curves go besides ``history.csv``: TensorBoard, CSV, Weights & Biases, MLflow."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from cifarlab.result import Result, Status
from cifarlab.training.records.tensorboard import add_row, curves_only, lay_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Loggers:
    """The loggers of a run; several may be on (``logger=[tensorboard,csv]``).

    Args:
        tensorboard: event files in the run's ``tensorboard/``.
        csv: Lightning's CSV log in the run's ``csv/``.
        wandb: Weights & Biases, offline unless WANDB_MODE says otherwise; needs the extra ``wandb``.
        mlflow: MLflow in ``mlruns/`` unless MLFLOW_TRACKING_URI says otherwise; needs the extra ``mlflow``.
    """

    tensorboard: bool = False
    csv: bool = False
    wandb: bool = False
    mlflow: bool = False

    def __post_init__(self) -> None:
        for name in ("wandb", "mlflow"):
            if getattr(self, name) and importlib.util.find_spec(name) is None:
                raise ValueError(f"logger={name}: not installed; install it with: pip install -e '.[{name}]'")

    def make(self, directory: Path) -> list[RunLogger]:
        """The loggers of a run, writing below its directory. One that cannot be made is said and left out."""
        makers: dict[str, Callable[[], Logger]] = {
            # Without default_hp_metric=False the HPARAMS tab shows one column of -1.
            "tensorboard": partial(TensorBoardLogger, directory, "", "tensorboard", default_hp_metric=False),
            "csv": partial(CSVLogger, directory, "", "csv"),
            "wandb": partial(WandbLogger, directory.name, project="cifarlab", save_dir=directory),
            "mlflow": partial(MLFlowLogger, "cifarlab", directory.name),
        }
        made: list[RunLogger] = []
        for name, make in makers.items():
            if getattr(self, name):
                with going_on_without(f"logger={name}"):
                    logger = make()
                    if isinstance(logger, TensorBoardLogger):
                        lay_out(logger)
                    made.append(RunLogger(logger))
        return made


class RunLogger(Logger):
    """One of Lightning's loggers, whose faults cost no run: the first is said, and from then on it is left alone.

    Args:
        logger: writes the run's curves.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self.logger = logger
        self.is_broken = False

    @property
    def name(self) -> str | None:
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        return self.logger.version

    @property
    def save_dir(self) -> str | None:
        return self.logger.save_dir

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if isinstance(self.logger, TensorBoardLogger):
            metrics = curves_only(metrics)
        if metrics:
            self._try(self.logger.log_metrics, metrics, step)

    def log_hyperparams(self, params: Any, *given: Any, **named: Any) -> None:
        self._try(self.logger.log_hyperparams, params, *given, **named)

    def save(self) -> None:
        self._try(self.logger.save)

    def log_run(self, record: Result, name: str) -> None:
        """Put a run that has ended into the logger's table under its name."""
        logger = self.logger
        if isinstance(logger, TensorBoardLogger):
            # One that was interrupted goes on later, and a run has one row.
            if record.status != Status.INTERRUPTED:
                self._try(add_row, logger, record, name)
            return
        self.log_hyperparams({knob: "none" if value is None else value for knob, value in record.knobs.items()})

    def log_figure(self, name: str, figure: Figure, step: int) -> None:
        """Show a figure beside the curves, where the logger can."""
        logger = self.logger
        if isinstance(logger, TensorBoardLogger):
            self._try(lambda: logger.experiment.add_figure(name, figure, step))

    def finalize(self, status: str) -> None:
        """End a part of the run, as Lightning does after training and after testing."""
        self._try(self.logger.finalize, status)

    def close(self, status: str) -> None:
        """End the logger's own record of the run, ``status`` as Lightning has it: ``success`` or ``failed``."""
        self.finalize(status)
        logger = self.logger
        if isinstance(logger, WandbLogger):
            # Lightning leaves the run open for what may follow; the next cell of a sweep would log into it.
            self._try(lambda: logger.experiment.finish())

    def _try(self, write: Callable[..., object], *given: Any, **named: Any) -> None:
        if self.is_broken:
            return
        self.is_broken = True
        with going_on_without(type(self.logger).__name__):
            write(*given, **named)
            self.is_broken = False


@contextmanager
def going_on_without(what: str) -> Iterator[None]:
    """A fault inside is one line of warning: what is written there costs no run."""
    try:
        yield
    except Exception as error:
        reason = (str(error) or "no reason given").splitlines()[0]
        log.warning("%s failed and the run goes on without it: %s: %s", what, type(error).__name__, reason)
