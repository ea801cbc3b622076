"""A metric over knobs, as the heatmap and the cube draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A knob along a figure.

    Attributes:
        name: of the knob.
        values: as text, in the order in which they are drawn.
        is_scale: whether the values are numbers, so that a line from one to the next means something.
    """

    name: str
    values: Sequence[str]
    is_scale: bool = True

    @property
    def is_log(self) -> bool:
        """Whether the values span a factor of ten and more without a zero, as learning rates do."""
        if not self.is_scale:
            return False
        numbers = [float(value) for value in self.values]
        return min(numbers) > 0 and max(numbers) >= 10 * min(numbers)

    @property
    def along(self) -> np.ndarray:
        """(values,) float from 0: where each stands, numbers by their size or its logarithm; the mean step is 1."""
        steps = len(self.values) - 1
        if not self.is_scale or steps < 1:
            return np.arange(len(self.values), dtype=float)
        numbers = np.array(self.values, dtype=float)
        numbers = np.log(numbers) if self.is_log else numbers
        return steps * (numbers - numbers[0]) / (numbers[-1] - numbers[0])


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A metric over knobs: arrays with one dimension an axis.

    Attributes:
        metric: its name.
        axes: one a dimension.
        mean: float, NaN where nothing finished.
        sd: float, NaN where fewer than two runs finished.
        n: int, finished runs.
        failed: int, runs that were planned and neither finished nor were pruned.
        note: what the means run over, in words.
    """

    metric: str
    axes: tuple[Axis, ...]
    mean: np.ndarray
    sd: np.ndarray
    n: np.ndarray
    failed: np.ndarray
    note: str = ""

    @property
    def is_lost(self) -> np.ndarray:
        """Bool: runs were planned there and none finished."""
        return (self.n == 0) & (self.failed > 0)

    @property
    def lower_is_better(self) -> bool:
        """Whether small numbers are the good ones."""
        return self.metric.endswith("loss") or self.metric == "seconds"

    @property
    def digits(self) -> int:
        """Decimals that are worth writing."""
        return 4 if "acc" in self.metric else 3

    def slices(self) -> dict[str, Surface]:
        """For each value of the first axis, in words, the surface over the other axes."""
        first, *others = self.axes
        arrays = {name: getattr(self, name) for name in ("mean", "sd", "n", "failed")}
        return {
            f"{first.name}={value}": replace(
                self, axes=tuple(others), **{name: array[place] for name, array in arrays.items()}
            )
            for place, value in enumerate(first.values)
        }
