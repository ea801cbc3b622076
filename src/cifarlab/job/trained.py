"""What a finished run is good for: its trained net, and its test once more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from logging import getLogger
from pathlib import Path

import torch
from torch import Tensor, nn

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
    try:
        load_weights(path, net, key=job.identity.key)
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:  # torch's, of what does not fit
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError([f"{path}: not the weights of this run's net ({why[:200]})"]) from None
    return net


class Trained:
    """A run's best weights on a device of this machine, from the run's directory alone.

    Config, split, normalisation, precision and weights are the run's, so that on the same machine the digits are too.
    A machine that lacks the run's devices or its precision answers on one device of its own.

    Attributes:
        job: the run's.
        data: its splits.

    Args:
        directory: of a run.
        allow: import paths outside this package that its config may name.
        root: where the data sets lie now; as the run had it unless given.

    Raises:
        ConfigError: it is no run directory, or it kept no weights.
    """

    def __init__(self, directory: Path, *, allow: Sequence[str] = (), root: str | None = None) -> None:
        quiet_allocator()
        self.directory = directory
        self.job = reopen(directory, allow=allow, root=root)
        asked: TrainerSettings = self.job.parts["trainer"]()
        settings = nearest(asked)
        if settings is not asked:
            kind, precision = settings.device_type, settings.resolved_precision
            log.warning(
                "this machine cannot do what the run did: tested on one device, %s, in precision %s", kind, precision
            )
        self._trainer = settings.make(1, directory)
        self.data = self.job.make_data()
        self.data.trainer = self._trainer
        self.data.prepare_data()
        self.data.setup("test")
        net = trained_net(self.job, directory, self.data.num_classes)
        if settings.channels_last:
            net = net.to(memory_format=torch.channels_last)
        parts = self.job.parts
        self._classifier = Classifier(
            net,
            optimizer=parts["optimizer"],
            schedule=parts["schedule"],
            penalty=parts["penalty"](),
            top5=self.data.num_classes >= 100,
            tta=self.job.settings.tta,
        )

    @property
    def net(self) -> nn.Module:
        return self._classifier.net

    @property
    def device(self) -> torch.device:
        return self._trainer.strategy.root_device

    def test(self) -> Evaluation:
        """The test split once more, as the run's own test was.

        Raises:
            Diverged: the loss is NaN or infinite.
        """
        return evaluate(self._classifier, self.data, self._trainer)

    @torch.no_grad()
    def logits(self, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """What the net says to batches of normalised pictures, in the precision of its test.

        Returns:
            Logits float32 ``(N, C)`` and labels int64 ``(N,)``, on the CPU.
        """
        classifier, plugin = self._classifier, self._trainer.precision_plugin
        classifier.trainer = self._trainer
        classifier.net = plugin.convert_module(classifier.net.to(self.device)).eval()
        answers = [(classifier.ranking_logits(images).float().cpu(), labels.cpu()) for images, labels in batches]
        logits, labels = (torch.cat(column) for column in zip(*answers, strict=True))
        return logits, labels


def evaluate_again(directory: Path, *, allow: Sequence[str] = (), root: str | None = None) -> Evaluation:
    """The test split once more through a run's best weights, from its directory alone; see `Trained`."""
    return Trained(directory, allow=allow, root=root).test()
