"""Where curves go besides ``history.csv``: TensorBoard, CSV, Weights & Biases, MLflow."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from cifarlab.result import Scalar


class Loggers:
    """The loggers of a run; several may be on (``logger=[tensorboard,csv]``).

    Args:
        tensorboard: event files in the run's ``tensorboard/``.
        csv: Lightning's CSV log in the run's ``csv/``.
        wandb: Weights & Biases, offline unless WANDB_MODE says otherwise; needs the extra ``wandb``.
        mlflow: MLflow in ``mlruns/`` unless MLFLOW_TRACKING_URI says otherwise; needs the extra ``mlflow``.
    """

    def __init__(
        self, *, tensorboard: bool = False, csv: bool = False, wandb: bool = False, mlflow: bool = False
    ) -> None:
        for name, wanted in (("wandb", wandb), ("mlflow", mlflow)):
            if wanted and importlib.util.find_spec(name) is None:
                raise ValueError(f"logger={name}: not installed; install it with: pip install -e '.[{name}]'")
        self.tensorboard, self.csv, self.wandb, self.mlflow = tensorboard, csv, wandb, mlflow

    def make(self, directory: Path) -> list[Logger]:
        """Lightning's loggers, writing below the run directory."""
        loggers: list[Logger] = []
        if self.tensorboard:
            # Without default_hp_metric=False the HPARAMS tab shows one column of -1.
            loggers.append(TensorBoardLogger(directory, name="", version="tensorboard", default_hp_metric=False))
        if self.csv:
            loggers.append(CSVLogger(directory, name="", version="csv"))
        if self.wandb:
            loggers.append(WandbLogger(name=directory.name, project="cifarlab", save_dir=directory))
        if self.mlflow:
            loggers.append(MLFlowLogger(experiment_name="cifarlab", run_name=directory.name))
        return loggers


def log_hyperparameters(loggers: list[Logger], knobs: Mapping[str, Scalar], metrics: Mapping[str, float]) -> None:
    """Put the run into the loggers' tables; for TensorBoard with its final metrics as columns of the HPARAMS tab."""
    shown = {name: "none" if value is None else value for name, value in knobs.items()}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            # Tags of their own: the same tags as the curves would add a point at step 0 to every curve.
            logger.log_hyperparams(shown, {f"final/{name}": value for name, value in metrics.items()})
        else:
            logger.log_hyperparams(shown)


def close(loggers: list[Logger], status: str) -> None:
    """Ends the loggers' own records of the run, ``status`` as Lightning has it: ``success`` or ``failed``."""
    for logger in loggers:
        logger.finalize(status)
        if isinstance(logger, WandbLogger):
            # Lightning leaves the run open for what may follow; the next cell of a sweep would log into it.
            logger.experiment.finish()
