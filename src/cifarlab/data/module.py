"""The data of a run: from a source to batches of its train, val and test split."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Literal

import lightning as L
import torch
from annotated_types import Ge, Gt, Le, Lt

from cifarlab.data.augment import Augment
from cifarlab.data.augment.windows import Crop
from cifarlab.data.batches import Batches, Place, Places
from cifarlab.data.handicaps import Handicap
from cifarlab.data.images import ImageSet
from cifarlab.data.seeds import Seeds
from cifarlab.data.sources import Channels, Source
from cifarlab.data.splits import SplitRule

# What torchvision's nets were trained with, and most of timm's.
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)

SHARE_OF_FREE_MEMORY = 0.5  # The net, its gradients and activations want the rest.


class ImageData(L.LightningDataModule):
    """One data set, split, placed on the device, and served in batches.

    The pictures stay uint8. They are put on the trainer's device if they take at most half of its free memory, else
    they stay in the host's and each batch is moved. A set with a val split of its own (CINIC-10) uses that; the others
    cut val from train.

    Attributes:
        name: of the data set.
        classes: one name a class.
        num_classes: their number.
        image_size: height and width in pixels.
        mean: what is subtracted from each channel of a picture in [0, 1].
        std: what each channel is divided by after that.
        sizes: number of pictures of each split; 0 for ``val`` where there is none.
        protocol: the rule that made the splits, to be written beside every result.

    Args:
        source: the data set.
        root: folder with the data sets' own folders; with `data=folder` the one with your pictures.
        image_size: side in pixels; the pictures of `data=folder` are resized to it, others are not to be had in other
            sizes than theirs.
        batch_size: pictures a training step, over all devices.
        eval_batch_size: pictures a step of validation and test.
        val_fraction: part of train that is held out as val, with each class in proportion; 0 trains on everything.
        split_seed: seed of the splits and of `limit`, apart from the training seeds.
        limit: at most this many pictures of each split, with each class in proportion.
        normalize: `dataset` with the mean and deviation of the training pictures, `imagenet` with those that ImageNet's
            nets were trained with, `half` to [-1, 1], `unit` to [0, 1].
        eval_crop: pixels of padding from which val and test are cut at random too (R2.1 has 4), always at the same
            places; that makes them noisier, so by default nothing is cut.
        drop_last: leave out a last training batch that is smaller than the others.
        fold: `k/K`: val is the k-th of K parts of train (cross-validation); overrules `val_fraction` and an own val.
        protocol: `standard`, or `test_20_80`: val is 80 % of the test split, test the other 20 %, train is whole (R2).
        train_on: `train`, or `train+valid`: train is joined with the set's own val, and val cut from both.
        label_noise: share of the training pictures that get the label of another class, any of them; val and test keep
            theirs.
        imbalance: training pictures of the last class for one of the first, with a geometric fall in between; val and
            test stay as they are.
        per_class: training pictures of each class; null leaves all.
    """

    def __init__(
        self,
        augment: Augment,
        seeds: Seeds,
        *,
        source: Source,
        root: str = "data",
        image_size: Annotated[int, Ge(8), Le(512)] = 32,
        batch_size: Annotated[int, Ge(1), Le(65536)] = 128,
        eval_batch_size: Annotated[int, Ge(1), Le(65536)] = 500,
        val_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1,
        split_seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0,
        limit: Annotated[int, Ge(1)] | None = None,
        normalize: Literal["dataset", "imagenet", "half", "unit"] = "dataset",
        eval_crop: Annotated[int, Ge(0), Le(16)] = 0,
        drop_last: bool = False,
        fold: str | None = None,
        protocol: Literal["standard", "test_20_80"] = "standard",
        train_on: Literal["train", "train+valid"] = "train",
        label_noise: Annotated[float, Ge(0), Lt(1)] = 0.0,
        imbalance: Annotated[float, Gt(0), Le(1)] = 1.0,
        per_class: Annotated[int, Ge(1)] | None = None,
    ) -> None:
        super().__init__()
        self.augment = augment
        self.seeds = seeds
        self.source = source.sized(image_size)
        self.normalize = normalize
        self.name = source.name
        try:
            self.root = Path(root).expanduser()
        except RuntimeError:
            raise ValueError(f"data.root={root}: there is no user of this name") from None
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.eval_augment = Augment(crop=Crop(padding=eval_crop)) if eval_crop else None
        self.drop_last = drop_last
        self.protocol = protocol
        self.rule = SplitRule(val_fraction, split_seed, limit, fold, protocol, train_on)
        self.rule.check(source.name, source.has_val)
        self.handicap = Handicap(label_noise, imbalance, per_class, split_seed)
        self.epoch = 0
        self._splits: dict[str, ImageSet] = {}

    def prepare_data(self) -> None:
        """Makes sure that the data set is there and packed, and reads no picture where it is.

        Raises:
            MissingData, DiskFull: it is not there and could not be fetched or packed.
        """
        self.source.prepare(self.root)

    def check(self) -> None:
        """What can be known of the splits without reading a picture: for a look before many runs start.

        Raises:
            ValueError: a class would be missing from train or val, or have fewer pictures than are asked for.
            MissingData, DiskFull: as in ``prepare_data``.
        """
        sets = self.source.load(self.root)
        names, chosen = self.rule.positions(sets)["train"]
        if self.handicap.chooses:
            labels = torch.cat([sets[name].labels for name in names])[chosen]
            self.handicap.kept(labels, sets["train"].classes)

    def setup(self, stage: str | None = None) -> None:
        """Makes the splits once, and puts them on the trainer's device if they are not there.

        Raises:
            ValueError: a class would be missing from train or val, or have fewer pictures than are asked for.
            MissingData, DiskFull: as in ``prepare_data``.
        """
        if not self._splits:
            splits = self.rule.apply(self.source.load(self.root))
            self._splits = splits | {"train": self.handicap.applied(splits["train"])}
        device = self._device()
        away = [images for images in self._splits.values() if images.images.device != device]
        if away and fits(sum(images.images.nbytes for images in away), device):
            self._splits = {name: placed(images, device) for name, images in self._splits.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.split("train").classes

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def image_size(self) -> tuple[int, int]:
        return self.split("train").image_size

    @property
    def mean(self) -> Channels:
        return self._normalization[0]

    @property
    def std(self) -> Channels:
        return self._normalization[1]

    @functools.cached_property
    def _normalization(self) -> tuple[Channels, Channels]:
        fixed = {"half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))}
        fixed["imagenet"] = IMAGENET_MEAN, IMAGENET_STD
        return fixed.get(self.normalize) or self.source.statistics(self.root)

    @property
    def sizes(self) -> dict[str, int]:
        if not self._splits:
            self.setup()
        return {name: len(self._splits[name]) if name in self._splits else 0 for name in ("train", "val", "test")}

    def split(self, name: str) -> ImageSet:
        """The pictures of ``train``, ``val`` or ``test``, on the device if they fit there.

        Raises:
            ValueError: there is no such split.
        """
        if not self._splits:
            self.setup()
        if name not in self._splits:
            raise ValueError(f"{self.name} has no split {name}: allowed is {', '.join(self._splits)}")
        return self._splits[name]

    def per_device(self, devices: int) -> int:
        """Pictures of a training step that each of so many devices gets.

        Raises:
            ValueError: they cannot be shared evenly.
        """
        if self.batch_size % devices:
            raise ValueError(
                f"batch_size={self.batch_size} is shared by devices={devices} (trainer.devices times "
                f"trainer.num_nodes); allowed: a multiple of {devices}"
            )
        return self.batch_size // devices

    def train_dataloader(self) -> Places:
        """Augmented batches in a new order each epoch; with several processes each has its share."""
        return Places(self._batches("train", shuffle=True, augment=self.augment))

    def val_dataloader(self) -> Places | list[Places]:
        """Batches in the order of the files; an empty list where there is no val split, which Lightning skips."""
        return Places(self._batches("val")) if self.sizes["val"] else []

    def test_dataloader(self) -> Places:
        """Batches in the order of the files."""
        return Places(self._batches("test"))

    def transfer_batch_to_device(self, batch: Place, device: torch.device, dataloader_idx: int) -> Place:
        """The place as it is: its batch is made where it is wanted."""
        return batch

    def batches(self, split: str, augment: bool = False) -> Batches:
        """A pass over a split in the order of the files, for looking at pictures and for evaluation by hand."""
        return self._batches(split, augment=self.augment if augment else None)

    def pass_over(self, images: ImageSet) -> Batches:
        """A pass over any pictures of this size and these classes, as over the test split, by this process alone."""
        return Batches(
            images,
            self.eval_batch_size,
            mean=self.mean,
            std=self.std,
            device=self._device(),
            augment=self.eval_augment,
            seeds=self.seeds,
        )

    def _batches(self, split: str, shuffle: bool = False, augment: Augment | None = None) -> Batches:
        images = self.split(split)
        trainer = self.trainer
        world_size = trainer.world_size if trainer else 1
        evaluated = split != "train" and augment is None
        return Batches(
            images,
            self.per_device(world_size) if shuffle else self.eval_batch_size,
            mean=self.mean,
            std=self.std,
            device=self._device(),
            augment=self.eval_augment if evaluated else augment,
            shuffle=shuffle,
            seeds=self.seeds,
            epoch=(lambda: 0) if evaluated else self._epoch,  # evaluate.py knows no epoch and gives the same digits
            rank=trainer.global_rank if trainer else 0,
            world_size=world_size,
            drop_last=shuffle and self.drop_last,
        )

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else self.epoch

    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")


def fits(size: int, device: torch.device) -> bool:
    """Whether ``size`` bytes leave the device enough of its memory; devices that share the host's always say yes."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return size <= SHARE_OF_FREE_MEMORY * free


def placed(images: ImageSet, device: torch.device) -> ImageSet:
    """The same pictures on ``device``; not copied if they are there."""
    return ImageSet(
        images.images.to(device),
        images.labels.to(device),
        images.classes,
        {name: values.to(device) for name, values in images.extra.items()},
    )
