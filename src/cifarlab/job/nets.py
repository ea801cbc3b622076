"""Nets without memory and what they cost, each made once however many jobs share it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifarlab.job.configure import Description, is_ours
from cifarlab.job.once import Once
from cifarlab.result import digest

if TYPE_CHECKING:
    from torch import nn

    from cifarlab.training.hardware.counts import Cost


class Nets:
    """What the jobs of a sweep ask of their nets. It imports torch when it is first asked."""

    def __init__(self) -> None:
        self._costs = Once()
        self._name: str | None = None
        self._net = Once()

    def cost(self, model: Description, num_classes: int, image_size: tuple[int, int]) -> Cost:
        """Parameters and arithmetic.

        Raises:
            ValueError: the net cannot be built, or not for pictures of that size.
        """
        from cifarlab.training.hardware import cost

        shape = (digest(shape_of(model)), num_classes, image_size)
        return self._costs(shape, lambda: cost.cost(model, num_classes, image_size))

    def net(self, model: Description, num_classes: int) -> nn.Module:
        """The net on the meta device; the last one is kept, to be looked at and left as it is.

        Weights of somebody else that it starts from are seen to, as at the beginning of a run.

        Raises:
            ValueError: it cannot be built.
        """
        import torch

        name = digest([model.plain(), num_classes])
        if name != self._name:
            self._name, self._net = name, Once()
        with torch.device("meta"):
            return self._net(name, lambda: model(num_classes))


def shape_of(part: Description) -> Any:
    """What of a description decides on the sizes of tensors.

    In nets and optimizers of ours no number with a fraction does, only whether it is 0: a test holds it.
    """

    def simple(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: simple(item) for key, item in value.items()}
        if isinstance(value, list):
            return [simple(item) for item in value]
        return bool(value) if isinstance(value, float) else value

    return simple(part.plain()) if is_ours(part.target) else part.plain()
