"""Macro averages, report and accuracy by origin against independent computations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cifarlab.data.augment import Augment
from cifarlab.data.cinic import CINIC10
from cifarlab.data.digits import Digits
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.training.step.evaluation import Evaluation, accuracy_by_origin, macro_averages


@pytest.fixture
def evaluation() -> Evaluation:
    """200 pictures of 4 classes, one of which is never predicted."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (200,), generator=generator)
    logits = torch.randn(200, 4, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 4)
    logits[:, 3] = -100.0
    return Evaluation({}, labels, logits, ("a", "b", "c", "d"))


def test_macro_averages_follow_from_the_confusion_matrix(evaluation: Evaluation) -> None:
    matrix = evaluation.confusion.astype(float)
    hits = np.diag(matrix)
    predicted, actual = matrix.sum(axis=0), matrix.sum(axis=1)
    precision = np.divide(hits, predicted, out=np.zeros(4), where=predicted > 0)
    recall = hits / actual
    f1 = np.divide(2 * precision * recall, precision + recall, out=np.zeros(4), where=precision + recall > 0)
    found = macro_averages(evaluation.logits, evaluation.labels)
    assert found["test/precision_macro"] == pytest.approx(precision.mean(), abs=1e-12)
    assert found["test/recall_macro"] == pytest.approx(recall.mean(), abs=1e-12)
    assert found["test/f1_macro"] == pytest.approx(f1.mean(), abs=1e-12)


def test_a_class_without_pictures_counts_in_no_mean() -> None:
    """Four pictures of a and b; one a is taken for b, one b for c, of which there is no picture; d is never met."""
    logits = torch.eye(4)[[0, 1, 1, 2]]
    labels = torch.tensor([0, 0, 1, 1])
    found = macro_averages(logits, labels)
    # Precision of a 1/1, of b 1/2; recall of both 1/2; F1 2/3 and 1/2.
    assert found["test/precision_macro"] == pytest.approx(3 / 4)
    assert found["test/recall_macro"] == pytest.approx(1 / 2)
    assert found["test/f1_macro"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    report = Evaluation({}, labels, logits, ("a", "b", "c", "d")).report()
    assert [line.split()[0] for line in report.splitlines() if line.split()[1:2] in (["1.0000"], ["0.5000"])] == [
        "a",
        "b",
    ]
    (average,) = (line.split() for line in report.splitlines() if line.startswith("   macro avg"))
    assert average[2:5] == ["0.7500", "0.5000", "0.5833"]
    assert report.endswith("2 of 4 classes have no test pictures and count in no mean: c, d\n")


def test_a_class_that_is_never_predicted_counts_as_nought() -> None:
    found = macro_averages(torch.eye(2)[[0, 0, 0]], torch.tensor([0, 0, 1]))
    assert found["test/precision_macro"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["test/recall_macro"] == pytest.approx(1 / 2)


def test_rows_of_the_confusion_matrix_are_true_classes(evaluation: Evaluation) -> None:
    expected = [[0] * 4 for _ in range(4)]
    for label, prediction in zip(evaluation.labels.tolist(), evaluation.predictions.tolist(), strict=True):
        expected[label][prediction] += 1
    assert evaluation.confusion.tolist() == expected


def test_the_report_names_classes_and_support(evaluation: Evaluation) -> None:
    row = next(line for line in evaluation.report().splitlines() if line.split()[:1] == ["d"])
    assert row.split() == ["d", "0.0000", "0.0000", "0.0000", str(int((evaluation.labels == 3).sum()))]


def png(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (value, value, value)).save(path)


def test_accuracy_by_origin_goes_by_the_pictures_names(tmp_path: Path) -> None:
    names = ("cifar10-train-1.png", "cifar10-test-2.png", "n02_3.png")
    for folder in ("train", "valid", "test"):
        for label in ("cat", "dog"):
            for name in names:
                png(tmp_path / folder / label / name, 100)
    data = ImageData(Augment(), Seeds.same(0), source=CINIC10(), root=str(tmp_path))
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    # Right about every ImageNet picture and one of CIFAR's four: each class has two of CIFAR before one of ImageNet.
    predicted = torch.tensor([0, 1, 0, 0, 0, 1])
    logits = torch.nn.functional.one_hot(predicted, 2).float()
    found = accuracy_by_origin(logits, labels, data)
    assert found == {"test/acc_cifar": 0.25, "test/acc_imagenet": 1.0}


def test_a_set_of_one_origin_has_no_accuracies_by_it() -> None:
    data = ImageData(Augment(), Seeds.same(0), source=Digits(), limit=10)
    assert accuracy_by_origin(torch.zeros(10, 10), torch.zeros(10, dtype=torch.int64), data) == {}
