"""Named splits of a data set: stratified, and seeded apart from training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cifarlab.data.fold import parse_fold
from cifarlab.data.images import ImageSet

WITHOUT_VAL = "has no validation split of its own, allowed is train"
REPORT_SEED = 42  # of the cut of the test set in the report that has `protocol="test_20_80"`


def stratified_order(labels: Tensor, seed: int | tuple[int, ...]) -> Tensor:
    """An order of the pictures in which every stretch has the classes in proportion.

    The classes take turns, each in its own random order: the r-th of a class of n pictures comes at (r + 1/2) / n of
    the whole. With classes of one size any two classes differ by at most one picture in any stretch.

    Args:
        labels: int64 ``(N,)``.
        seed: of a generator of its own; no global random state is read or changed.

    Returns:
        int64 ``(N,)``, a permutation of the positions.
    """
    generator = np.random.default_rng(seed)
    values = labels.cpu().numpy()
    sizes = np.bincount(values, minlength=1)
    shuffled = generator.permutation(len(values))
    grouped = shuffled[np.argsort(values[shuffled], kind="stable")]
    rank = np.arange(len(values)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = (rank + 0.5) / sizes[values[grouped]]
    turn = generator.permutation(len(sizes))[values[grouped]]
    return torch.from_numpy(grouped[np.lexsort((turn, place))])


def cut(labels: Tensor, first: int, last: int, seed: int) -> tuple[Tensor, Tensor]:
    """Takes the pictures ``first`` up to ``last`` of the stratified order out.

    Returns:
        positions of the others and of those taken out, int64, each ascending and together all.
    """
    order = stratified_order(labels, seed)
    others = torch.cat([order[:first], order[last:]])
    return others.sort().values, order[first:last].sort().values


def limited(labels: Tensor, limit: int | None, seed: int) -> Tensor:
    """Positions of at most ``limit`` pictures, stratified; a smaller limit takes a part of what a larger one takes."""
    return stratified_order(labels, seed)[:limit].sort().values


@dataclass(frozen=True)
class SplitRule:
    """How train, val and test come from what the source has; the arguments are those of ``ImageData``.

    Raises:
        ValueError: two of them do not go together, or with the data set (in ``check``).
    """

    val_fraction: float = 0.1
    seed: int = 0
    limit: int | None = None
    fold: str | None = None
    protocol: Literal["standard", "test_20_80"] = "standard"
    train_on: Literal["train", "train+valid"] = "train"

    def check(self, source: str, has_val: bool) -> None:
        """Refuses what cannot be, without looking at a picture."""
        if self.fold is not None:
            parse_fold(self.fold)
            if self.protocol != "standard":
                raise ValueError(
                    f"fold={self.fold} and protocol={self.protocol}: both say what val is, give one of them"
                )
        if self.train_on == "train+valid":
            if not has_val:
                raise ValueError(f"train_on=train+valid: {source} {WITHOUT_VAL}")
            if self.protocol != "standard":
                raise ValueError(f"train_on=train+valid and protocol={self.protocol}: allowed is protocol=standard")

    def positions(self, sets: Mapping[str, ImageSet]) -> dict[str, tuple[tuple[str, ...], Tensor]]:
        """For each split the names of the sets that it is a part of, joined, and which part; reads no picture.

        Raises:
            ValueError: a class is missing from train or val.
        """
        labels = {name: images.labels for name, images in sets.items()}
        if self.train_on == "train+valid" and "val" not in sets:
            raise ValueError(f"train_on=train+valid: this data set {WITHOUT_VAL}")
        trained: tuple[str, ...] = ("train", "val") if self.train_on == "train+valid" else ("train",)
        train = torch.cat([labels[name] for name in trained])
        parts: dict[str, tuple[tuple[str, ...], Tensor]] = {
            "train": (trained, torch.arange(len(train))),
            "test": (("test",), torch.arange(len(labels["test"]))),
        }
        if self.protocol == "test_20_80":
            kept, taken = cut(labels["test"], 0, round(0.8 * len(labels["test"])), REPORT_SEED)
            parts["test"], parts["val"] = (("test",), kept), (("test",), taken)
        elif (bounds := self._held_out(len(train), own="val" in sets and trained == ("train",))) is not None:
            kept, taken = cut(train, *bounds, self.seed)
            parts["train"], parts["val"] = (trained, kept), (trained, taken)
        elif "val" in sets and trained == ("train",):
            parts["val"] = (("val",), torch.arange(len(labels["val"])))
        for name, (names, chosen) in parts.items():
            of_part = torch.cat([labels[part] for part in names])[chosen]
            if self.limit is not None:
                within = limited(of_part, self.limit, self.seed)
                parts[name], of_part = (names, chosen[within]), of_part[within]
            if name != "test":
                self._refuse_missing_classes(name, of_part, sets["train"].classes)
        return parts

    def apply(self, sets: Mapping[str, ImageSet]) -> dict[str, ImageSet]:
        """The splits, ``val`` only where there is one.

        Raises:
            ValueError: a class is missing from train or val.
        """
        splits = {}
        for name, (names, chosen) in self.positions(sets).items():
            whole = joined([sets[part] for part in names])
            splits[name] = whole.subset(chosen) if len(chosen) < len(whole) else whole
        return splits

    def _held_out(self, size: int, own: bool) -> tuple[int, int] | None:
        """Which stretch of the stratified order of train is val, if any is."""
        if self.fold is not None:
            k, folds = parse_fold(self.fold)
            return size * (k - 1) // folds, size * k // folds
        return None if own or self.val_fraction == 0 else (0, round(self.val_fraction * size))

    def _refuse_missing_classes(self, name: str, labels: Tensor, classes: tuple[str, ...]) -> None:
        counts = torch.bincount(labels, minlength=len(classes))
        missing = [classes[label] for label in torch.nonzero(counts == 0).flatten().tolist()]
        if not missing:
            return
        cause = {"limit": self.limit, "fold": self.fold, "val_fraction": None if self.fold else self.val_fraction}
        keys = " ".join(f"{key}={value}" for key, value in cause.items() if value is not None) or "this data set"
        shown = ", ".join(missing[:5]) + (" and others" if len(missing) > 5 else "")
        raise ValueError(
            f"{keys} leaves {name} {len(labels)} pictures and none of {len(missing)} of the {len(classes)} classes "
            f"({shown}); allowed is what leaves at least one of each"
        )


def joined(parts: Sequence[ImageSet]) -> ImageSet:
    """The sets one after the other, copied where there are several."""
    if len(parts) == 1:
        return parts[0]
    return ImageSet(
        torch.cat([part.images for part in parts]),
        torch.cat([part.labels for part in parts]),
        parts[0].classes,
        {name: torch.cat([part.extra[name] for part in parts]) for name in parts[0].extra},
    )
