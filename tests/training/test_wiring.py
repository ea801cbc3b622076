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
from cifarlab.job import job as jobs
from cifarlab.job.job import Job
from cifarlab.result import Result
from cifarlab.training.finetune import Finetune
from cifarlab.training.recipe import Recipe
from cifarlab.training.schedules import Budget

SmallRun = Callable[..., Result]
WRECKED_FROM = 4


def wrecking(optimizer: Optimizer, budget: Budget) -> dict[str, Any]:
    """A learning rate a thousand times too high from an epoch on."""

    def factor(step: int) -> float:
        return 1.0 if step < WRECKED_FROM * budget.steps_per_epoch else 1000.0

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step", "frequency": 1}


@pytest.fixture(scope="module")
def scripted(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The run that is wrecked at its end: its directory and its result."""
    directory = tmp_path_factory.mktemp("scripted")
    return directory, small_run(
        directory, recipe=Recipe(epochs=6, label_smoothing=0.3, tta="mirror"), schedule=wrecking
    )


@pytest.fixture(scope="module")
def answers(
    scripted: tuple[Path, Result], linear: Callable[[int], nn.Module], digits: Callable[..., ImageData]
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Of the run's best weights, by split: logits of the pictures and of their mirror images, and labels."""
    net = linear(10)
    kept = torch.load(scripted[0] / "checkpoints" / "best.ckpt", weights_only=True)
    net.load_state_dict(kept["state_dict"])
    found = {}
    for split in ("val", "test"):
        with torch.no_grad():
            parts = [(net(images), net(images.flip(3)), labels) for images, labels in digits().batches(split)]
        logits, mirrored, labels = (torch.cat(part) for part in zip(*parts, strict=True))
        found[split] = logits, mirrored, labels
    return found


def history(directory: Path) -> list[dict[str, float]]:
    rows = csv.DictReader((directory / "history.csv").open())
    return [{name: float(value) for name, value in row.items()} for row in rows]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


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
    monkeypatch.setattr(jobs, "run", lambda directory, **named: given.update(named))
    changed = ("++epochs=7", "++label_smoothing=0.1", "++ema=0.9", "++early_stopping=3", "tta=mirror")
    job = tiny_job(*changed, "++finetune.head_epochs=2", "++finetune.lr=0.5", "++seed=4", "++seed_order=5")
    job.execute(tmp_path)
    assert given["recipe"] == Recipe(
        epochs=7, label_smoothing=0.1, ema=0.9, early_stopping=3, finetune=Finetune(head_epochs=2, lr=0.5), tta="mirror"
    )
    assert tuple(given["seeds"]) == (4, 5, 4)
    assert given["identity"] == job.identity
