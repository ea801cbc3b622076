"""The digits that come inside scikit-learn: a real data set without a download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from cifarlab.data.images import ImageSet
from cifarlab.data.sources import Source
from cifarlab.data.splits import stratified_order


def scans() -> Path:
    """scikit-learn's file: 64 grey levels and the digit a row. Importing the package for it would take a second."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.submodule_search_locations
    return Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")


class Digits(Source):
    """1,797 scans of handwritten digits (UCI "Optical Recognition of Handwritten Digits", test part), ten classes.

    The 8x8 scans of 17 grey levels are enlarged to 32x32 by bilinear interpolation and repeated in three channels. The
    test split is a fixed fifth of each class. There is no packed file: reading takes 40 ms.
    """

    name: ClassVar[str] = "digits"
    mean: ClassVar[tuple[float, float, float]] = (0.3049, 0.3049, 0.3049)
    std: ClassVar[tuple[float, float, float]] = (0.3236, 0.3236, 0.3236)

    def read(self, root: Path) -> dict[str, ImageSet]:
        rows = torch.from_numpy(np.loadtxt(scans(), delimiter=",", dtype=np.uint8))
        small = rows[:, :-1].reshape(-1, 1, 8, 8).float() / 16
        large = F.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
        images = (
            (large * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        )
        everything = ImageSet(images, rows[:, -1].long(), tuple(str(digit) for digit in range(10)))
        order = stratified_order(everything.labels, seed=0)
        count = round(0.2 * len(everything))
        return {
            "train": everything.subset(order[count:].sort().values),
            "test": everything.subset(order[:count].sort().values),
        }

    def prepare(self, root: Path) -> None:
        """Nothing to do: the scans are part of an installed package."""

    def load(self, root: Path) -> dict[str, ImageSet]:
        return self.read(root)
