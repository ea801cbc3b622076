"""What the loader adds to a ResNet-18 training step: `python -m benchmarks.loader_share` (on a GPU if there is one).

Steps on one batch that stays, and the same steps on fresh batches of the loader (crop, flip, normalisation on the
device), in turn, several rounds in one process after a warm-up; the share is the difference over the step without one.
`--device cpu --batch-size 32 --steps 3` tries the command where there is no GPU; its share says nothing about one.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.loader import MEAN, STD, cifar10
from cifarlab.data.augment import Augment
from cifarlab.data.augment.windows import Crop, Flip
from cifarlab.data.batches import Batches
from cifarlab.data.images import ImageSet
from cifarlab.data.seeds import Seeds
from cifarlab.models.resnet import ResNet
from cifarlab.training.hardware.device import device_name, gains_by_bfloat16, quiet_allocator

Batch = tuple[Tensor, Tensor]


class Steps:
    """A ResNet-18 under SGD in bfloat16 where that is native, as `train.py` would train it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.net = ResNet(10).to(device, memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9, nesterov=True)
        self.bfloat16 = gains_by_bfloat16(device.type)

    def seconds(self, batches: Iterable[Batch]) -> float:
        """Seconds a step, the device waited for before and after."""
        self._wait()
        since, count = time.perf_counter(), 0
        for images, labels in batches:
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                loss = F.cross_entropy(self.net(images), labels)
            loss.backward()
            self.optimizer.step()
            count += 1
        self._wait()
        return (time.perf_counter() - since) / count

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def endless(images: ImageSet, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """The project's training batches, epoch after epoch, from pictures that lie on the device."""
    there = ImageSet(images.images.to(device), images.labels.to(device), images.classes)
    epochs = itertools.count()
    augment = Augment(crop=Crop(padding=4), flip=Flip())
    batches = Batches(
        there, batch_size, mean=MEAN, std=STD, device=device, augment=augment, shuffle=True, seeds=Seeds.same(0),
        epoch=lambda: next(epochs), drop_last=True,
    )  # fmt: skip
    while True:
        yield from batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    quiet_allocator()
    device = torch.device(arguments.device)
    images, which = cifar10()
    steps, batches = Steps(device), endless(images, arguments.batch_size, device)
    same = next(batches)
    steps.seconds(itertools.repeat(same, 3))
    steps.seconds(itertools.islice(batches, 3))
    alone: list[float] = []
    loaded: list[float] = []
    for _ in range(arguments.rounds):
        alone.append(steps.seconds(itertools.repeat(same, arguments.steps)))
        loaded.append(steps.seconds(itertools.islice(batches, arguments.steps)))
    shares = [with_loader / without - 1 for with_loader, without in zip(loaded, alone, strict=True)]
    print(f"{device_name(device)}, torch {torch.__version__}, batch {arguments.batch_size}; {which}")
    print(
        f"step alone {1e3 * statistics.median(alone):.2f} ms, with the loader {1e3 * statistics.median(loaded):.2f} ms"
    )
    print(f"the loader adds {statistics.median(shares):.1%}  [{min(shares):.1%}, {max(shares):.1%}]")


if __name__ == "__main__":
    main()
