"""The recorded step beside the plain one: on the CPU with stand-ins for CUDA graphs, and with these on a GPU."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.step import RandomPictures
from tests.models.test_every_model import CONFIGS, build
from tests.training.step.stand_in import Again, Tape
from torch import Tensor, nn

from cifarlab.data.augment import Augment, randaugment
from cifarlab.data.augment.colour import Brightness, Jitter
from cifarlab.data.augment.cutout import Cutout
from cifarlab.data.augment.mixing import CutMix, Mixup
from cifarlab.data.augment.randaugment import RandAugment
from cifarlab.data.augment.warp import Rotation, Translation, Zoom
from cifarlab.data.augment.windows import AlternatingFlip, Crop, Flip
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.job.job import Job
from cifarlab.models.gates import SparseGate
from cifarlab.models.resnet import ResNet
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.optimizers import adam, adamw, muon, sgd, timm_optimizer
from cifarlab.training.penalties import ElasticNet, NoPenalty, SparseGates
from cifarlab.training.records.interruption import Interrupted
from cifarlab.training.records.recorder import Recorder
from cifarlab.training.schedules import constant, one_cycle
from cifarlab.training.step import recording
from cifarlab.training.step.classifier import Classifier
from cifarlab.training.step.ema import WeightEMA

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "muon": partial(muon, newton_schulz_dtype="float32"),
}
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
EVERYWHERE = ["cpu", pytest.param("cuda", marks=GPU)]
EASY = {"crop": Crop(padding=4), "flip": Flip()}
AUGMENTS: dict[str, dict[str, Any]] = {
    "easy": EASY | {"cutout": Cutout(size=8)},
    "warped": {
        "alternating_flip": AlternatingFlip(), "rotation": Rotation(), "zoom": Zoom(), "translation": Translation(),
    },
    "coloured": {"brightness": Brightness(), "jitter": Jitter(), "mixup": Mixup(alpha=0.4)},
    "mixed": {"randaugment": RandAugment(), "cutmix": CutMix(weight="picture")},
    "appended": EASY | {"mode": "append", "mixup": Mixup()},
}  # fmt: skip


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, bias=False), SparseGate(8, 0.1),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32, 10),
    )  # fmt: skip


class Losses(Classifier):
    """Notes the loss of every step, as the difference of two sums."""

    def on_train_start(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.before = self.train_means.sums[0].item()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append((self.train_means.sums[0].item() - self.before) / len(batch))


def train(
    folder: Path,
    net: nn.Module,
    *,
    record: bool | str = "auto",
    device: str = "cpu",
    steps: int = 8,
    epochs: int = 1,
    batch_size: int = 4,
    precision: Any = 32,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = lambda net: sgd(net, lr=0.02),
    schedule: Any = constant,
    augment: dict[str, Any] | None = None,
    decay: float | None = None,
    **options: Any,
) -> Losses:
    settings = TrainerSettings(precision=precision, accelerator=device, progress_bar=False)
    average = WeightEMA(decay=decay) if decay else None
    trainer = settings.make(epochs, folder, [average] if average else [])
    count = steps * batch_size // epochs  # and where there are several epochs a smaller last batch and validation
    source = RandomPictures(count if epochs == 1 else 10 * math.ceil((count + 2 + 20) / 10))
    data = ImageData(
        Augment(**(EASY if augment is None else augment)), Seeds.same(0), source=source, batch_size=batch_size,
        eval_batch_size=4, val_fraction=0.0 if epochs == 1 else 20 / source.count,
    )  # fmt: skip
    net = net.to(memory_format=torch.channels_last)
    module = Losses(
        net, optimizer=optimizer, schedule=schedule, average=average, record=record,  # type: ignore[arg-type]
        penalty=options.pop("penalty", NoPenalty()), **options,
    )  # fmt: skip
    torch.manual_seed(0)
    trainer.fit(module, datamodule=data)
    return module


@pytest.fixture(autouse=True)
def same_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, kernels whose sums have one order, in full precision."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Again]], None]:
    """Lets the CPU record, by a stand-in."""

    def choose(graphs: type[Again]) -> None:
        monkeypatch.setattr(recording, "DEVICES", ("cuda", "cpu"))
        monkeypatch.setattr(recording, "Graphs", graphs)
        monkeypatch.setattr(randaugment, "to_the_chosen", randaugment.to_all)

    return choose


@pytest.fixture
def compare(tmp_path: Path, stand_in: Callable[..., None]) -> Callable[..., Losses]:
    """Trains recorded and plain, and finds no difference: on the CPU to the last bit where the calls are the same."""

    def check(make: Callable[[], nn.Module], device: str = "cpu", **options: Any) -> Losses:
        if device == "cuda":
            return agree(
                train(tmp_path, make(), device="cuda", record="auto", **options),
                train(tmp_path, make(), device="cuda", record=False, **options),
                rounding=2e-3,
            )
        plain = train(tmp_path, make(), record=False, **options)
        stand_in(Again)
        again = train(tmp_path, make(), **options)
        stand_in(Tape)
        taped = train(tmp_path, make(), **options)
        agree(taped, again, rounding=0.0)
        return agree(taped, plain, rounding=1e-4)

    return check


def agree(recorded: Losses, plain: Losses, rounding: float) -> Losses:
    assert recorded.not_recorded is None
    assert (recorded.step_kind, plain.step_kind) == ("recorded", "eager" if rounding else "recorded")
    assert len(recorded.losses) == len(plain.losses)
    assert recorded.losses == pytest.approx(plain.losses, rel=rounding, abs=rounding)
    assert len(set(recorded.losses[-3:])) == 3
    for name, value in plain.net.state_dict().items():
        torch.testing.assert_close(
            recorded.net.state_dict()[name], value, rtol=rounding * 10, atol=rounding, msg=lambda text, n=name: n + text
        )
    return recorded


@pytest.mark.parametrize("device", EVERYWHERE)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_model_trains_recorded_as_it_does_plain(name: str, device: str, compare: Callable[..., Losses]) -> None:
    compare(lambda: build(name), device, steps=6)


@pytest.mark.parametrize("device", EVERYWHERE)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_does(name: str, device: str, compare: Callable[..., Losses]) -> None:
    compare(small_net, device, optimizer=lambda net: OPTIMIZERS[name](net, lr=0.01), steps=50, schedule=one_cycle)


@pytest.mark.parametrize("device", EVERYWHERE)
@pytest.mark.parametrize("name", AUGMENTS)
def test_every_augmentation_does(name: str, device: str, compare: Callable[..., Losses]) -> None:
    compare(small_net, device, augment=AUGMENTS[name], steps=24, epochs=3)


@pytest.mark.parametrize("device", EVERYWHERE)
@pytest.mark.parametrize(
    "options",
    [
        {"penalty": ElasticNet(alpha=0.5, lambda_=0.01, layers="all", proximal=True)},
        {"penalty": SparseGates(lambda_=0.01)},
        {"gradient_clip_norm": 0.1},
        {"accumulate_batches": 3},
        {"decay": 0.9},
        {"label_smoothing": 0.2, "top5": True},
        {"precision": "bf16-mixed"},
        {"optimizer": lambda net: muon(net, lr=0.01, normalize=False, newton_schulz_dtype="float32")},
        {"optimizer": lambda net: sgd(net, lr=0.02, momentum=0.0, nesterov=False)},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_part_of_a_step_does(options: dict[str, Any], device: str, compare: Callable[..., Losses]) -> None:
    bf16 = "precision" in options
    if bf16 and device == "cuda":
        pytest.skip("bfloat16 rounds differently from kernel to kernel; benchmarks.step trains so")
    compare(small_net, device, steps=24, epochs=2, schedule=one_cycle, **options)


@pytest.mark.parametrize("device", EVERYWHERE)
def test_response_gates_and_an_answer_from_halfway_do(device: str, compare: Callable[..., Losses]) -> None:
    def gated() -> nn.Module:
        torch.manual_seed(0)
        return ResNet(10, stages=(2,), width=4, gate="response", gate_threshold=4.0, side_weight=0.1)

    trained = compare(gated, device, steps=24)
    assert not torch.equal(trained.net.side[-1].weight.cpu(), gated().side[-1].weight)


@pytest.mark.parametrize("device", EVERYWHERE)
@pytest.mark.parametrize("name", ["sgd", "muon"])
def test_a_momentum_that_moves_is_recorded(name: str, device: str, compare: Callable[..., Losses]) -> None:
    compare(
        small_net, device, steps=24, optimizer=lambda net: OPTIMIZERS[name](net, lr=0.01),
        schedule=lambda optimizer, budget: one_cycle(optimizer, budget, cycle_momentum=True),
    )  # fmt: skip


# Failures


class Asks(nn.Module):
    """A net that waits for the device in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images * (2.0 if images.sum().item() > 1e9 else 1.0))


@pytest.mark.parametrize("device", EVERYWHERE)
def test_a_net_that_cannot_be_recorded_trains_as_if_nobody_had_tried(
    device: str, tmp_path: Path, stand_in: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = train(tmp_path, Asks(), device=device, record=False, steps=12)
    capsys.readouterr()
    if device == "cpu":
        stand_in(Tape)
    failed = train(tmp_path, Asks(), device=device, steps=12)
    assert "recording failed" in (failed.not_recorded or "")
    assert capsys.readouterr().out.count("not recorded: recording failed") == 1
    assert failed.losses == pytest.approx(plain.losses, rel=1e-3)
    with pytest.raises(ValueError, match=r"trainer\.record=true: recording failed"):
        train(tmp_path, Asks(), device=device, record=True, steps=12)
    assert train(tmp_path, small_net(), device=device, steps=12).step_kind == "recorded"  # in the same process


def test_an_optimizer_that_counts_on_the_host_is_not_recorded(tmp_path: Path, stand_in: Callable[..., None]) -> None:
    stand_in(Tape)
    module = train(tmp_path, small_net(), optimizer=lambda net: timm_optimizer(net, name="lamb"))
    assert "Lamb keeps numbers on the host" in (module.not_recorded or "")


class Counts(nn.Module):
    """A net with a number of the host that changes from pass to pass."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()
        self.passes = itertools.count(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images * (-1) ** next(self.passes))


def test_the_tape_repeats_what_the_host_knew_when_it_was_recorded(
    tmp_path: Path, stand_in: Callable[..., None]
) -> None:
    """The stand-in finds a number that a recording freezes, which the other one does not."""
    plain = train(tmp_path, Counts(), record=False, steps=8)
    stand_in(Again)
    assert train(tmp_path, Counts(), steps=8).losses == pytest.approx(plain.losses, rel=1e-4)
    stand_in(Tape)
    assert train(tmp_path, Counts(), steps=8).losses != pytest.approx(plain.losses, rel=1e-4)


# Whole runs


def history(directory: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((directory / "history.csv").open()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


RUNS = {
    "plateau": ("schedule=plateau", "++schedule.patience=0", "++schedule.threshold=0.5", "augment=[crop,flip]"),
    "adam": ("optimizer=adam", "schedule=step", "++dropout=0.2", "augment=[rotation,mixup]"),
    "average": ("optimizer=sgd", "schedule=one_cycle", "++ema=0.9", "++trainer.accumulate_batches=2"),
    "clipped": (
        "optimizer=adamw", "++trainer.gradient_clip_norm=0.1", "penalty=elastic_net", "++penalty.proximal=true",
    ),
    "finetune": (
        "model=transfer", "++model.name=test_resnet", "++model.stages=2", "++model.hidden=[8]", "++dropout=0.2",
        "++finetune.head_epochs=2", "++finetune.lr=0.001", "++lr=0.1",
    ),
}  # fmt: skip


@pytest.fixture
def make_job(compose_job: Callable[..., Job], tiny: tuple[str, ...]) -> Callable[..., Job]:
    """A run of that name of a few epochs, and further overrides."""

    def make(name: str, *overrides: str) -> Job:
        kept = [override for override in tiny if name != "finetune" or "width" not in override]
        return compose_job(*kept, *RUNS[name], "++epochs=5", "++batch_size=16", "++figures=[]", *overrides)

    return make


def stop(job: Job, directory: Path, patch: pytest.MonkeyPatch) -> None:
    """Run, and stop after four epochs."""
    save = Recorder.on_train_epoch_end

    def save_and_stop(self, trainer, module):  # type: ignore[no-untyped-def]
        save(self, trainer, module)
        if trainer.current_epoch == 3:
            raise Interrupted("test")

    patch.setattr(Recorder, "on_train_epoch_end", save_and_stop)
    stopped = job.execute(directory)
    assert stopped.status == "interrupted", stopped.error


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_is_a_plain_one_and_resumes_to_the_digit(
    name: str,
    make_job: Callable[..., Job],
    tmp_path: Path,
    stand_in: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = make_job(name)
    plain = job.execute(tmp_path / "plain")
    stand_in(Again)
    again = job.execute(tmp_path / "again")
    stand_in(Tape)
    taped = job.execute(tmp_path / "taped")
    with monkeypatch.context() as patch:
        stop(job, tmp_path / "stopped", patch)
    resumed = job.execute(tmp_path / "stopped")
    assert (plain.step, again.step, taped.step) == ("eager", "recorded", "recorded")
    assert taped.metrics == again.metrics == resumed.metrics
    assert history(tmp_path / "taped") == history(tmp_path / "again") == history(tmp_path / "stopped")
    assert taped.metrics["train/loss"] == pytest.approx(plain.metrics["train/loss"], rel=1e-3)
    assert rates(tmp_path / "taped") == rates(tmp_path / "plain")
    assert name != "plateau" or len(set(rates(tmp_path / "plain"))) > 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", RUNS)
def test_on_a_gpu_too(name: str, make_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(name, "++trainer.accelerator=gpu", "++trainer.record=true")
    plain = make_job(name, "++trainer.accelerator=gpu", "++trainer.record=false").execute(tmp_path / "plain")
    recorded = job.execute(tmp_path / "recorded")
    with monkeypatch.context() as patch:
        stop(job, tmp_path / "stopped", patch)
    resumed = job.execute(tmp_path / "stopped")
    assert (plain.step, recorded.step, resumed.step) == ("eager", "recorded", "recorded")
    for each in (recorded, resumed):
        assert each.metrics["train/loss"] == pytest.approx(plain.metrics["train/loss"], rel=5e-3)
        assert each.metrics["test/loss"] == pytest.approx(plain.metrics["test/loss"], rel=5e-2)
    assert rates(tmp_path / "recorded") == rates(tmp_path / "plain") == rates(tmp_path / "stopped")


def rates(directory: Path) -> list[float]:
    """The learning rate of each epoch."""
    return [float(row["lr"]) for row in history(directory)]
