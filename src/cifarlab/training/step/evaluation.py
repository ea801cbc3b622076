"""A trained net on a split: metrics, confusion matrix, report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lightning import Trainer
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from cifarlab.data.module import ImageData
from cifarlab.training.divergence import refuse_broken_metrics
from cifarlab.training.step.arithmetic import right_within
from cifarlab.training.step.classifier import Classifier


@dataclass(frozen=True)
class Evaluation:
    """What a net does with a test split.

    Attributes:
        metrics: ``test/loss test/acc test/precision_macro test/recall_macro test/f1_macro``, from 100 classes on
            ``test/acc_top5``, and ``test/acc_tta`` where test-time augmentation is on.
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
        """Precision, recall, F1 and support of every class that has pictures, as scikit-learn prints them.

        Classes without are named below, and count in no mean.
        """
        from sklearn.metrics import classification_report  # half a second at every start of the program

        present = self.labels.unique().tolist()
        table = classification_report(
            self.labels.numpy(),
            self.predictions.numpy(),
            labels=present,
            target_names=[self.classes[label] for label in present],
            digits=4,
            zero_division=0,
        )
        absent = [name for label, name in enumerate(self.classes) if label not in present]
        if not absent:
            return str(table)
        count = f"{len(absent)} of {len(self.classes)} classes have no test pictures and count in no mean"
        return f"{table}\n{count}: {', '.join(absent)}\n"


def evaluate(classifier: Classifier, data: ImageData, trainer: Trainer) -> Evaluation:
    """Run the test split once through the net as it is.

    Raises:
        Diverged: the loss is NaN or infinite.
    """
    trainer.test(classifier, datamodule=data, verbose=False)
    measured = {name: value for name, value in classifier.measured.items() if name.startswith("test/")}
    refuse_broken_metrics(measured, "in the test")
    logits, labels = classifier.test_outputs()
    return Evaluation(
        metrics=measured | macro_averages(logits, labels) | accuracy_by_origin(logits, labels, data),
        labels=labels,
        logits=logits,
        classes=data.classes,
    )


def macro_averages(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Precision, recall and F1, each the plain mean over the classes that have pictures in the split, as fractions.

    A class of these that is never predicted has precision and F1 of 0. One without pictures has no recall and counts
    in no mean, as in scikit-learn's balanced accuracy; pictures that are taken for it are wrong all the same.
    """
    from sklearn.metrics import precision_recall_fscore_support

    predictions = logits.argmax(dim=1).numpy()
    averages = precision_recall_fscore_support(
        labels.numpy(), predictions, labels=labels.unique().tolist(), average="macro", zero_division=0
    )
    names = ("precision", "recall", "f1")
    return {f"test/{name}_macro": float(value) for name, value in zip(names, averages, strict=False)}


def accuracy_by_origin(logits: Tensor, labels: Tensor, data: ImageData) -> dict[str, float]:
    """Test accuracy by where the pictures come from, as ``test/acc_ORIGIN``, for a data set of several origins.

    Empty for any other, and where several devices have shared the split and mixed its order.
    """
    origins = data.source.origins
    if not origins or (data.trainer is not None and data.trainer.world_size > 1):
        return {}
    origin = data.split("test").extra["origin"].cpu()
    correct = right_within(logits, labels).double()
    parts = {name: correct[origin == number] for number, name in enumerate(origins)}
    return {f"test/acc_{name}": part.mean().item() for name, part in parts.items() if len(part)}
