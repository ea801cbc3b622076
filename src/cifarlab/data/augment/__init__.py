"""Batched augmentation: one idea a file, put in order by `pipeline.Augment`."""

from cifarlab.data.augment.draw import Draw
from cifarlab.data.augment.operation import Operation
from cifarlab.data.augment.pipeline import Augment

__all__ = ["Augment", "Draw", "Operation"]
