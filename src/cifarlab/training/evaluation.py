"""A trained net on a split: metrics, confusion matrix, report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from lightning import Trainer
from numpy.typing import NDArray
from sklearn.metrics import classification_report
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from cifarlab.data.module import ImageData
from cifarlab.training.classifier import Classifier


@dataclass(frozen=True)
class Evaluation:
    """What a net does with a test split.

    Attributes:
        metrics: ``test/loss test/acc test/precision_macro test/recall_macro test/f1_macro`` and, from 100 classes on,
            ``test/acc_top5``.
        labels: int64 ``(N,)``.
        logits: float32 ``(N, C)``, in the order of the split.
        classes: names in the order of the labels.
    """

    metrics: dict[str, float]
    labels: Tensor
    logits: Tensor
    classes: tuple[str, ...]

    @property
    def predictions(self) -> Tensor:
        """int64 ``(N,)``."""
        return self.logits.argmax(dim=1)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """``(C, C)`` counts, a row a true class, a column a predicted one."""
        return multiclass_confusion_matrix(self.predictions, self.labels, len(self.classes)).numpy()

    def report(self) -> str:
        """Precision, recall, F1 and support of every class, as scikit-learn prints them."""
        return str(
            classification_report(
                self.labels.numpy(),
                self.predictions.numpy(),
                labels=range(len(self.classes)),
                target_names=list(self.classes),
                digits=4,
                zero_division=0,
            )
        )


def evaluate(classifier: Classifier, data: ImageData, trainer: Trainer) -> Evaluation:
    """Run the test split once through the net as it is."""
    trainer.test(classifier, datamodule=data, verbose=False)
    measured = {name: value for name, value in classifier.measured.items() if name.startswith("test/")}
    logits, labels = classifier.test_outputs()
    return Evaluation(
        metrics=measured | macro_averages(logits, labels, data.num_classes),
        labels=labels,
        logits=logits,
        classes=data.classes,
    )


def macro_averages(logits: Tensor, labels: Tensor, num_classes: int) -> dict[str, float]:
    """Precision, recall and F1, each the plain mean over classes, as fractions."""
    predictions = logits.argmax(dim=1)
    averages = {
        "precision": multiclass_precision(predictions, labels, num_classes, average="macro"),
        "recall": multiclass_recall(predictions, labels, num_classes, average="macro"),
        "f1": multiclass_f1_score(predictions, labels, num_classes, average="macro"),
    }
    return {f"test/{name}_macro": float(value.to(torch.float64)) for name, value in averages.items()}
