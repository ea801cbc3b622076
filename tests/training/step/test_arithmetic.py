"""The arithmetic of a step against formulas and torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_accuracy

from cifarlab.training.step.arithmetic import cross_entropy, hard_labels, metric_sums, right_within
from cifarlab.training.step.metrics import EpochMeans


@pytest.fixture
def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Three batches of unequal size: logits (B, 12) and labels (B,)."""
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(size, 12, generator=generator), torch.randint(0, 12, (size,), generator=generator))
        for size in (7, 64, 1)
    ]


def test_cross_entropy_with_smoothing_is_the_formula() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    probabilities = [math.exp(value) for value in (2.0, -1.0, 0.5)]
    log_p = [math.log(value / sum(probabilities)) for value in probabilities]
    target = [0.1 / 3, 0.9 + 0.1 / 3, 0.1 / 3]
    expected = -sum(share * value for share, value in zip(target, log_p, strict=True))
    assert cross_entropy(logits, torch.tensor([1]), 0.1).item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_of_half_precision_logits_is_float32() -> None:
    logits = torch.tensor([[3.0, -1.0]], dtype=torch.bfloat16)
    loss = cross_entropy(logits, torch.tensor([0]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(math.exp(-4)), rel=1e-5)


def test_a_mixed_label_is_its_heavier_class() -> None:
    mixed = torch.tensor([[0.3, 0.7, 0.0], [0.6, 0.4, 0.0]])
    assert hard_labels(mixed).tolist() == [1, 0]
    assert hard_labels(torch.tensor([2, 0])).tolist() == [2, 0]


def test_epoch_means_are_those_of_all_pictures_at_once(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    means = EpochMeans(top5=True)
    for logits, labels in batches:
        means.update(metric_sums(logits, labels, cross_entropy(logits, labels), top5=True))
    logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    measured = means.compute()
    assert measured["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-6)
    assert measured["acc"] == (logits.argmax(1) == labels).double().mean().item()
    top5 = multiclass_accuracy(logits, labels, num_classes=12, average="micro", top_k=5)
    assert measured["acc_top5"] == pytest.approx(top5.item(), abs=1e-7)


def test_metric_sums_hold_no_graph() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
    sums = metric_sums(logits, torch.tensor([0, 1, 2, 0]), loss, top5=True)
    assert not any(value.requires_grad for value in sums)


def test_before_the_first_batch_there_is_no_accuracy() -> None:
    assert math.isnan(EpochMeans().compute()["acc"])


def test_accuracy_agrees_with_scikit_learn_where_nothing_ties() -> None:
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(0, 100, (2000,), generator=generator)
    logits = torch.randn(2000, 100, generator=generator) + 1.5 * torch.nn.functional.one_hot(labels, 100)
    for guesses in (1, 5):
        expected = top_k_accuracy_score(labels.numpy(), logits.numpy(), k=guesses)
        assert right_within(logits, labels, guesses).double().mean().item() == pytest.approx(expected, abs=1e-12)


def test_ties_count_against_the_net() -> None:
    """One class beside the right one: right within two guesses, and not within one."""
    logits = torch.tensor([[1.0, 1.0, 0.0]] * 3, dtype=torch.bfloat16)
    labels = torch.tensor([0, 1, 2])
    assert right_within(logits, labels).tolist() == [False, False, False]
    assert right_within(logits, labels, 2).tolist() == [True, True, False]
    same, label = torch.zeros(1, 100), torch.tensor([3])
    sums = metric_sums(same, label, cross_entropy(same, label), top5=True)
    assert (sums.correct.item(), sums.correct_top5.item()) == (0.0, 0.0)


@pytest.mark.parametrize("where", ["right", "other", "all"])
def test_a_nan_is_never_right(where: str) -> None:
    logits, labels = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([0])
    logits[0, {"right": [0], "other": [1], "all": [0, 1, 2]}[where]] = math.nan
    assert not right_within(logits, labels).item()
    assert right_within(logits, labels, 3).item() == (where == "other")
