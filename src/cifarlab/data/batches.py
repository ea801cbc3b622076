"""Batches of a data set that lies in memory: gathered, augmented and normalised whole, on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from cifarlab.data.augment import Augment
from cifarlab.data.augment.draw import OF_THE_BATCH, Draw, Numbers
from cifarlab.data.images import ImageSet
from cifarlab.data.seeds import Seeds


def smallest_batch(num_images: int, batch_size: int, world_size: int = 1, *, drop_last: bool = False) -> int:
    """Pictures of the smallest batch that a rank gets in an epoch of `Batches`; 0 where a rank gets none."""
    steps, rest = divmod(num_images, batch_size * world_size)
    if drop_last or rest < world_size:  # fewer than ranks join the step before
        return batch_size if steps else 0
    return rest // world_size


class Place:
    """Where a batch stands in an epoch: all that is needed to make it, on the device, when it is wanted.

    Args:
        batches: that it is one of.
        rows: int64 ``(B,)``, places in the epoch's set, beside the pictures.
        step: int64 ``(1,)``, 0-based, on the device where the batch is wanted.
    """

    __slots__ = ("batches", "rows", "step")

    def __init__(self, batches: Batches, rows: Tensor, step: Tensor) -> None:
        self.batches, self.rows, self.step = batches, rows, step

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_full(self) -> bool:
        """Whether the batch has the size that all but an epoch's last ones have."""
        return len(self.rows) == self.batches.batch_size

    def make(self) -> tuple[Tensor, Tensor]:
        """Images and labels, while the batches are at this place's epoch."""
        return self.batches.make(self.rows, self.step)


class Places:
    """An iterable over the places of an epoch.

    Args:
        batches: whose places; asked for the epoch when the first place of an iteration is.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Place]:
        epoch = self.batches.epoch()  # when the first is taken: Lightning begins an iteration before it restores a run
        for step in range(len(self)):
            yield self.batches.place(epoch, step)


class Batches:
    """An iterable over ``(images, labels)``; every batch is a pure function of seeds, epoch and step.

    Images are float32 ``(B, 3, H, W)`` in channels_last, normalised; labels int64 ``(B,)``, or float32
    ``(B, num_classes)`` where the augmentation mixes pictures.

    The order is drawn on the CPU, so it is the same on every device. The pictures stay where the image set has them and
    are gathered there: beside the net there is no host copy on the way; a set on the CPU goes to a CUDA device through
    pinned memory, batch by batch.

    Under several ranks each step takes the next ``batch_size * world_size`` pictures of one common order and shares
    them as evenly as it can, so every rank has the same number of batches and every picture comes exactly once an
    epoch. The last step has fewer; when fewer are left than ranks, the step before takes them too, and some batches
    then have one more than ``batch_size``. With `drop_last` those that make no full step are left out instead.

    Args:
        images: the pictures.
        batch_size: pictures a batch and rank.
        mean: of each channel, pixels in [0, 1].
        std: of each channel, pixels in [0, 1].
        device: where the batches are wanted.
        augment: changes to the pictures, if any.
        shuffle: a new order every epoch; else the order of the set.
        seeds: needed to shuffle or augment.
        epoch: asked when the first batch of an iteration is.
        rank: of this process.
        world_size: number of processes.
        drop_last: leave out the last, smaller step.

    Raises:
        ValueError: no pictures for some rank, or no seeds where they are needed.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        augment: Augment | None = None,
        shuffle: bool = False,
        seeds: Seeds | None = None,
        epoch: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
    ) -> None:
        if seeds is None and (shuffle or augment is not None):
            raise ValueError("seeds=None cannot shuffle or augment; allowed: Seeds(init, order, augment)")
        self.num_images = len(images) * (1 if augment is None else augment.copies)
        self.batch_size, self.rank, self.world_size, self.drop_last = batch_size, rank, world_size, drop_last
        if len(self) == 0:
            raise ValueError(
                f"{self.num_images} images make no batch of batch_size={batch_size} for each of {world_size} ranks; "
                f"allowed: a smaller batch_size with drop_last, or at most {self.num_images} ranks"
            )
        self.num_classes = images.num_classes
        self.device = torch.device(device)
        self.augment, self.shuffle, self.seeds, self.epoch = augment, shuffle, seeds, epoch
        self._pictures = images.images.permute(0, 2, 3, 1).contiguous()
        self._labels = images.labels.to(self._pictures.device)
        self._scale, self._shift = _normalisation(mean, std, images.image_size, self.device)
        self._order: tuple[int, Tensor] | None = None
        self._steps = torch.arange(len(self), device=self.device)
        if augment is not None and seeds is not None:
            self._of_pictures = Numbers(len(images), seed=seeds.augment, device=self.device)
            self._of_steps = Numbers(len(self), seed=seeds.augment ^ OF_THE_BATCH, device=self.device)

    def __len__(self) -> int:
        """Batches an epoch, the same on every rank."""
        steps, rest = divmod(self.num_images, self.batch_size * self.world_size)
        if self.drop_last:
            return steps
        return steps + (1 if rest >= self.world_size else 0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch = self.epoch()
        for step in range(len(self)):
            yield self.batch(epoch, step)

    def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """The batch of this rank at a 0-based epoch and step."""
        return self.place(epoch, step).make()

    def place(self, epoch: int, step: int) -> Place:
        """The place of this rank at a 0-based epoch, at which the batches are from now on, and step."""
        if self.augment is not None:
            self._of_pictures.start(epoch)
            self._of_steps.start(epoch)
        return Place(self, self._rows(epoch, step), self._steps[step : step + 1])

    @property
    def on_device(self) -> bool:
        """Whether the pictures lie where the batches are wanted, so that making one never waits for the host."""
        return self._pictures.device == self.device

    def make(self, rows: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Gathers, augments and normalises: operations of fixed shapes on tensors that stay where they are.

        Args:
            rows: int64 ``(B,)``, places in the epoch's set, beside the pictures.
            step: int64 ``(1,)``, on the device where the batch is wanted.
        """
        indices = rows % len(self._labels) if self.num_images > len(self._labels) else rows
        pictures = self._to_device(self._pictures.index_select(0, indices))
        labels = self._to_device(self._labels.index_select(0, indices))
        if self.augment is None:
            return self._normalise(pictures), labels
        draw = Draw(self._to_device(indices), self._of_pictures, Draw(step, self._of_steps))
        images = self._normalise(self.augment(pictures, draw))
        mixed, targets = self.augment.mix(images, labels, self.num_classes, draw)
        if self.augment.mode == "replace":
            return mixed, targets
        is_copy = self._to_device(rows >= len(self._labels))
        own = self.augment.unmixed(labels, self.num_classes)
        return _where(is_copy, mixed, self._normalise(pictures)), _where(is_copy, targets, own)

    def _rows(self, epoch: int, step: int) -> Tensor:
        """int64, the places in the epoch's set (under `append` its second half is the copies) of one batch."""
        chunk = self.batch_size * self.world_size
        takes_rest = step == len(self) - 1 and not self.drop_last
        last = self.num_images if takes_rest else (step + 1) * chunk
        return self._epoch_order(epoch)[step * chunk : last].tensor_split(self.world_size)[self.rank]

    def _epoch_order(self, epoch: int) -> Tensor:
        """int64 ``(num_images,)``, beside the pictures; kept until another epoch is asked for."""
        if self._order is None or self._order[0] != epoch:
            if self.shuffle and self.seeds is not None:
                seed = np.random.SeedSequence(self.seeds.order, spawn_key=(epoch,)).generate_state(1)[0]
                order = torch.randperm(self.num_images, generator=torch.Generator().manual_seed(int(seed)))
            else:
                order = torch.arange(self.num_images)
            self._order = epoch, order.to(self._pictures.device)
        return self._order[1]

    def _to_device(self, gathered: Tensor) -> Tensor:
        if gathered.device.type == "cpu" and self.device.type == "cuda":
            gathered = gathered.pin_memory()
        return gathered.to(self.device, non_blocking=True)

    def _normalise(self, pixels: Tensor) -> Tensor:
        """``(B, H, W, 3)`` in [0, 255] -> float32 ``(B, 3, H, W)``, channels_last; float pixels are overwritten.

        Scale and shift are as long as a picture: broadcast over three innermost channels they would leave the CPU
        loops of three steps.
        """
        flat = pixels.flatten(1).to(torch.float32)
        return flat.mul_(self._scale).add_(self._shift).view(pixels.shape).permute(0, 3, 1, 2)


def _normalisation(
    mean: Sequence[float], std: Sequence[float], image_size: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """float32 ``(H * W * 3,)`` each: ``pixel * scale + shift`` is ``(pixel / 255 - mean) / std``."""
    means, stds = (torch.tensor(values, dtype=torch.float64) for values in (mean, std))
    places = image_size[0] * image_size[1]
    scale, shift = (values.float().repeat(places).to(device) for values in (1 / (255 * stds), -means / stds))
    return scale, shift


def _where(chosen: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Whole rows of ``yes`` where ``chosen`` ``(B,)``, else of ``no``."""
    return torch.where(chosen.view(-1, *[1] * (yes.dim() - 1)), yes, no)
