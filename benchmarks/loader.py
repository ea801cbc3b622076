"""Images a second of crop, flip and normalisation: `Batches` beside torchvision's per-sample transforms.

`python -m benchmarks.loader` runs three loaders in turn, several rounds in one process, the main process on one core:

    ours        Batches on the CPU, Augment(crop, flip)
    per sample  torchvision v2 (ToImage, RandomCrop(32, padding=4), RandomHorizontalFlip, ToDtype, Normalize) on one
                picture after the other, collated
    2 workers   torch's DataLoader with the same transforms in two worker processes, started before the clock

Pictures are CIFAR-10's where CIFARLAB_DATA names a folder that has it, else random bytes (the speed is the same).
Measured on a quiet machine of 2 cores (AMD EPYC with AVX512-BF16, torch 2.15), CIFAR-10, medians of 5 rounds:

    batch 128   ours 185,000   per sample 6,100 (30 x)   2 workers  9,600 (19 x)
    batch 512   ours 180,000   per sample 6,100 (29 x)   2 workers 10,900 (17 x)
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from cifarlab.data.augment import Augment
from cifarlab.data.augment.windows import Crop, Flip
from cifarlab.data.batches import Batches
from cifarlab.data.images import ImageSet
from cifarlab.data.seeds import Seeds

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class PerSample(Dataset[tuple[Tensor, int]]):
    """What a tutorial does with torchvision: a picture and its label, transformed one at a time."""

    def __init__(self, images: ImageSet) -> None:
        self.pictures = images.images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = images.labels.tolist()
        self.transform = v2.Compose(
            [
                v2.ToImage(),
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pictures[index]), self.labels[index]


def cifar10() -> tuple[ImageSet, str]:
    """The training pictures, and a line that says which they are."""
    root = os.environ.get("CIFARLAB_DATA")
    if root is not None and (Path(root) / "cifar-10-batches-py").is_dir():
        from cifarlab.data.cifar import CIFAR10

        source = CIFAR10()
        source.prepare(Path(root))
        start = time.perf_counter()
        images = source.load(Path(root))["train"]
        seconds = time.perf_counter() - start
        return images, f"CIFAR-10, {len(images)} pictures; opening the cached set took {seconds:.3f} s"
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (50_000,), generator=generator)
    return ImageSet(pictures, labels, tuple("0123456789")), "random bytes: CIFARLAB_DATA names no CIFAR-10"


def ours(images: ImageSet, batch_size: int) -> Batches:
    return Batches(
        images,
        batch_size,
        mean=MEAN,
        std=STD,
        device=torch.device("cpu"),
        augment=Augment(crop=Crop(padding=4), flip=Flip()),
        shuffle=True,
        seeds=Seeds.same(0),
    )


def images_per_second(batches: Iterable[tuple[Tensor, Tensor]], at_most: int) -> float:
    """Counts from the second batch to the end, or to ``at_most`` pictures; what comes before the first is start-up."""
    iterator = iter(batches)
    size = len(next(iterator)[0])
    start = time.perf_counter()
    count = sum(len(images) for images, _ in islice(iterator, at_most // size))
    return count / (time.perf_counter() - start)


def compare(images: ImageSet, batch_size: int, rounds: int) -> None:
    """Prints images a second of each loader in every round, medians, and how many times as fast ours is."""
    samples = PerSample(images)
    loaders: dict[str, Callable[[], float]] = {
        "ours": lambda: images_per_second(ours(images, batch_size), 50_000),
        "per sample": lambda: images_per_second(DataLoader(samples, batch_size, shuffle=True), 8_000),
        "2 workers": lambda: images_per_second(DataLoader(samples, batch_size, shuffle=True, num_workers=2), 16_000),
    }
    speeds: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, measure in loaders.items():
            speeds[name].append(measure())
    ours_median = statistics.median(speeds["ours"])
    print(f"batch {batch_size}, images/s")
    for name, values in speeds.items():
        median = statistics.median(values)
        each = " ".join(f"{value:9,.0f}" for value in values)
        print(f"  {name:10s} {each}   median {median:9,.0f}   ours is {ours_median / median:6.1f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images, which = cifar10()
    print(f"{which}; torch {torch.__version__}, one thread")
    for batch_size in arguments.batch_size:
        compare(images, batch_size, arguments.rounds)


if __name__ == "__main__":
    main()
