"""Training speed on a GPU: `train.py`'s own path beside a loop written by hand, eager and recorded in a CUDA graph.

    python -m benchmarks.step --device cuda [--nets tiny_vgg resnet18 ...] [--compiled NETS] [--seconds 2]

Contenders, all with the same net and batch size, crop and flip on the device, SGD with Nesterov momentum, bfloat16 by
autocast and channels_last, on 50,000 random pictures that lie on the device:

    ours, ours compiled             what `train.py` does: Lightning, callbacks of a run, the step recorded
    hand eager                      a plain loop, every operation launched by Python
    hand recorded                   the same step as one CUDA graph
    hand compiled and recorded      the net compiled before

In one process, one after another, the best of `--rounds` turns each; the first 30 steps are not counted. Seconds that
compiling took, in whichever came first (the second finds the code), are in a line of their own.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.step import NETS, RandomPictures
from cifarlab.data.augment import Augment
from cifarlab.data.augment.windows import Crop, Flip
from cifarlab.data.images import ImageSet
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.training.divergence import StopWhenDiverged
from cifarlab.training.hardware.device import device_name
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.optimizers.factories import sgd
from cifarlab.training.penalties import NoPenalty
from cifarlab.training.records.clock import Clock
from cifarlab.training.schedules import one_cycle
from cifarlab.training.step.classifier import Classifier, classifier_of
from cifarlab.training.step.compiling import compiled

COUNT = 50_000
CASES = {
    "tiny_vgg": ("tiny_vgg", 128),
    "resnet": ("resnet", 128),
    "resnet20": ("resnet20", 128),
    "resnet18": ("resnet18", 128),
    "resnet18_512": ("resnet18", 512),
    "speedrun": ("speedrun", 2000),
}
NOT_COUNTED = 30


class Made(RandomPictures):
    """Made once for all contenders."""

    def load(self, root: Path) -> dict[str, ImageSet]:
        return _pictures()


@functools.cache
def _pictures() -> dict[str, ImageSet]:
    return RandomPictures(COUNT).read(Path())


class Stopwatch(Callback):
    """Seconds from one step to the last, the device waited for."""

    def __init__(self, first: int) -> None:
        self.first, self.steps, self.since, self.seconds = first, 0, 0.0, 0.0
        self.alone = ""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.steps += 1
        if self.steps == self.first:
            _wait(pl_module.device)
            self.since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _wait(pl_module.device)
        self.seconds = time.perf_counter() - self.since

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """How fast the recording is without Lightning."""
        recorder = classifier_of(pl_module)._recorder
        for shape in recorder._shapes.values() if recorder is not None else ():
            if shape.replay is not None:
                since = time.perf_counter()
                for _ in range(200):
                    shape.replay()
                _wait(pl_module.device)
                speed = 200 * len(shape.place) / (time.perf_counter() - since)
                self.alone = f"; its recording alone gives {speed:,.0f} images/s"


def ours(net: str, batch_size: int, steps: int, device: torch.device, *, compile: bool) -> tuple[float, str]:
    """Images a second of a run's own Trainer, module, callbacks and loader, and how it ran."""
    settings = TrainerSettings(precision="bf16-mixed", accelerator=device.type, progress_bar=False)  # type: ignore[arg-type]
    watch = Stopwatch(NOT_COUNTED)
    an_epoch = COUNT // batch_size
    with tempfile.TemporaryDirectory() as directory:
        epochs = max(1, round((steps + NOT_COUNTED) / an_epoch))
        trainer = settings.make(epochs, Path(directory), [StopWhenDiverged(), Clock(), watch])
        data = ImageData(
            Augment(crop=Crop(padding=4), flip=Flip()), Seeds.same(0), source=Made(COUNT),
            batch_size=batch_size, val_fraction=0.0, drop_last=True,
        )  # fmt: skip
        module = Classifier(
            NETS[net](10).to(memory_format=torch.channels_last), optimizer=lambda net: sgd(net, lr=0.01),
            schedule=lambda o, b: one_cycle(o, b), penalty=NoPenalty(), compile=compile,  # type: ignore[arg-type, return-value]
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
    counted = (watch.steps - NOT_COUNTED) * batch_size
    return counted / watch.seconds, module.not_recorded or module.step_kind + watch.alone


class Hand:
    """The loop that one would write for speed."""

    def __init__(self, net: str, batch_size: int, device: torch.device, *, record: bool, compile: bool) -> None:
        images = _pictures()["train"]
        self.pictures = images.images.to(device).permute(0, 2, 3, 1).contiguous()
        self.labels = images.labels.to(device)
        self.net: nn.Module = NETS[net](10).to(device, memory_format=torch.channels_last).train()
        self.compile, self.device, self.batch_size = compile, device, batch_size
        lr = torch.tensor(0.01, device=device) if record else 0.01
        weights = [weight for weight in self.net.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.SGD(
            weights, lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=device.type == "cuda"
        )
        self.rows = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self.sums = torch.zeros(2, device=device)
        self.replay: Callable[[], None] | None = self._recorded() if record else None

    def _recorded(self) -> Callable[[], None]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(4):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        return graph.replay

    def step(self) -> None:
        images, labels = self._batch()
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            logits = compiled(self.net, images) if self.compile else self.net(images)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.sums += torch.stack([loss.detach(), (logits.argmax(1) == labels).float().mean()])

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Normalised pictures, cut from 4 pixels of zeros around them and mirrored, each by its own draw."""
        count, places = len(self.rows), torch.arange(32, device=self.device)
        images = (self.pictures[self.rows].float() - 127.0) / 74.0
        images = F.pad(images, (0, 0, 4, 4, 4, 4))
        down, right = (torch.randint(0, 9, (count, 1), device=self.device) + places for _ in range(2))
        mirrored = torch.rand(count, 1, device=self.device) < 0.5
        right = torch.where(mirrored, right.flip(1), right)
        which = torch.arange(count, device=self.device)[:, None, None]
        return images[which, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2), self.labels[self.rows]

    def speed(self, seconds: float) -> float:
        """Images a second over about so long."""
        self._run(NOT_COUNTED)
        steps = max(20, round(seconds / max(self._run(20) / 20, 1e-5)))
        return steps * self.batch_size / self._run(steps)

    def _run(self, steps: int) -> float:
        order = torch.randperm(COUNT, device=self.device)
        an_epoch = COUNT // self.batch_size
        _wait(self.device)
        since = time.perf_counter()
        for number in range(steps):
            first = number % an_epoch * self.batch_size
            self.rows.copy_(order[first : first + self.batch_size])
            if self.replay is not None:
                self.replay()
            else:
                self.step()
        _wait(self.device)
        return time.perf_counter() - since


def compare(case: str, device: torch.device, *, seconds: float, rounds: int, compile: bool) -> dict[str, float]:
    """Contender -> images a second; prints them with what fails and how ours ran."""
    net, batch_size = CASES[case]
    found: dict[str, float] = {}
    variants: dict[str, tuple[bool, bool]] = {"hand eager": (False, False)}
    if device.type == "cuda":
        variants["hand recorded"] = (True, False)
        variants |= {"hand compiled and recorded": (True, True)} if compile else {}
    for name, (record, with_compiler) in variants.items():
        since = time.perf_counter()
        hand = Hand(net, batch_size, device, record=record, compile=with_compiler)
        started = time.perf_counter() - since
        found[name] = max(hand.speed(seconds) for _ in range(rounds))
        del hand
        if with_compiler:
            print(f"{case}: compiling and recording took {started:.1f} s", flush=True)
    fastest = max(found.values())
    for name, with_compiler in ({"ours": False} | ({"ours compiled": True} if compile else {})).items():
        speeds = []
        for _ in range(rounds):
            speed, how = ours(net, batch_size, round(seconds * fastest / batch_size), device, compile=with_compiler)
            speeds.append(speed)
        found[name] = max(speeds)
        print(f"{case}: {name} was {how}", flush=True)
    return found


def report(cases: list[str], compiled_cases: list[str], device: torch.device, seconds: float, rounds: int) -> None:
    """A table of the README's form, a row a case, printed row by row."""
    torch.backends.cudnn.benchmark = device.type == "cuda"
    print(f"{device_name(device)}, torch {torch.__version__}; images/s, best of {rounds} turns of {seconds:g} s")
    names = ["hand eager", "hand recorded", "ours", "hand compiled and recorded", "ours compiled"]
    print("| net, batch | " + " | ".join(names) + " | ours / recorded | ours compiled / compiled and recorded |")
    print("|---" * (len(names) + 3) + "|")
    for case in cases:
        try:
            found = compare(case, device, seconds=seconds, rounds=rounds, compile=case in compiled_cases)
        except Exception as error:  # one net's failure is no reason to lose the others' figures
            print(f"{case}: {type(error).__name__}: {error}", flush=True)
            continue
        shown = [f"{found[name]:,.0f}" if name in found else "" for name in names]
        pairs = (("ours", "hand recorded"), ("ours compiled", "hand compiled and recorded"))
        ratios = [f"{found[a] / found[b]:.2f}" if a in found and b in found else "" for a, b in pairs]
        print(f"| {CASES[case][0]}, {CASES[case][1]} | " + " | ".join([*shown, *ratios]) + " |", flush=True)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
