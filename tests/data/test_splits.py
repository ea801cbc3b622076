import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cifarlab.data.images import ImageSet
from cifarlab.data.splits import SplitRule, limited, stratified_order


def balanced(count=200, classes=10, start=0):
    """Pictures whose pixel is their number, classes mixed up."""
    labels = torch.from_numpy(np.random.default_rng(1).permutation(count) % classes)
    images = (torch.arange(count) + start).to(torch.int32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    return ImageSet(images, labels, tuple(str(i) for i in range(classes)), {"origin": labels % 2})


def numbers(images):
    return images.images[:, 0, 0, 0].tolist()


def counts(images):
    return images.labels.bincount(minlength=images.num_classes).tolist()


@given(st.integers(1, 12), st.integers(1, 20), st.integers(0, 5), st.data())
def test_every_stretch_of_the_order_is_balanced_within_one(classes, size, seed, data):
    labels = torch.arange(classes * size) % classes
    order = stratified_order(labels, seed)
    assert sorted(order.tolist()) == list(range(classes * size))
    first = data.draw(st.integers(0, classes * size))
    last = data.draw(st.integers(first, classes * size))
    found = labels[order[first:last]].bincount(minlength=classes)
    assert found.max() - found.min() <= 1


def test_unequal_classes_keep_their_proportion():
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    for length in (10, 50, 333):
        found = labels[stratified_order(labels, 0)[:length]].bincount(minlength=3)
        assert (found - torch.tensor([0.6, 0.3, 0.1]) * length).abs().max() <= 1


def test_the_order_is_its_seeds_alone_and_shuffled():
    labels = balanced().labels
    state = torch.get_rng_state()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002  (the global state that must not matter)
    first = stratified_order(labels, 3)
    torch.manual_seed(6)
    np.random.seed(6)  # noqa: NPY002
    assert torch.equal(first, stratified_order(labels, 3))
    assert not torch.equal(first, stratified_order(labels, 4))
    torch.set_rng_state(state)
    same_class = first[labels[first] == 0]
    assert not torch.equal(same_class, same_class.sort().values)


def test_the_order_of_a_seed_is_written_down():
    assert stratified_order(torch.arange(12) % 3, 0).tolist() == [2, 7, 9, 5, 4, 0, 11, 10, 3, 8, 1, 6]


@given(st.integers(10, 200), st.integers(10, 200))
def test_limits_are_nested(one, other):
    labels = balanced().labels
    small, large = (set(limited(labels, limit, 0).tolist()) for limit in sorted((one, other)))
    assert small <= large
    assert len(small) == min(one, other)


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.25])
def test_val_is_cut_from_train_and_nothing_else_changes(fraction):
    train, test = balanced(), balanced(50, start=1000)
    splits = SplitRule(val_fraction=fraction).apply({"train": train, "test": test})
    assert len(splits["val"]) == round(200 * fraction)
    assert sorted(numbers(splits["train"]) + numbers(splits["val"])) == list(range(200))
    assert max(counts(splits["val"])) - min(counts(splits["val"])) <= 1
    assert numbers(splits["test"]) == numbers(test)
    for part in splits.values():
        assert part.extra["origin"].tolist() == (part.labels % 2).tolist()


def test_without_val_fraction_train_is_whole_and_not_copied():
    train = balanced()
    splits = SplitRule(val_fraction=0).apply({"train": train, "test": balanced(50)})
    assert splits.keys() == {"train", "test"}
    assert splits["train"] is train


def test_the_folds_are_disjoint_balanced_and_together_train():
    sets = {"train": balanced(205), "test": balanced(50)}
    folds = [SplitRule(fold=f"{k}/5").apply(sets) for k in range(1, 6)]
    assert sorted(number for fold in folds for number in numbers(fold["val"])) == list(range(205))
    for fold in folds:
        assert sorted(numbers(fold["val"]) + numbers(fold["train"])) == list(range(205))
        assert max(counts(fold["val"])) - min(counts(fold["val"])) <= 1 + 1  # 205 is no multiple of 10


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1/1", "1", "a/b", "1/5 ", "-1/5"])
def test_a_fold_that_is_none_is_refused(fold):
    with pytest.raises(ValueError, match="allowed is k/K"):
        SplitRule(fold=fold).check("cifar10", has_val=False)


def test_the_reports_protocol_cuts_val_from_test_and_leaves_train_whole():
    sets = {"train": balanced(), "test": balanced(100, start=1000)}
    splits = SplitRule(protocol="test_20_80", seed=7).apply(sets)
    assert numbers(splits["train"]) == list(range(200))
    assert counts(splits["test"]) == [2] * 10
    assert counts(splits["val"]) == [8] * 10
    assert sorted(numbers(splits["test"]) + numbers(splits["val"])) == list(range(1000, 1100))
    assert numbers(SplitRule(protocol="test_20_80", seed=8).apply(sets)["test"]) == numbers(splits["test"])


def test_an_own_val_split_is_used_joined_or_overruled():
    train, val, test = balanced(100), balanced(60, start=1000), balanced(50, start=2000)
    sets = {"train": train, "val": val, "test": test}
    splits = SplitRule().apply(sets)
    assert (splits["train"], splits["val"], splits["test"]) == (train, val, test)
    both = SplitRule(train_on="train+valid", val_fraction=0).apply(sets)
    assert both.keys() == {"train", "test"}
    assert numbers(both["train"]) == numbers(train) + numbers(val)
    assert both["train"].extra["origin"].tolist() == (both["train"].labels % 2).tolist()
    cut = SplitRule(train_on="train+valid", val_fraction=0.25).apply(sets)
    assert len(cut["val"]) == 40
    assert sorted(numbers(cut["train"]) + numbers(cut["val"])) == numbers(train) + numbers(val)
    fold = SplitRule(fold="2/5").apply(sets)
    assert sorted(numbers(fold["train"]) + numbers(fold["val"])) == numbers(train)


def test_limit_holds_for_each_split_and_keeps_val_out_of_train():
    sets = {"train": balanced(), "test": balanced(50, start=1000)}
    whole, small = SplitRule().apply(sets), SplitRule(limit=15).apply(sets)
    assert {name: len(part) for name, part in small.items()} == {"train": 15, "val": 15, "test": 15}
    for name, part in small.items():
        assert set(numbers(part)) <= set(numbers(whole[name]))
        assert min(counts(part)) >= 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (SplitRule(limit=9), r"limit=9 val_fraction=0.1 leaves train 9 pictures and none of 1 of the 10 classes"),
        (SplitRule(val_fraction=0.01), r"val_fraction=0.01 leaves val 2 pictures and none of 8 of the 10 .*and others"),
        (SplitRule(val_fraction=0.001), r"val_fraction=0.001 leaves val 0 pictures"),
        (SplitRule(val_fraction=0.99), r"leaves train 2 pictures"),
        (SplitRule(fold="1/100"), r"fold=1/100 leaves val 2 pictures"),
    ],
)
def test_a_split_without_some_class_is_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        rule.positions({"train": balanced(), "test": balanced(50)})


@pytest.mark.parametrize(
    ("rule", "has_val", "message"),
    [
        (SplitRule(fold="1/5", protocol="test_20_80"), False, "give one"),
        (SplitRule(train_on="train+valid"), False, "cifar10 has no validation split of its own"),
        (SplitRule(train_on="train+valid", protocol="test_20_80"), True, "allowed is protocol=standard"),
    ],
)
def test_rules_that_do_not_go_together_are_refused(rule, has_val, message):
    with pytest.raises(ValueError, match=message):
        rule.check("cifar10", has_val)
