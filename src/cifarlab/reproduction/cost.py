"""How long a run will take on this machine: its arithmetic, at the rate of what was measured here."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from cifarlab.job.job import Job
from cifarlab.reproduction.results import Kept

if TYPE_CHECKING:
    import torch

# Pictures of the published data sets: train, an own val, test.
PICTURES = {"cifar10": (50_000, 0, 10_000), "cifar100": (50_000, 0, 10_000), "cinic10": (90_000, 90_000, 90_000)}
BACKWARD = 2  # a backward pass has about twice the arithmetic of the forward pass
START_SECONDS = 10.0  # imports, checks and the first step of a command
RUN_SECONDS = 2.0  # around a run: net, figures, records
PROBE_BATCH, PROBE_STEPS = 128, 3


@dataclass(frozen=True)
class Size:
    """A run before it is made.

    Attributes:
        flops: of one picture's forward pass.
        trained: pictures in training, counted once an epoch.
        judged: pictures in validation and test.
    """

    flops: int
    trained: int
    judged: int

    @property
    def arithmetic(self) -> float:
        """Floating-point operations of the whole run."""
        return self.flops * ((1 + BACKWARD) * self.trained + self.judged)

    @classmethod
    def of(cls, job: Job) -> Size:
        """By the published sizes of the data sets: the pictures need not be there.

        Raises:
            KeyError: the data set is none of those.
        """
        from cifarlab.training.hardware.cost import cost

        data, epochs = job.parts["data"].arguments, job.settings.epochs
        train, val, test = PICTURES[job.choices["data"]]
        if data.get("protocol") == "test_20_80":
            val, test = round(0.8 * test), round(0.2 * test)
        elif not val:
            val = round(train * data.get("val_fraction", 0.1))
            train -= val
        most = data.get("limit") or math.inf
        train, val, test = (int(min(size, most)) for size in (train, val, test))
        copies = 2 if job.parts["augment"].arguments.get("mode") == "append" else 1
        side = data.get("image_size", 32)
        counted = cost(job.parts["model"], 100 if job.choices["data"] == "cifar100" else 10, (side, side))
        return cls(counted.flops, copies * train * epochs, val * epochs + test)


@dataclass(frozen=True)
class Speeds:
    """What this machine has shown.

    Attributes:
        points: floating-point operations a second by those of a picture's forward pass.
        known: the seconds of a run by the name of its command, mean of those that were made.
    """

    points: tuple[tuple[int, float], ...]
    known: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def measured(cls, runs: Mapping[str, Sequence[Kept]], device: str) -> Speeds:
        """From the finished runs on the same device, by their command's name."""
        here = {name: [run.result for run in each if run.result.device == device] for name, each in runs.items()}
        return cls(
            tuple(
                (each.flops, (1 + BACKWARD) * each.flops * each.images_per_second)
                for results in here.values()
                for each in results
                if each.flops and each.images_per_second
            ),
            {name: fmean(each.seconds["total"] for each in results) for name, results in here.items() if results},
        )

    def of(self, name: str, sizes: Sequence[Size]) -> float:
        """Seconds of a run of the command: as long as its others took here, else by the arithmetic of some of them.

        Raises:
            ValueError: nothing was measured.
        """
        return self.known[name] if name in self.known else fmean(map(self.seconds, sizes))

    def seconds(self, size: Size) -> float:
        """Of one run, at the rate of the net nearest in arithmetic a picture.

        Raises:
            ValueError: nothing was measured.
        """
        if not self.points:
            raise ValueError("no speed was measured on this machine")
        distances = [abs(math.log(flops / size.flops)) for flops, _ in self.points]
        rates = [rate for (_, rate), distance in zip(self.points, distances, strict=True) if distance == min(distances)]
        return RUN_SECONDS + size.arithmetic / (sum(rates) / len(rates))


def probe(device: torch.device) -> Speeds:
    """A few plain training steps of a thin and a wide net: seconds on two cores, and no more than a first guess.

    Steps are neither recorded nor compiled, so that a GPU is guessed to be several times slower than it is.
    """
    import torch

    from cifarlab.models.resnet import ResNet
    from cifarlab.training.hardware.cost import cost
    from cifarlab.training.hardware.device import quiet_allocator, resolve_precision

    quiet_allocator()
    bfloat16 = resolve_precision("auto", device.type) == "bf16-mixed"
    points = []
    for stages, width in (((3, 3, 3), 16), ((2, 2, 2, 2), 64)):
        make_net = functools.partial(ResNet, stages=stages, width=width)
        net = make_net(10).to(device)
        images = torch.randn(PROBE_BATCH, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
        _step(net, images, bfloat16)
        seconds = min(_step(net, images, bfloat16) for _ in range(PROBE_STEPS))  # the least disturbed by other work
        flops = cost(make_net, 10, (32, 32)).flops
        points.append((flops, (1 + BACKWARD) * flops * PROBE_BATCH / seconds))
    return Speeds(tuple(points))


def _step(net: torch.nn.Module, images: torch.Tensor, bfloat16: bool) -> float:
    """The seconds that it takes."""
    import torch

    begun = time.perf_counter()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
        loss = net(images).float().square().mean()
    loss.backward()
    loss.item()  # waits for the device
    return time.perf_counter() - begun
