"""What a finished run is good for: its trained net, and its test once more."""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from pathlib import Path

import torch
from torch import nn

from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import reopen
from cifarlab.job.job import Job
from cifarlab.models.weights import without_weights
from cifarlab.training.hardware.device import quiet_allocator
from cifarlab.training.hardware.machine import nearest
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.records.checkpoints import FOLDER, load_weights
from cifarlab.training.step.classifier import Classifier
from cifarlab.training.step.evaluation import Evaluation, evaluate

log = getLogger(__name__)


def trained_net(job: Job, directory: Path, num_classes: int) -> nn.Module:
    """The run's net with its best weights, on the CPU.

    Raises:
        ConfigError: the run kept no weights.
        ValueError: the file is damaged, or has the weights of another run.
    """
    path = directory / FOLDER / "best.ckpt"
    if not path.is_file():
        raise ConfigError([f"{path} is missing: the run has no weights yet, or was told checkpoints=none"])
    with without_weights():
        net: nn.Module = job.parts["model"](num_classes)
    load_weights(path, net, key=job.identity.key)
    return net


def evaluate_again(directory: Path, *, allow: Sequence[str] = (), root: str | None = None) -> Evaluation:
    """The test split once more through a run's best weights, from its directory alone.

    Config, split, normalisation, precision and weights are the run's, so that on the same machine the digits are too.
    A machine that lacks the run's devices or its precision tests on one device of its own.

    Args:
        directory: of a run.
        allow: import paths outside this package that its config may name.
        root: where the data sets lie now; as the run had it unless given.

    Raises:
        ConfigError: it is no run directory, or it kept no weights.
    """
    quiet_allocator()
    job = reopen(directory, allow=allow, root=root)
    asked: TrainerSettings = job.parts["trainer"]()
    settings = nearest(asked)
    if settings is not asked:
        kind, precision = settings.device_type, settings.resolved_precision
        log.warning(
            "this machine cannot do what the run did: tested on one device, %s, in precision %s", kind, precision
        )
    trainer = settings.make(1, directory)
    data = job.make_data()
    data.trainer = trainer
    data.prepare_data()
    data.setup("test")
    net = trained_net(job, directory, data.num_classes)
    if settings.channels_last:
        net = net.to(memory_format=torch.channels_last)
    parts = job.parts
    classifier = Classifier(
        net,
        optimizer=parts["optimizer"],
        schedule=parts["schedule"],
        penalty=parts["penalty"](),
        top5=data.num_classes >= 100,
        tta=job.settings.tta,
    )
    return evaluate(classifier, data, trainer)
