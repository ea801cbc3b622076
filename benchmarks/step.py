"""Training speed of `train.py`'s own path beside loops written by hand, in turn in one command.

    python -m benchmarks.step [--nets tiny_vgg resnet] [--batch 128] [--rounds 3] [--seconds 4]
    python -m benchmarks.step --device cuda [--nets ...] [--compiled all]    (what that does: benchmarks/step_on_gpu.py)

Contenders, all with the same net, batch size, crop and flip, SGD with Nesterov momentum and one-cycle schedule:

    ours 32, ours bf16     what `train.py` does: Lightning, the callbacks of a run, the batched loader, quiet allocator
    hand 32, hand bf16     a plain loop over the same loader with the same settings (allocator, format, precision)
    plain                  a plain loop over the same loader, allocator, memory format and precision as PyTorch comes
    per-sample             the classic CIFAR script: torchvision transforms picture by picture in 2 DataLoader workers

The allocator cannot be set back, so the last two run in processes of their own; ours and the hand loop alternate
within one process, since a few per cent are what is asked there. The first step of each piece is not counted. Saving a
checkpoint at the end of an epoch is not part of a step: its seconds are in the last line. Pictures are random bytes.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cifarlab.data.augment import Augment
from cifarlab.data.augment.windows import Crop, Flip
from cifarlab.data.images import ImageSet
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.data.sources import Source
from cifarlab.models.residual import ResidualCNN
from cifarlab.models.resnet import ResNet
from cifarlab.models.speedrun import Speedrun
from cifarlab.models.tiny_vgg import TinyVGG
from cifarlab.training.divergence import StopWhenDiverged
from cifarlab.training.hardware.device import device_name, gains_by_bfloat16, quiet_allocator
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.optimizers.factories import sgd
from cifarlab.training.penalties import NoPenalty
from cifarlab.training.records.clock import Clock
from cifarlab.training.schedules import one_cycle
from cifarlab.training.step.classifier import Classifier

NETS: dict[str, Callable[[int], nn.Module]] = {
    "tiny_vgg": TinyVGG,
    "resnet": ResidualCNN,
    "resnet20": functools.partial(ResNet, stages=(3, 3, 3), shortcut="padding", width=16),
    "resnet18": ResNet,
    "speedrun": Speedrun,
}
AUTOCAST = {"32": False, "bf16-mixed": True}


class RandomPictures(Source):
    """Random bytes in the shape of CIFAR-10."""

    name = "random"
    mean = (0.5, 0.5, 0.5)
    std = (0.29, 0.29, 0.29)

    def __init__(self, count: int) -> None:
        self.count = count

    def prepare(self, root: Path) -> None:
        pass

    def load(self, root: Path) -> dict[str, ImageSet]:
        return self.read(root)

    def read(self, root: Path) -> dict[str, ImageSet]:
        generator = torch.Generator().manual_seed(0)
        return {split: self._pictures(count, generator) for split, count in (("train", self.count), ("test", 100))}

    def _pictures(self, count: int, generator: torch.Generator) -> ImageSet:
        images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        labels = torch.arange(count) % 10
        return ImageSet(images, labels, tuple("abcdefghij"))


def make_data(steps: int, batch_size: int) -> ImageData:
    augment = Augment(crop=Crop(padding=4), flip=Flip())
    source = RandomPictures(steps * batch_size)
    return ImageData(augment, Seeds.same(0), source=source, batch_size=batch_size, val_fraction=0.0)


def ours(make_net: Callable[[int], nn.Module], steps: int, batch_size: int, precision: str) -> float:
    """Images a second of a run's own Trainer, module, callbacks and loader."""
    settings = TrainerSettings(precision=32 if precision == "32" else "bf16-mixed", progress_bar=False)
    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        trainer = settings.make(1, Path(directory), [StopWhenDiverged(), clock])
        data = make_data(steps, batch_size)
        net = make_net(10).to(memory_format=torch.channels_last)
        module = Classifier(
            net, optimizer=lambda net: sgd(net, lr=0.1), schedule=lambda o, b: one_cycle(o, b), penalty=NoPenalty()
        )
        trainer.fit(module, datamodule=data)
    assert clock.images_per_second is not None
    return clock.images_per_second


def hand(
    make_net: Callable[[int], nn.Module],
    batches: Iterable[tuple[Tensor, Tensor]],
    steps: int,
    precision: str = "32",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> float:
    """Images a second of the loop that anyone would write."""
    net = make_net(10).to(memory_format=memory_format).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps + 1)
    criterion = nn.CrossEntropyLoss()
    loss_sum, correct, seen, since = torch.zeros(()), torch.zeros(()), 0, 0.0
    for number, (images, labels) in enumerate(batches):
        images = images.contiguous(memory_format=memory_format)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=AUTOCAST[precision]):
            logits = net(images)
            loss = criterion(logits, labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        loss_sum += loss.detach()
        correct += (logits.argmax(1) == labels).sum()
        if number == 0:
            since = time.perf_counter()
        else:
            seen += len(labels)
    return seen / (time.perf_counter() - since)


def same_loader(steps: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The project's batches, without Lightning."""
    data = make_data(steps, batch_size)
    data.setup()
    return iter(data.train_dataloader().batches)


def per_sample_loader(steps: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """torchvision's transforms on one picture at a time, in two worker processes."""
    from torchvision import transforms

    pictures = RandomPictures(steps * batch_size).load(Path())["train"]
    change = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.29, 0.29, 0.29)),
        ]
    )

    class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return change(pictures.images[index]), int(pictures.labels[index])

    return iter(torch.utils.data.DataLoader(Pictures(), batch_size, shuffle=True, num_workers=2))


def piece(kind: str, net: str, batch_size: int, seconds: float) -> dict[str, float]:
    """One process's share of a round: contender -> images a second."""
    make_net = NETS[net]
    torch.manual_seed(0)
    if kind == "plain":
        steps = enough_steps(make_net, batch_size, seconds)
        return {"plain": hand(make_net, same_loader(steps, batch_size), steps)}
    if kind == "per-sample":
        steps = enough_steps(make_net, batch_size, seconds)
        return {"per-sample": hand(make_net, per_sample_loader(steps, batch_size), steps)}
    quiet_allocator()
    found: dict[str, float] = {}
    for precision in ["32"] + (["bf16-mixed"] if gains_by_bfloat16("cpu") else []):
        label = precision.removesuffix("-mixed")
        steps = enough_steps(make_net, batch_size, seconds, precision)
        speeds: dict[str, list[float]] = {"ours": [], "hand": []}
        for turn in range(4):  # ours hand hand ours: a drift of the machine's speed falls on both alike
            who = "ours" if turn in (0, 3) else "hand"
            if who == "ours":
                speeds[who].append(ours(make_net, steps, batch_size, precision))
            else:
                loader = same_loader(steps, batch_size)
                speeds[who].append(hand(make_net, loader, steps, precision, torch.channels_last))
        found |= {f"{who} {label}": statistics.harmonic_mean(values) for who, values in speeds.items()}
    return found


def enough_steps(make_net: Callable[[int], nn.Module], batch_size: int, seconds: float, precision: str = "32") -> int:
    """How many steps take about so long."""
    speed = hand(make_net, same_loader(4, batch_size), 4, precision)
    return max(8, round(seconds * speed / batch_size))


def round_of(net: str, batch_size: int, seconds: float) -> dict[str, float]:
    """Every contender once, in turn, each kind in a process of its own."""
    found: dict[str, float] = {}
    for kind in ("quiet", "plain", "per-sample"):
        command = [sys.executable, "-m", "benchmarks.step", "--piece", kind, "--nets", net]
        command += ["--batch", str(batch_size), "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found |= json.loads(done.stdout.splitlines()[-1])
    return found


def report(net: str, batch_size: int, rounds: list[dict[str, float]]) -> None:
    """Medians over the rounds, and of the ratios within each round."""
    print(f"\n{net}, batch {batch_size}: images/s, median of {len(rounds)} rounds [smallest, largest]")
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        print(f"  {name:<12}{statistics.median(values):>9,.0f}  [{min(values):,.0f}, {max(values):,.0f}]")
    pairs = [("ours 32", "plain"), ("ours bf16", "plain"), ("ours 32", "hand 32"), ("ours bf16", "hand bf16")]
    best = "ours bf16" if "ours bf16" in rounds[0] else "ours 32"
    for a, b in [*pairs, (best, "per-sample")]:
        if a in rounds[0] and b in rounds[0]:
            ratios = [each[a] / each[b] for each in rounds]
            print(f"  {a} / {b}: {statistics.median(ratios):.3f}  [{min(ratios):.3f}, {max(ratios):.3f}]")


def checkpoint_seconds(make_net: Callable[[int], nn.Module]) -> float:
    """What writing a net's weights takes, once an epoch."""
    from cifarlab.training.records.checkpoints import save_weights

    net = make_net(10)
    with tempfile.TemporaryDirectory() as directory:
        since = time.perf_counter()
        save_weights(Path(directory) / "best.ckpt", net)
        return time.perf_counter() - since


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=[*NETS, "resnet18_512"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: see benchmarks.step_on_gpu")
    parser.add_argument("--compiled", nargs="*", default=[], help="with cuda: the nets that are compiled too; all")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each contender in each round")
    parser.add_argument("--where", default="cuda", help=argparse.SUPPRESS)  # cpu: a try without a GPU
    parser.add_argument("--piece", choices=("quiet", "plain", "per-sample"), help=argparse.SUPPRESS)
    arguments: Any = parser.parse_args()
    if arguments.device == "cuda":
        from benchmarks.step_on_gpu import CASES
        from benchmarks.step_on_gpu import report as report_on_gpu

        cases = arguments.nets or list(CASES)
        compiled = cases if arguments.compiled == ["all"] else arguments.compiled
        report_on_gpu(cases, compiled, torch.device(arguments.where), arguments.seconds, arguments.rounds)
        return
    arguments.nets = arguments.nets or ["tiny_vgg", "resnet"]
    if arguments.piece:
        print(json.dumps(piece(arguments.piece, arguments.nets[0], arguments.batch, arguments.seconds)))
        return
    print(f"{device_name(torch.device('cpu'))}, torch {torch.__version__}")
    for net in arguments.nets:
        rounds = [round_of(net, arguments.batch, arguments.seconds) for _ in range(arguments.rounds)]
        report(net, arguments.batch, rounds)
        print(f"  writing the weights, once an epoch: {checkpoint_seconds(NETS[net]):.3f} s")


if __name__ == "__main__":
    main()
