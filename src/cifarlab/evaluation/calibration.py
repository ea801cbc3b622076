"""Is a net's confidence worth anything: how far its probabilities are from the shares of right answers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from cifarlab.training.step.arithmetic import right_within

BINS = 15  # Guo et al. 2017
TEMPERATURES = (0.05, 20.0)  # between which the best one is looked for
# What each measure is, as evaluation.json and the documents say it.
MEASURES = {
    "nll": "negative log-likelihood of the true class, in nats, the mean over pictures",
    "brier": "squared distance of the probabilities from the true class's one-hot vector, summed over classes",
    "ece": f"expected calibration error over {BINS} bins of equally many pictures; equal confidences share a bin",
    "ece_width": f"the same over {BINS} bins of equal width (Guo et al. 2017)",
}


class Reliability(NamedTuple):
    """Pictures in bins of similar confidence; bins without a picture are left out.

    Attributes:
        pictures: int64 ``(B,)``, their number.
        confidence: float64 ``(B,)``, the mean in each bin.
        accuracy: float64 ``(B,)``, the share of right answers.
    """

    pictures: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Mean distance of confidence and accuracy, each bin weighted by its pictures."""
        return float(np.average(np.abs(self.confidence - self.accuracy), weights=self.pictures))


def reliability(confidence: Tensor, right: Tensor, *, equal: str = "mass") -> Reliability:
    """Sort pictures into `BINS` bins by confidence.

    Args:
        confidence: float ``(N,)`` in [0, 1].
        right: bool ``(N,)``.
        equal: ``mass`` for bins of equally many pictures, where those of equal confidence are never parted; ``width``
            for intervals ``(k/15, (k+1)/15]``.
    """
    sure, hits = confidence.double().numpy(), right.double().numpy()
    if equal == "mass":
        ranks = np.searchsorted(np.sort(sure), sure, side="left")
        places = ranks * BINS // len(sure)
    else:
        places = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    count = np.bincount(places, minlength=BINS)
    kept = count > 0
    means = (np.bincount(places, each, minlength=BINS)[kept] / count[kept] for each in (sure, hits))
    return Reliability(count[kept], *means)


def answers(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Confidence of the first guess, float64 ``(N,)``, and whether it is right, bool ``(N,)``."""
    return (logits.double() / temperature).softmax(dim=1).amax(dim=1), right_within(logits, labels)


def measures(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> dict[str, float]:
    """Each of `MEASURES`, of ``softmax(logits / temperature)``.

    Args:
        logits: float ``(N, C)``.
        labels: int64 ``(N,)``.
        temperature: above 0.
    """
    scaled = logits.double() / temperature
    probabilities = scaled.softmax(dim=1)
    truth = F.one_hot(labels, logits.shape[1])
    confidence, right = answers(logits, labels, temperature)
    width = multiclass_calibration_error(probabilities, labels, logits.shape[1], n_bins=BINS, norm="l1")
    return {
        "nll": F.cross_entropy(scaled, labels).item(),
        "brier": (probabilities - truth).square().sum(dim=1).mean().item(),
        "ece": reliability(confidence, right).error,
        "ece_width": width.item(),
    }


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that makes held-out labels likeliest (Guo et al. 2017, "On Calibration of Modern Neural
    Networks", section 4.2); within `TEMPERATURES`.

    Args:
        logits: float ``(N, C)``, of pictures that the net was not trained on.
        labels: int64 ``(N,)``.
    """
    exact = logits.double()

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(exact / np.exp(log_temperature), labels).item()

    # Convex in 1 / temperature, so there is one minimum.
    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def calibration(val: tuple[Tensor, Tensor] | None, test: tuple[Tensor, Tensor]) -> dict[str, float]:
    """``temperature``, and every measure of both splits as they are and, by the name ``..._scaled``, at it.

    Args:
        val: logits and labels of the validation split, which the temperature is fitted on; without one nothing is.
        test: of the test split, which it is only applied to.
    """
    temperature = fit_temperature(*val) if val is not None else None
    found = {} if temperature is None else {"temperature": temperature}
    for split, answered in (("val", val), ("test", test)):
        if answered is None:
            continue
        found |= {f"{split}/{name}": value for name, value in measures(*answered).items()}
        if temperature is not None:
            scaled = measures(*answered, temperature)
            found |= {f"{split}/{name}_scaled": value for name, value in scaled.items()}
    return found


def by_class(logits: Tensor, labels: Tensor, classes: tuple[str, ...]) -> list[dict[str, float | str]]:
    """A row a class: its pictures, how many of them are found, and how far its own probability is from the truth.

    ``ece`` is of "is it this class?" for every picture, in bins of equally many (Kull et al. 2019, arXiv 1910.12656,
    section 2: classwise calibration); ``confidence`` is the mean where the class was the first guess, ``precision`` the
    share of these that were right, NaN where it never was.
    """
    probabilities = logits.double().softmax(dim=1)
    guessed = logits.argmax(dim=1)
    rows: list[dict[str, float | str]] = []
    for label, name in enumerate(classes):
        own, first = labels == label, guessed == label
        error = reliability(probabilities[:, label], own).error
        rows.append(
            {
                "class": name,
                "pictures": int(own.sum()),
                "recall": (first & own).sum().item() / max(int(own.sum()), 1),
                "precision": (first & own).sum().item() / n if (n := int(first.sum())) else float("nan"),
                "confidence": probabilities[first, label].mean().item(),
                "ece": error,
            }
        )
    return rows
