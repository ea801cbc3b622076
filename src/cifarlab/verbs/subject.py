"""What a figure is of: data and a net, from a run or from what the command line chooses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import torch
from lightning import Trainer
from torch import Tensor, nn
from torchvision.models import get_model_weights

from cifarlab.data.module import Channels, ImageData
from cifarlab.figures import OfVisualize
from cifarlab.figures.captions import in_words
from cifarlab.job.configure import ConfigError
from cifarlab.job.directory import chosen_weights
from cifarlab.job.job import Job
from cifarlab.job.trained import trained_net
from cifarlab.models.transfer import Transfer
from cifarlab.models.weights import Fit, by_part, put_in, read_weights
from cifarlab.probes.filters import first_convolution
from cifarlab.probes.predictions import Predictions, answers, predict
from cifarlab.training.hardware.machine import nearest
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.records.checkpoints import FOLDER
from cifarlab.training.step.head import head_in_float32
from cifarlab.verbs.figure_options import READS, WITHOUT_WEIGHTS

# What a figure needs of a net's weights: all, those up to a point, or the first convolution's.
Needs = Literal["all", "beginning", "first"]
IMAGENET_CLASSES = 1000
MOST_FAULTS = 8
Said = TypeVar("Said")


class Subject(ABC):
    """Data and net, each made when a figure first asks for it.

    Attributes:
        job: the checked config.
        untrained: names of the net's modules whose weights are not known, once the net is made.
    """

    def __init__(self, job: Job, directory: Path) -> None:
        self.job = job
        self.directory = directory
        self.untrained: frozenset[str] = frozenset()

    @abstractmethod
    def net(self, needs: Needs = "all", *, labelled: bool = False) -> nn.Module:
        """The net with its weights, on the CPU.

        Args:
            needs: how much of the weights must be known.
            labelled: its outputs are the classes of the data.

        Raises:
            ValueError: the weights are not to be had, or are another net's.
        """

    @abstractmethod
    def made_for(self, net: nn.Module) -> tuple[tuple[int, int], Channels, Channels]:
        """Height and width of the pictures the net knows, and the mean and deviation of their channels."""

    @abstractmethod
    def class_name(self, label: int) -> str:
        """Of an output of the net, with its number: ``jellyfish (107)``."""

    def in_words(self, figure: OfVisualize, split: str) -> str:
        """What a figure is of, for the line below it: run or model, data and split, which weights."""
        of_data = in_words(data=str(self.data.name), split=split) if "split" in READS[figure] else ""
        of_net = [] if figure in WITHOUT_WEIGHTS else [self.weights_in_words]
        return "; ".join(filter(None, [self.name, of_data, *of_net]))

    @property
    @abstractmethod
    def name(self) -> str:
        """Whose figure it is."""

    @property
    @abstractmethod
    def weights_in_words(self) -> str:
        """Which weights the net has."""

    @cached_property
    def data(self) -> ImageData:
        data = self.job.make_data()
        data.prepare_data()
        data.setup()
        return data

    @cached_property
    def settings(self) -> TrainerSettings:
        return nearest(self.job.parts["trainer"]())

    @cached_property
    def trainer(self) -> Trainer:
        return self.settings.make(1, self.directory)

    @property
    def device(self) -> torch.device:
        return self.trainer.strategy.root_device

    def picture(self, split: str, index: int) -> Tensor:
        """uint8 ``(3, H, W)``.

        Raises:
            ValueError: the split has no such picture.
        """
        images = self.data.split(split).images
        if index >= len(images):
            raise ConfigError([f"image={index}: allowed: an integer from 0 to {len(images) - 1} ({split})"])
        return images[index]

    def predictions(self, split: str) -> Predictions:
        """What the net says about a split, with the device, precision and memory format of the run's own test."""
        return self._ask(split, predict)

    def answers(self, split: str) -> tuple[Tensor, Tensor]:
        """Logits float32 ``(N, C)`` and labels int64 ``(N,)`` of a split, likewise, on the CPU."""
        logits, labels = self._ask(split, answers)
        return logits.cpu(), labels.cpu()

    def _ask(self, split: str, ask: Callable[[nn.Module, Iterable[tuple[Tensor, Tensor]]], Said]) -> Said:
        net = self.net(labelled=True)
        if self.settings.channels_last:
            net = net.to(memory_format=torch.channels_last)
        data, trainer = self.data, self.trainer
        data.trainer = trainer
        data.setup()
        net = trainer.precision_plugin.convert_module(net.to(self.device))
        with trainer.precision_plugin.forward_context(), head_in_float32(net):
            return ask(net, data.batches(split))


class OfRun(Subject):
    """A run's own data and its best weights."""

    def net(self, needs: Needs = "all", *, labelled: bool = False) -> nn.Module:
        path = self.directory / FOLDER / "best.ckpt"
        if not path.is_file():
            raise ConfigError(
                [
                    f"{path} is missing: the run kept no weights (checkpoints=none), or has none yet; "
                    "the figures samples, augmentations and curves need none"
                ]
            )
        return trained_net(self.job, self.directory, self.data.num_classes)

    def made_for(self, net: nn.Module) -> tuple[tuple[int, int], Channels, Channels]:
        return self.data.image_size, self.data.mean, self.data.std

    def class_name(self, label: int) -> str:
        classes = self.data.classes
        return f"{classes[label]} ({label})" if label < len(classes) else f"class {label}"

    @property
    def name(self) -> str:
        return in_words(self.directory)

    @property
    def weights_in_words(self) -> str:
        selected = chosen_weights(self.directory)
        return in_words(selected=selected) if selected else "the best weights so far"


class Chosen(Subject):
    """A data set and a model by the command line; weights from a file, or pretrained, or none.

    Args:
        job: the checked config.
        weights: file with a state_dict.
        classes: outputs of the net; None takes the data set's, and ImageNet's for a net that others have trained.
    """

    def __init__(self, job: Job, weights: Path | None, classes: int | None) -> None:
        super().__init__(job, Path())
        self.weights = weights
        self.classes = classes
        model = job.parts["model"].arguments
        self.pretrained = model.get("pretrained") is True or model.get("weights") is not None

    def net(self, needs: Needs = "all", *, labelled: bool = False) -> nn.Module:
        outputs = self._outputs(labelled=labelled)
        if labelled and outputs != self.data.num_classes:
            raise ConfigError([f"classes={outputs}: {self.data.name} has {self.data.num_classes} classes"])
        torch.manual_seed(self.job.seeds.init)
        net = self._build(outputs)
        if self.weights is not None:
            fit = put_in(read_weights(self.weights), net)
            self._judge(fit, net, needs)
            self.untrained = frozenset(name.rpartition(".")[0] for name in fit.untouched)
        elif not self.pretrained:
            print("the net is untrained: there is no run=, weights= or model.pretrained=true")
        elif needs == "all":
            _check_head(net, outputs)
        return net

    def made_for(self, net: nn.Module) -> tuple[tuple[int, int], Channels, Channels]:
        about = getattr(net, "default_cfg", None)
        if about and (self.pretrained or self.weights is not None):
            _, height, width = about["input_size"]
            return (height, width), tuple(about["mean"]), tuple(about["std"])
        return self.data.image_size, self.data.mean, self.data.std

    def class_name(self, label: int) -> str:
        outputs = self._outputs(labelled=False)
        names = () if self._is_of_imagenet else self.data.classes  # ImageNet's net needs no data set to be at hand
        if outputs != len(names):
            # timm's nets of a thousand outputs have them in the order of torchvision's.
            names = get_model_weights("resnet50").DEFAULT.meta["categories"] if outputs == IMAGENET_CLASSES else ()
        return f"{names[label]} ({label})" if label < len(names) else f"class {label}"

    def _outputs(self, *, labelled: bool) -> int:
        return self.classes or (IMAGENET_CLASSES if self._is_of_imagenet and not labelled else self.data.num_classes)

    @property
    def _is_of_imagenet(self) -> bool:
        """Whether the classes are taken to be ImageNet's: weights from elsewhere, of which nothing else is said."""
        return self.classes is None and (self.pretrained or self.weights is not None)

    @property
    def name(self) -> str:
        chosen, arguments = self.job.choices.get("model", "model"), self.job.parts["model"].arguments
        return f"{chosen} {arguments['name']}" if "name" in arguments else str(chosen)

    @property
    def weights_in_words(self) -> str:
        if self.weights is not None:
            return f"weights of {self.weights.name}"
        return "pretrained" if self.pretrained else "untrained"

    def _build(self, outputs: int) -> nn.Module:
        try:
            net: nn.Module = self.job.parts["model"](outputs)
        except Exception as error:
            # Which error a refused download is depends on the library that was about to fetch.
            if not self.pretrained or isinstance(error, ValueError):
                raise
            name = self.job.parts["model"].arguments.get("name")
            raise ConfigError(
                [f"the pretrained weights of {name} cannot be fetched ({_first_line(error)}); give a file by weights="]
            ) from error
        return net

    def _judge(self, fit: Fit, net: nn.Module, needs: Needs) -> None:
        """Refuse weights that lack what the figure needs; say what else they lack."""
        first, _ = first_convolution(net)
        needed = fit.untouched if needs == "all" else [name for name in fit.untouched if name == f"{first}.weight"]
        faults = [
            f"{self.weights}: {name} is {_shape(fit.misshapen[name][0])} in the file, "
            f"{_shape(fit.misshapen[name][1])} in the net"
            if name in fit.misshapen
            else f"{self.weights}: {name} is missing"
            for name in needed
        ]
        if faults:
            rest = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
            raise ConfigError(faults[:MOST_FAULTS] + rest + [_advice(fit)])
        if fit.untouched:
            print(f"missing in {self.weights}, and not shown: {by_part(fit.untouched)}")
        if fit.unused:
            print(f"in {self.weights}, and not in the net: {by_part(fit.unused)}")


def _advice(fit: Fit) -> str:
    if fit.misshapen:
        return "model.stem=original keeps the size of a stem's filters; classes= sets the number of outputs"
    return "only filters and features can do with a part of the weights"


def _check_head(net: nn.Module, outputs: int) -> None:
    """A head of another size than the pretrained one starts anew, and its classes mean nothing.

    Raises:
        ConfigError: naming the number of classes of the pretrained head.
    """
    if isinstance(net, Transfer):
        raise ConfigError(["model=transfer: its head starts anew; only filters and features can do without one"])
    known = (getattr(net, "default_cfg", None) or {}).get("num_classes")
    if known not in (None, outputs):
        raise ConfigError([f"classes={outputs}: the pretrained head has {known} outputs; give classes={known}"])


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes) or "a number"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
