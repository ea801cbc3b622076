"""What makes a training split harder on purpose: few pictures, a long tail of classes, wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cifarlab.data.images import ImageSet
from cifarlab.data.splits import stratified_order

# Beside the seed of the splits: streams of their own, so that who is mislabelled says nothing of who was held out.
OF_THE_CHOICE, OF_THE_LABELS = 1, 2


@dataclass(frozen=True)
class Handicap:
    """What is done to train, and to train alone; validation and test stay as they are.

    The order: `imbalance` or `per_class` choose pictures, then `label_noise` mislabels some of those chosen. A milder
    choice of the same seed keeps what a harder one keeps, and less noise mislabels a part of what more does.

    Attributes:
        label_noise: share of the pictures whose label is wrong, in [0, 1).
        imbalance: pictures of the last class for one of the first, in (0, 1].
        per_class: pictures of each class, all alike.
        seed: of the choice.

    Raises:
        ValueError: two of them say how many pictures a class has.
    """

    label_noise: float = 0.0
    imbalance: float = 1.0
    per_class: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.per_class is not None and self.imbalance != 1:
            raise ValueError(
                f"data.per_class={self.per_class} and data.imbalance={self.imbalance:g}: both say how many pictures a "
                "class has, give one of them"
            )

    @property
    def chooses(self) -> bool:
        """Whether some pictures may have to go."""
        return self.per_class is not None or self.imbalance != 1

    def applied(self, train: ImageSet) -> ImageSet:
        """The split with the handicap; itself where there is none.

        Raises:
            ValueError: as in `kept`.
        """
        if self.chooses:
            train = train.subset(self.kept(train.labels, train.classes))
        return replace(train, labels=self.mislabelled(train.labels, train.num_classes)) if self.label_noise else train

    def kept(self, labels: Tensor, classes: Sequence[str]) -> Tensor:
        """Which pictures stay.

        Args:
            labels: int64 ``(N,)``, on the CPU.
            classes: names of the labels.

        Returns:
            positions, int64 ``(M,)``, ascending.

        Raises:
            ValueError: a class has fewer pictures than `per_class`, or `imbalance` leaves it none.
        """
        there = np.bincount(labels.numpy(), minlength=len(classes))
        wanted = self.sizes(there)
        self._refuse_what_is_not_there(there, wanted, classes)
        order = stratified_order(labels, (self.seed, OF_THE_CHOICE)).numpy()
        mine = labels.numpy()[order]
        by_class = np.argsort(mine, kind="stable")
        rank = np.empty_like(by_class)
        rank[by_class] = np.arange(len(mine)) - np.repeat(np.cumsum(there) - there, there)
        return torch.from_numpy(np.sort(order[rank < wanted[mine]]))

    def sizes(self, there: np.ndarray) -> np.ndarray:
        """How many pictures each class keeps.

        With `imbalance` the i-th of C classes keeps ``n * imbalance ** (i / (C - 1))``, rounded down, where n is what
        the largest has (Cui et al., "Class-balanced loss", CVPR 2019, section 5.1), or all of its own if it has fewer.

        Args:
            there: int64 ``(C,)``, what each class has.
        """
        if self.per_class is not None:
            return np.full_like(there, self.per_class)
        if self.imbalance == 1:
            return there
        places = np.arange(len(there)) / max(len(there) - 1, 1)
        # The last class of 4500 at 0.01 has 45, whatever the rounding of the power.
        return np.minimum(there, np.floor(there.max() * self.imbalance**places + 1e-9).astype(there.dtype))

    def mislabelled(self, labels: Tensor, num_classes: int) -> Tensor:
        """The labels with ``round(label_noise * N)`` of them wrong, of each class in proportion.

        Each wrong label is one of the other classes, all equally likely ("symmetric": Han et al., "Co-teaching",
        NeurIPS 2018, section 4).

        Args:
            labels: int64 ``(N,)``; not changed.
            num_classes: C, at least 2.
        """
        wrong = stratified_order(labels, (self.seed, OF_THE_LABELS))[: round(self.label_noise * len(labels))]
        shifts = np.random.default_rng((self.seed, OF_THE_LABELS, 1)).integers(1, num_classes, len(labels))
        found = labels.clone()
        found[wrong] = (labels[wrong] + torch.from_numpy(shifts)[wrong]) % num_classes
        return found

    def _refuse_what_is_not_there(self, there: np.ndarray, wanted: np.ndarray, classes: Sequence[str]) -> None:
        short = np.flatnonzero((there < wanted) | (wanted == 0))
        if not len(short):
            return
        given, least = f"data.imbalance={self.imbalance:g}", f"from 1/{there.max()}"
        if self.per_class is not None:
            given, least = f"data.per_class={self.per_class}", f"up to {there.min()}"
        name, count = classes[short[0]], there[short[0]]
        others = f" and {len(short) - 1} other classes fall short too" if len(short) > 1 else ""
        raise ValueError(f"{given}: {name} has {count} training pictures for it{others}; allowed here: {least}")
