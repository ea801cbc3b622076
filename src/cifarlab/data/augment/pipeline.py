"""The augmentation of a run: its operations, in one fixed order."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cifarlab.data.augment.colour import Brightness, Jitter
from cifarlab.data.augment.cutout import Cutout
from cifarlab.data.augment.draw import Draw, draw_of
from cifarlab.data.augment.mixing import CutMix, Mixup, soft_labels
from cifarlab.data.augment.operation import Operation, try_out
from cifarlab.data.augment.randaugment import RandAugment
from cifarlab.data.augment.warp import Rotation, Translation, Zoom, warp
from cifarlab.data.augment.windows import AlternatingFlip, Crop, Flip, cut


class Augment:
    """Random changes to whole batches on the device, each picture by its own draw.

    The order is fixed, whatever the order in the config: flip and crop (one copy of whole rows, on uint8), then
    rotation, zoom and translation (one bilinear sampling), brightness, jitter, randaugment, operations of your own by
    their names, cutout, and last mixup or cutmix, which need finished pictures and change labels too.

    Args:
        mode: `replace` trains on augmented pictures; `append` on the originals and an augmented copy of each, drawn
            anew in every epoch, so that an epoch is twice as long.
        crop: shift by whole pixels, with padding.
        flip: mirror some pictures.
        alternating_flip: mirror one half of the data set, and the other half in the next epoch.
        rotation: turn about the centre.
        zoom: enlarge about the centre.
        translation: shift by parts of pixels.
        brightness: multiply by a factor.
        jitter: brightness, contrast, saturation and hue.
        randaugment: a few operations of a list.
        cutout: paint over a square.
        mixup: mean of two pictures and of their labels.
        cutmix: box of one picture in another, labels by area.
        own: operations that are not of this package, or further ones of it, by names of the user's.

    Raises:
        ValueError: two operations that exclude each other.
    """

    def __init__(
        self,
        *,
        mode: Literal["replace", "append"] = "replace",
        crop: Crop | None = None,
        flip: Flip | None = None,
        alternating_flip: AlternatingFlip | None = None,
        rotation: Rotation | None = None,
        zoom: Zoom | None = None,
        translation: Translation | None = None,
        brightness: Brightness | None = None,
        jitter: Jitter | None = None,
        randaugment: RandAugment | None = None,
        cutout: Cutout | None = None,
        mixup: Mixup | None = None,
        cutmix: CutMix | None = None,
        **own: Operation,
    ) -> None:
        if flip is not None and alternating_flip is not None:
            raise ValueError("augment.flip and augment.alternating_flip exclude each other; allowed: one of the two")
        if mixup is not None and cutmix is not None:
            raise ValueError("augment.mixup and augment.cutmix exclude each other; allowed: one of the two")
        self.mode = mode
        self.crop = crop
        self.flip = flip or alternating_flip
        self.affine = [step for step in (rotation, zoom, translation) if step is not None]
        self.own = dict(sorted(own.items()))
        painting = (brightness, jitter, randaugment, *self.own.values(), cutout)
        self.painting = [step for step in painting if step is not None]
        self.mixing = mixup or cutmix
        given = {
            "flip": flip, "alternating_flip": alternating_flip, "crop": crop, "rotation": rotation, "zoom": zoom,
            "translation": translation, "brightness": brightness, "jitter": jitter, "randaugment": randaugment,
            **self.own, "cutout": cutout, "mixup": mixup, "cutmix": cutmix,
        }  # fmt: skip
        self.names: tuple[str, ...] = tuple(name for name, step in given.items() if step is not None)

    @property
    def copies(self) -> int:
        """Pictures an epoch for each picture of the data set: 2 under `append`."""
        return 2 if self.mode == "append" else 1

    def try_out(self, size: tuple[int, int]) -> None:
        """Give the user's own operations some pictures of this height and width.

        Raises:
            ValueError: one of them does not do what an operation does.
        """
        for name, operation in self.own.items():
            try_out(f"augment.{name}", operation, size)

    def __call__(self, pictures: Tensor, draw: Draw) -> Tensor:
        """Everything but the mixing.

        Args:
            pictures: uint8 ``(B, H, W, 3)``.
            draw: the numbers for these pictures.

        Returns:
            ``(B, H, W, 3)`` in ``[0, 255]``: uint8 where whole rows were copied at most, else float32.
        """
        pictures = cut(pictures, draw, crop=self.crop, flip=self.flip)
        if not self.affine and not self.painting:
            return pictures
        pixels = pictures.to(torch.float32).permute(0, 3, 1, 2)
        if self.affine:
            matrix, *others = (step.matrix(draw) for step in self.affine)
            for other in others:
                matrix = matrix @ other
            pixels = warp(pixels, matrix)
        for paint in self.painting:
            pixels = paint(pixels, draw)
        return pixels.permute(0, 2, 3, 1)

    def mix(self, pixels: Tensor, labels: Tensor, num_classes: int, draw: Draw) -> tuple[Tensor, Tensor]:
        """Mixup or CutMix.

        Args:
            pixels: float32 ``(B, 3, H, W)``, of any scale.
            labels: int64 ``(B,)``.
            num_classes: length of a soft label.
            draw: the numbers for these pictures.

        Returns:
            Pixels like those given, and float32 ``(B, num_classes)`` labels; both as given where nothing mixes.
        """
        if self.mixing is None:
            return pixels, labels
        mixed, share = self.mixing(pixels, draw)
        return mixed, soft_labels(labels, share, num_classes)

    def unmixed(self, labels: Tensor, num_classes: int) -> Tensor:
        """int64 ``(B,)`` labels in the form that `mix` gives, each picture wholly its own."""
        if self.mixing is None:
            return labels
        return soft_labels(labels, torch.ones(1, device=labels.device), num_classes)

    def pixels(self, images: Tensor, *, seed: int = 0, epoch: int = 0, indices: Tensor | None = None) -> Tensor:
        """What the net would see of these images, before normalisation, to draw it.

        Args:
            images: uint8 ``(B, 3, H, W)``.
            seed: augmentation seed.
            epoch: 0-based.
            indices: int64 ``(B,)``, places in the data set (for `alternating_flip`); by default ``0 .. B - 1``.

        Returns:
            uint8 ``(B, 3, H, W)``.
        """
        indices = torch.arange(len(images), device=images.device) if indices is None else indices
        draw = draw_of(indices, seed=seed, epoch=epoch)
        pixels = self(images.permute(0, 2, 3, 1).contiguous(), draw).permute(0, 3, 1, 2)
        if self.mixing is not None:
            pixels, _ = self.mixing(pixels.to(torch.float32), draw)
        return pixels.round().to(torch.uint8) if pixels.is_floating_point() else pixels
