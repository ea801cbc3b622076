"""Opening a run directory again: its config, its result, its net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from cifarlab.job.configure import ConfigError
from cifarlab.job.job import Job
from cifarlab.models.weights import without_weights
from cifarlab.result import FILE, Result
from cifarlab.training.hardware.device import quiet_allocator
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.records.checkpoints import FOLDER, load_weights
from cifarlab.training.step.classifier import Classifier
from cifarlab.training.step.evaluation import Evaluation, evaluate

CONFIG = Path(".hydra", "config.yaml")


def reopen(directory: Path, *, allow: Sequence[str] = (), root: str | None = None) -> Job:
    """The job of a run directory, from its own ``.hydra/``.

    Args:
        directory: of a single run or of a cell of a sweep.
        allow: import paths outside this package that its config may name. What the directory says of itself does not
            count: it may come from somebody else.
        root: where the data sets lie now; as the config has it unless given.

    Raises:
        ConfigError: it is no run directory, or its config cannot be run by this version.
    """
    config_file = directory / CONFIG
    if not is_run_directory(directory):
        raise ConfigError([f"{directory}: not a run directory (it has no .hydra/config.yaml)"])
    config = OmegaConf.load(config_file)
    if not isinstance(config, DictConfig):
        raise ConfigError([f"{config_file}: a mapping is needed"])
    if root is not None:
        OmegaConf.update(config, "data.root", root, force_add=True)
    hydra_file = config_file.with_name("hydra.yaml")
    if not hydra_file.is_file():
        return Job.read(config, allow=allow)
    hydra = OmegaConf.load(hydra_file).hydra
    return Job.read(config, choices=choices_of(hydra), overrides=typed(hydra), allow=allow)


def is_run_directory(directory: Path) -> bool:
    """Whether a run has begun there."""
    return (directory / CONFIG).is_file()


def trained_net(job: Job, directory: Path, num_classes: int) -> nn.Module:
    """The run's net with its best weights, on the CPU.

    Raises:
        ConfigError: the run kept no weights.
    """
    path = directory / FOLDER / "best.ckpt"
    if not path.is_file():
        raise ConfigError([f"{path} is missing: the run has no weights yet, or was told checkpoints=none"])
    with without_weights():
        net: nn.Module = job.parts["model"](num_classes)
    load_weights(path, net)
    return net


def evaluate_again(directory: Path, *, allow: Sequence[str] = (), root: str | None = None) -> Evaluation:
    """The test split once more through a run's best weights, from its directory alone.

    Config, split, normalisation, precision and weights are the run's, so that on the same machine the digits are too.

    Args:
        directory: of a run.
        allow: import paths outside this package that its config may name.
        root: where the data sets lie now; as the run had it unless given.

    Raises:
        ConfigError: it is no run directory, or it kept no weights.
    """
    quiet_allocator()
    job = reopen(directory, allow=allow, root=root)
    settings: TrainerSettings = job.parts["trainer"]()
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


def stored_result(directory: Path) -> Result | None:
    """The result of a run directory, None where there is none.

    Raises:
        ValueError: it is damaged.
    """
    return Result.read(directory) if (directory / FILE).is_file() else None


def choices_of(hydra: DictConfig) -> dict[str, str]:
    """Group -> chosen option, of the project's own groups; several options of a group are joined by ``+``."""
    chosen: dict[str, str] = {}
    for group, choice in hydra.runtime.choices.items():
        if choice is None or "/" in str(group):
            continue
        options = [choice] if isinstance(choice, str) else list(choice)
        chosen[str(group)] = "+".join(str(option) for option in options)
    return chosen


def typed(hydra: DictConfig) -> list[str]:
    """The overrides a run was started with, as they were typed."""
    return [str(override).lstrip("+") for override in hydra.overrides.task]
