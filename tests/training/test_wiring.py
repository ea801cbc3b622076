"""What goes where in a run: numbers that would agree by chance are made to differ, and computed again by hand.

The last epochs are wrecked by their learning rate, so that the best epoch is not the last; a digit's mirror image is
another sign, so that the test with both has an accuracy of its own.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cifarlab.data.augment import Augment
from cifarlab.data.augment.mixing import Mixup
from cifarlab.data.module import ImageData
from cifarlab.job.job import Job
from cifarlab.result import Result
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.penalties import ElasticNet
from cifarlab.training.recipe import Finetune, Recipe
from cifarlab.training.schedules import Budget

SmallRun = Callable[..., Result]
WRECKED_FROM = 4
PENALTY = ElasticNet(alpha=0.0, lambda_=0.001)


def wrecking(optimizer: Optimizer, budget: Budget) -> dict[str, Any]:
    """A learning rate a thousand times too high from an epoch on."""

    def factor(step: int) -> float:
        return 1.0 if step < WRECKED_FROM * budget.steps_per_epoch else 1000.0

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step", "frequency": 1}


@pytest.fixture(scope="module")
def scripted(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The run that is wrecked at its end: its directory and its result."""
    directory = tmp_path_factory.mktemp("scripted")
    recipe = Recipe(epochs=6, label_smoothing=0.3, tta="mirror")
    return directory, small_run(directory, recipe=recipe, schedule=wrecking, penalty=PENALTY)


@pytest.fixture(scope="module")
def answers(
    scripted: tuple[Path, Result], linear: Callable[[int], nn.Module], digits: Callable[..., ImageData]
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Of the run's best weights, by split: logits of the pictures and of their mirror images, and labels."""
    net = linear(10)
    net.load_state_dict(kept_weights(scripted[0]))
    found = {}
    for split in ("val", "test"):
        with torch.no_grad():
            parts = [(net(images), net(images.flip(3)), labels) for images, labels in digits().batches(split)]
        logits, mirrored, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        found[split] = logits, mirrored, labels
    return found


def kept_weights(directory: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(directory / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return state


def history(directory: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((directory / "history.csv").open())
    return [{name: float(value) for name, value in row.items()} for row in rows]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


def test_the_penalty_is_that_of_the_tested_weights(scripted: tuple[Path, Result]) -> None:
    directory, result = scripted
    (weight,) = (value for value in kept_weights(directory).values() if value.ndim == 2)
    assert result.metrics["penalty"] == pytest.approx(0.001 * weight.square().sum().item(), rel=1e-5)
    assert history(directory)[-1]["penalty"] > 2 * result.metrics["penalty"]


Answers = dict[str, tuple[Tensor, Tensor, Tensor]]


def test_the_script_makes_every_number_differ(scripted: tuple[Path, Result]) -> None:
    directory, result = scripted
    names = ("train/acc", "val/acc", "test/acc", "test/acc_tta")
    assert len({round(result.metrics[name], 6) for name in names}) == len(names)
    last = history(directory)[-1]
    assert all(abs(last[name] - result.metrics[name]) > 0.02 for name in ("train/acc", "val/acc"))


def test_the_best_epochs_weights_are_kept_tested_and_reported(scripted: tuple[Path, Result], answers: Answers) -> None:
    directory, result = scripted
    rows = history(directory)
    assert result.selected is not None
    epoch = result.selected["epoch"]
    assert epoch < WRECKED_FROM
    assert rows[epoch]["val/acc"] == max(row["val/acc"] for row in rows)
    names = ("train/loss", "train/acc", "val/loss", "val/acc")
    assert {name: result.metrics[name] for name in names} == {name: rows[epoch][name] for name in names}
    logits, mirrored, labels = answers["test"]
    assert result.metrics["test/acc"] == pytest.approx(accuracy(logits, labels), abs=1e-12)
    assert result.metrics["test/acc_tta"] == pytest.approx(accuracy(logits + mirrored, labels), abs=1e-12)
    logits, _, labels = answers["val"]
    assert result.metrics["val/acc"] == pytest.approx(accuracy(logits, labels), abs=1e-12)


@pytest.mark.parametrize("split", ["val", "test"])
def test_validation_and_test_losses_are_without_label_smoothing(
    scripted: tuple[Path, Result], answers: Answers, split: str
) -> None:
    measured = scripted[1].metrics[f"{split}/loss"]
    logits, _, labels = answers[split]
    assert measured == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert abs(F.cross_entropy(logits, labels, label_smoothing=0.3).item() / measured - 1) > 0.01


class Remembering(nn.Module):
    """A linear net that keeps what it answered in training."""

    answers: ClassVar[list[Tensor]] = []

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        if self.training:
            self.answers.append(logits.detach())
        return logits


@pytest.mark.parametrize("augment", [None, Augment(mixup=Mixup())], ids=["hard", "mixed"])
def test_the_training_loss_is_smoothed_for_hard_and_for_mixed_labels(
    small_run: SmallRun, digits: Callable[..., ImageData], tmp_path: Path, augment: Augment | None
) -> None:
    """(1 - s) times the plain loss, and s times the mean of -log p over the classes; the net learns nothing."""
    losses = {}
    for smoothing in (0.0, 0.25):
        Remembering.answers.clear()
        recipe = Recipe(epochs=1, label_smoothing=smoothing)
        data = digits(augment=augment)
        result = small_run(tmp_path / str(smoothing), lr=1e-30, recipe=recipe, data=data, net=Remembering)
        losses[smoothing] = result.metrics["train/loss"]
    uniform = -torch.cat(Remembering.answers).log_softmax(1).mean().item()
    assert losses[0.25] == pytest.approx(0.75 * losses[0.0] + 0.25 * uniform, rel=1e-5)
    assert abs(uniform / losses[0.0] - 1) > 0.001


def test_a_job_hands_over_its_whole_recipe(
    tiny_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("cifarlab.training.run.run", lambda directory, **named: given.update(named))
    changed = ("++epochs=7", "++label_smoothing=0.1", "++ema=0.9", "++early_stopping=3", "tta=mirror")
    job = tiny_job(*changed, "++finetune.head_epochs=2", "++finetune.lr=0.5", "++seed=4", "++seed_order=5")
    job.execute(tmp_path)
    assert given["recipe"] == Recipe(
        epochs=7, label_smoothing=0.1, ema=0.9, early_stopping=3, finetune=Finetune(head_epochs=2, lr=0.5), tta="mirror"
    )
    assert tuple(given["seeds"]) == (4, 5, 4)
    assert given["identity"] == job.identity


def on_cpu(**given: Any) -> TrainerSettings:
    return TrainerSettings(accelerator="cpu", progress_bar=False, **({"precision": 32} | given))


def test_gradients_of_two_batches_make_the_step_of_one_of_both(
    small_run: SmallRun, digits: Callable[..., ImageData], tmp_path: Path
) -> None:
    halves = small_run(tmp_path / "halves", trainer=on_cpu(accumulate_batches=2))
    whole = small_run(tmp_path / "whole", data=digits(batch_size=100))
    plain = small_run(tmp_path / "plain")
    assert halves.metrics == pytest.approx(whole.metrics, rel=1e-4)
    assert abs(plain.metrics["train/loss"] / whole.metrics["train/loss"] - 1) > 0.01


@pytest.mark.parametrize(("batches", "steps"), [(1, 4), (2, 2), (3, 2)])
def test_a_schedule_is_told_of_optimizer_steps(small_run: SmallRun, tmp_path: Path, batches: int, steps: int) -> None:
    told: list[Budget] = []

    def schedule(optimizer: Optimizer, budget: Budget) -> dict[str, Any]:
        told.append(budget)
        return wrecking(optimizer, budget)

    small_run(tmp_path, schedule=schedule, trainer=on_cpu(accumulate_batches=batches))
    assert told == [Budget(epochs=2, steps_per_epoch=steps)]


def test_gradients_are_clipped(small_run: SmallRun, tmp_path: Path) -> None:
    """To a norm of almost nothing, so that every epoch is the first."""
    small_run(tmp_path / "clipped", trainer=on_cpu(gradient_clip_norm=1e-20))
    first, second = history(tmp_path / "clipped")
    assert first["train/loss"] == pytest.approx(second["train/loss"], rel=1e-4)
    small_run(tmp_path / "plain")
    first, second = history(tmp_path / "plain")
    assert abs(first["train/loss"] / second["train/loss"] - 1) > 0.01


def test_deterministic_operations_are_asked_for(tmp_path: Path) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    try:
        on_cpu(deterministic=True).make(1, tmp_path)
        assert torch.are_deterministic_algorithms_enabled()
        on_cpu().make(1, tmp_path)
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before)


class Small(nn.Module):
    """A convolution, whose memory format the test looks at."""

    formats: ClassVar[list[bool]] = []

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, num_classes, 4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        self.formats.append(self.convolution.weight.is_contiguous(memory_format=torch.channels_last))
        return self.convolution(images).mean((2, 3))


@pytest.mark.parametrize("channels_last", [True, False])
def test_weights_are_channels_last_where_asked(small_run: SmallRun, tmp_path: Path, channels_last: bool) -> None:
    Small.formats.clear()
    small_run(tmp_path, net=Small, trainer=on_cpu(channels_last=channels_last))
    assert set(Small.formats[1:]) == {channels_last}  # the first is the count of its cost


def test_the_record_says_what_was_used_and_counted(small_run: SmallRun, tmp_path: Path) -> None:
    settings = on_cpu(precision="auto")
    result = small_run(tmp_path, trainer=settings, recipe=Recipe(epochs=1))
    assert result.precision == settings.resolved_precision != "auto"
    assert (result.parameters, result.flops) == (192 * 10 + 10, 2 * 192 * 10)
    assert (result.epochs, result.sittings) == (1, 1)


class BlindInEvaluation(nn.Module):
    """Learns, and answers every validation alike."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images.flatten(1))
        return logits if self.training else 0 * logits


def test_early_stopping_counts_epochs_without_a_better_validation_loss(small_run: SmallRun, tmp_path: Path) -> None:
    """The first is the best, and so many come after it, however well training goes."""
    recipe = Recipe(epochs=9, early_stopping=3)
    result = small_run(tmp_path, net=BlindInEvaluation, lr=0.001, recipe=recipe)
    assert (result.status, result.epochs) == ("finished", 4)
    losses = [row["train/loss"] for row in history(tmp_path)]
    assert losses == sorted(losses, reverse=True)
