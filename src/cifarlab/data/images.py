"""A set of labelled pictures held as integer tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Labelled RGB pictures of one size.

    Attributes:
        images: uint8 ``(N, 3, H, W)``, values 0-255.
        labels: int64 ``(N,)``, values in ``[0, num_classes)``.
        classes: one name a class, in the order of the labels.
        extra: further int64 ``(N,)`` vectors by name, e.g. ``coarse`` labels or the ``origin`` of a picture.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    extra: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[-2], self.images.shape[-1]

    def subset(self, indices: Tensor) -> ImageSet:
        """The pictures at ``indices`` (int64 ``(M,)``), copied, in that order."""
        return ImageSet(
            images=self.images[indices],
            labels=self.labels[indices],
            classes=self.classes,
            extra={name: values[indices] for name, values in self.extra.items()},
        )
