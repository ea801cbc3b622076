"""Measures of confidence against formulas, scikit-learn, torchmetrics and nets whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss, precision_recall_fscore_support
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from cifarlab.evaluation.calibration import (
    BINS,
    answers,
    by_class,
    calibration,
    fit_temperature,
    measures,
    reliability,
)


def drawn(pictures: int, classes: int = 5, *, sharper: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits times `sharper`, and labels drawn from their softmax as they were before: calibrated at `sharper`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(pictures, classes, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    return logits * sharper, labels


def test_measures_are_those_of_others() -> None:
    logits, labels = drawn(1001, sharper=2.0)
    shares = logits.double().softmax(dim=1)
    found = measures(logits, labels)
    assert found["nll"] == pytest.approx(log_loss(labels.numpy(), shares.numpy()), rel=1e-9)
    apart = [brier_score_loss((labels == kind).numpy(), shares[:, kind].numpy()) for kind in range(5)]
    assert found["brier"] == pytest.approx(sum(apart), rel=1e-9)
    confidence, right = answers(logits, labels)
    by_width = reliability(confidence, right, equal="width")
    theirs = multiclass_calibration_error(shares, labels, 5, n_bins=BINS, norm="l1").item()
    assert by_width.error == pytest.approx(theirs, abs=1e-6)  # theirs in float32
    assert found["ece_width"] == theirs


def test_bins_of_equal_mass_are_stretches_of_the_sorted_pictures() -> None:
    logits, labels = drawn(900)
    confidence, right = answers(logits, labels)
    order = np.argsort(confidence.numpy())
    parts = [(confidence.numpy()[part], right.numpy()[part]) for part in np.split(order, BINS)]
    expected = np.mean([abs(sure.mean() - hits.mean()) for sure, hits in parts])
    found = reliability(confidence, right)
    assert found.pictures.tolist() == [60] * BINS
    assert found.error == pytest.approx(expected, rel=1e-9)


def test_equal_confidences_share_a_bin() -> None:
    """Else the order of the pictures would decide which of them make a bin, and with it the error."""
    confidence = torch.tensor([0.6] * 10 + [1.0] * 90)
    right = torch.tensor([True, False] * 5 + [True] * 45 + [False] * 45)
    found = reliability(confidence, right)
    assert found.pictures.tolist() == [10, 90]
    assert found.error == pytest.approx(0.1 * 0.1 + 0.9 * 0.5, abs=1e-6)
    assert reliability(confidence, right.flip(0).roll(10)).error == pytest.approx(found.error, abs=1e-6)


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_sharpened_the_logits(sharper: float) -> None:
    logits, labels = drawn(20_000, sharper=sharper)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(sharper, rel=0.03)
    scaled = (logits.double() / temperature).requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(scaled, labels), scaled)
    assert abs((slope * scaled).sum().item()) < 1e-6  # d loss / d log temperature
    assert measures(logits, labels, temperature)["ece"] < 0.02


def test_the_temperature_is_of_validation_alone() -> None:
    val, test = drawn(2000, sharper=2.0), drawn(2000, sharper=2.0, seed=1)
    found = calibration(val, test)
    assert found["temperature"] == fit_temperature(*val) != fit_temperature(*test)
    assert found["test/nll_scaled"] == measures(*test, found["temperature"])["nll"] < found["test/nll"]
    without = calibration(None, test)
    assert without == {name: value for name, value in found.items() if name in without}
    assert set(without) == {"test/nll", "test/brier", "test/ece", "test/ece_width"}


def test_a_row_a_class() -> None:
    logits, labels = drawn(3000)
    logits[:, 4] = -50  # never guessed
    rows = by_class(logits, labels, tuple("abcde"))
    precision, recall, _, support = precision_recall_fscore_support(
        labels.numpy(), logits.argmax(dim=1).numpy(), labels=range(5), zero_division=np.nan
    )
    assert [row["pictures"] for row in rows] == support.tolist()
    np.testing.assert_allclose([row["recall"] for row in rows], recall)
    np.testing.assert_allclose([row["precision"] for row in rows], precision)
    never = rows[4]
    assert never["ece"] == pytest.approx((labels == 4).double().mean().item(), abs=1e-9)
