"""Harder training splits: sizes and shares by formula, and val and test untouched."""

import numpy as np
import pytest
import torch

from cifarlab.data.augment import Augment
from cifarlab.data.digits import Digits
from cifarlab.data.handicaps import Handicap
from cifarlab.data.images import ImageSet
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds

NAMES = tuple("abcdefghij")


def balanced(per_class, classes=10):
    return torch.arange(per_class * classes) % classes


# Cui et al. 2019 and Cao et al. 2019 train on these: 5000 * factor ** (i / 9), rounded down.
@pytest.mark.parametrize(
    ("factor", "sizes"),
    [
        (0.01, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),
        (0.1, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),
        (0.02, [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]),
        (1.0, [5000] * 10),
    ],
)
def test_a_long_tail_has_the_sizes_of_the_literature(factor, sizes):
    labels = balanced(5000)
    kept = Handicap(imbalance=factor).kept(labels, NAMES)
    assert labels[kept].bincount(minlength=10).tolist() == sizes
    assert torch.equal(kept, kept.sort().values)
    assert len(kept.unique()) == sum(sizes)


def test_the_last_of_a_hundred_classes_has_its_share_whatever_the_rounding():
    for factor in (0.01, 0.02, 0.05, 0.1, 0.29, 0.58):
        sizes = Handicap(imbalance=factor).sizes(np.full(100, 500))
        assert (sizes[0], sizes[-1]) == (500, round(500 * factor))
        assert (np.diff(sizes) <= 0).all()


def test_a_class_that_is_smaller_than_its_place_in_the_tail_keeps_all():
    assert Handicap(imbalance=0.25).sizes(np.array([10, 100, 100])).tolist() == [10, 50, 25]


def test_few_pictures_a_class_are_nested_and_depend_on_the_seed_alone():
    labels = balanced(50)[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
    few, more = (Handicap(per_class=count).kept(labels, NAMES) for count in (5, 25))
    assert labels[few].bincount().tolist() == [5] * 10
    assert labels[more].bincount().tolist() == [25] * 10
    assert set(few.tolist()) < set(more.tolist())
    assert torch.equal(few, Handicap(per_class=5).kept(labels, NAMES))
    other = Handicap(per_class=5, seed=1).kept(labels, NAMES)
    assert len(set(few.tolist()) & set(other.tolist())) < 20
    mild, hard = (Handicap(imbalance=factor).kept(labels, NAMES) for factor in (0.5, 0.1))
    assert set(hard.tolist()) < set(mild.tolist())


@pytest.mark.parametrize("share", [0.2, 0.4, 0.8])
def test_exactly_this_share_of_every_class_gets_any_other_label(share):
    labels = balanced(2000)
    noisy = Handicap(label_noise=share).mislabelled(labels, 10)
    table = torch.zeros(10, 10, dtype=torch.long).index_put_((labels, noisy), torch.ones_like(labels), accumulate=True)
    wrong = round(2000 * share)
    assert table.diagonal().tolist() == [2000 - wrong] * 10
    off = table[~torch.eye(10, dtype=torch.bool)].double()
    assert off.sum() == 10 * wrong
    # Pearson's statistic of 90 cells that are alike has 80 degrees of freedom: the rows are given.
    statistic = ((off - wrong / 9) ** 2 / (wrong / 9)).sum()
    assert 45 < statistic < 125
    assert labels.tolist() == (torch.arange(20_000) % 10).tolist()


def test_more_noise_keeps_the_wrong_labels_of_less():
    labels = balanced(100)
    less, more = (Handicap(label_noise=share).mislabelled(labels, 10) for share in (0.1, 0.5))
    wrong = less != labels
    assert wrong.sum() == 100
    assert torch.equal(less[wrong], more[wrong])
    assert not torch.equal(less, Handicap(label_noise=0.1, seed=1).mislabelled(labels, 10))


def test_two_classes_only_have_each_other():
    labels = balanced(50, 2)
    noisy = Handicap(label_noise=0.5).mislabelled(labels, 2)
    assert ((noisy - labels).abs().sum(), noisy.bincount().tolist()) == (50, [50, 50])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"per_class": 6}, r"data\.per_class=6: b has 5 training pictures for it; allowed here: up to 5"),
        ({"imbalance": 0.05}, r"data\.imbalance=0\.05: c has 9 training pictures for it; allowed here: from 1/10"),
        ({"per_class": 20}, r"per_class=20: a has 10 training pictures for it and 2 other classes fall short too"),
    ],
)
def test_what_is_not_there_is_refused_with_the_class_and_the_way_out(given, message):
    labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 9)
    with pytest.raises(ValueError, match=message):
        Handicap(**given).kept(labels, ("a", "b", "c"))


def test_two_rules_for_the_sizes_are_refused():
    with pytest.raises(ValueError, match=r"data\.per_class=5 and data\.imbalance=0\.1: both say"):
        Handicap(per_class=5, imbalance=0.1)


def data(**given):
    made = ImageData(Augment(), Seeds.same(0), source=Digits(), **given)
    made.setup()
    return {name: made.split(name) for name in ("train", "val", "test")}


@pytest.fixture(scope="module")
def plain():
    return data()


@pytest.mark.parametrize(
    "given", [{"label_noise": 0.3}, {"imbalance": 0.1}, {"per_class": 9}, {"per_class": 9, "label_noise": 0.5}]
)
def test_only_train_is_touched(plain, given):
    split = data(**given)
    for name in ("val", "test"):
        assert torch.equal(split[name].labels, plain[name].labels)
        assert torch.equal(split[name].images, plain[name].images)
    assert isinstance(split["train"], ImageSet)
    assert split["train"].labels.tolist() != plain["train"].labels.tolist()


def test_noise_comes_after_the_choice_and_moves_no_picture(plain):
    few, noisy = data(per_class=9), data(per_class=9, label_noise=0.5)
    assert torch.equal(few["train"].images, noisy["train"].images)
    assert (few["train"].labels != noisy["train"].labels).sum() == 45
    whole = data(label_noise=0.1)["train"]
    assert torch.equal(whole.images, plain["train"].images)
    assert (whole.labels != plain["train"].labels).sum() == round(0.1 * len(whole))


def test_it_is_refused_before_a_run_starts():
    made = ImageData(Augment(), Seeds.same(0), source=Digits(), per_class=500)
    with pytest.raises(ValueError, match=r"data\.per_class=500"):
        made.check()
