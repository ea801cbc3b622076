"""Runs joined: formulas by hand, and what is chosen on validation alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cifarlab.evaluation.calibration import fit_temperature, measures
from cifarlab.evaluation.ensembles import (
    Member,
    accuracy,
    best_settings,
    by_setting,
    describe,
    disagreement,
    growth,
    join,
)

LABELS = torch.arange(600) % 4


def answered(strength: float, seed: int, labels: Tensor = LABELS) -> tuple[Tensor, Tensor]:
    """Logits that lean towards the labels."""
    noise = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(seed))
    return noise + strength * torch.nn.functional.one_hot(labels, 4), labels


def member(setting: str, seed: int, val: float, test: float) -> Member:
    return Member(f"{setting}-{seed}", setting, answered(val, seed), answered(test, 1000 + seed))


def test_an_ensemble_is_the_mean_of_its_members_probabilities() -> None:
    members = [member("a", seed, 1.0, 1.0) for seed in range(3)]
    together = join(members)
    assert together.val is not None
    mean = torch.stack([each.test[0].double().softmax(dim=1) for each in members]).mean(0)
    torch.testing.assert_close(together.test[0].exp(), mean)
    row = describe(members)
    right = (mean.argmax(dim=1) == LABELS).double().mean().item()
    alone = np.mean([(each.test[0].argmax(dim=1) == LABELS).double().mean().item() for each in members])
    assert row["test/acc"] == pytest.approx(right)
    assert row["test/gain"] == pytest.approx(right - alone)
    assert row["test/gain"] > 0.03  # type: ignore[operator]
    assert row["test/nll"] == pytest.approx(-mean[torch.arange(600), LABELS].log().mean().item())
    assert row["temperature"] == fit_temperature(*together.val)
    assert row["test/ece_scaled"] == measures(*together.test, float(row["temperature"]))["ece"]


def test_diversity_is_how_often_two_members_differ() -> None:
    guesses = [torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 2, 0])]
    logits = [torch.nn.functional.one_hot(each, 4).float() for each in guesses]
    members = [Member("x", "a", None, (each, torch.arange(4))) for each in logits]
    assert disagreement(members) == pytest.approx((1 / 4 + 2 / 4 + 1 / 4) / 3)
    assert np.isnan(disagreement(members[:1]))


def test_settings_are_ranked_and_joined_by_validation_alone() -> None:
    weak = [member("weak", seed, 0.1, 9.0) for seed in range(2)]  # the best there is on test
    good = [member("good", seed, 1.0, 0.5) for seed in range(10, 12)]
    fair = [member("fair", seed, 0.9, 0.1) for seed in range(20, 22)]
    settings = by_setting([*weak, *fair, *good])
    assert list(settings) == ["good", "fair", "weak"]
    best = best_settings(settings)
    assert best is not None
    assert {each.setting for each in best} == {"good", "fair"}
    assert best_settings({"good": good}) is None
    unknown = [Member(each.name, each.setting, None, each.test) for each in (*weak, *good)]
    assert list(by_setting(unknown)) == ["weak", "good"]  # as met
    assert best_settings(by_setting(unknown)) is None


def test_members_of_different_validation_splits_share_none() -> None:
    here, there = member("a", 0, 1.0, 1.0), member("a", 1, 1.0, 1.0)
    other = Member("a-1", "a", answered(1.0, 1, LABELS.roll(1)), there.test)
    assert join([here, other]).val is None
    row = describe([here, other])
    assert np.isnan(row["val/acc"])  # type: ignore[arg-type]
    assert "temperature" not in row


def test_growth_is_over_all_subsets_of_each_size() -> None:
    members = [member("a", seed, 1.0, 1.0) for seed in range(3)]
    grown = growth("a", members)
    alone = [accuracy(each.test) for each in members]
    pairs = [accuracy(join([members[a], members[b]]).test) for a, b in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(grown.mean, [np.mean(alone), np.mean(pairs), accuracy(join(members).test)])
    np.testing.assert_allclose(grown.sd, [np.std(alone, ddof=1), np.std(pairs, ddof=1), 0])
    many = [member("b", seed, 1.0, 1.0) for seed in range(8)]
    assert np.array_equal(growth("b", many).mean, growth("b", many).mean)  # what is drawn is seeded
