"""Pictures of your own: a folder a class, packed once, and packed anew when they change."""

from __future__ import annotations

import copy
import functools
import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from cifarlab.data.cache import Packed
from cifarlab.data.images import ImageSet
from cifarlab.data.packing import HANDFUL, packing
from cifarlab.data.pictures import KINDS, read_files
from cifarlab.data.sources import Channels, MissingData, Source
from cifarlab.data.splits import cut
from cifarlab.data.tree import BadTree, Tree, find_tree, state

log = logging.getLogger(__name__)

TEST_SHARE = 0.2  # of each class, where there is no test/
TEST_SEED = 0  # the same test pictures for all runs, whatever their `split_seed`
SKEWED = 3.0  # training pictures of the largest class for one of the smallest, from where that is a warning
NAMED = 8  # files that one message names


class Folder(Source):
    """Class folders of pictures: ``root/CLASS/...``, or ``root/{train,val,test}/CLASS/...``.

    Any format and size that Pillow reads, at any depth below the class's folder; hidden files are passed over. Each
    picture becomes the largest square in its middle, resized (`pictures.read_picture`). Files that give no picture are
    named and left out. Without ``test`` a fifth of each class of train is the test split, the same for every run;
    without ``val`` (or ``valid``, ``validation``) val is cut from train as for other data sets. Mean and deviation are
    measured, on the training pictures.

    Args:
        content: digest of the pictures that are wanted with their classes and splits, which stands for a name in the
            run's key; a run writes down what it found. null takes what lies there.
    """

    name: ClassVar[str] = "folder"
    has_val: ClassVar[bool] = True  # it may have one

    def __init__(self, *, content: str | None = None) -> None:
        self.wanted = content
        self.size = 32

    def sized(self, size: int) -> Folder:
        other = copy.copy(self)
        other.size = size
        return other

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "test")  # a tree may have validation pictures, and need not

    @property
    def file(self) -> str:
        return f"{self.name}-{self.size}"

    def fingerprint(self, root: Path) -> str:
        return state(root)

    def content(self, root: Path) -> str:
        """The digest of what lies under ``root`` now, the same wherever it lies.

        Raises:
            MissingData, DiskFull: as in `prepare`, which is called first.
        """
        self.prepare(root)
        packed = self._open(root.expanduser())
        return "" if packed is None else packed.fingerprint.partition(" ")[2]

    def statistics(self, root: Path) -> tuple[Channels, Channels]:
        return moments(self.load(root)["train"].images)

    def prepare(self, root: Path) -> None:
        root = root.expanduser()
        if not root.is_dir() and self._open(root) is None:
            raise MissingData(f"data.root={root}: there is no such folder; data=folder wants one with a folder a class")
        super().prepare(root)

    def load(self, root: Path) -> dict[str, ImageSet]:
        """As the base's.

        Raises:
            MissingData: also where the pictures are other ones than are wanted.
        """
        if self.wanted is not None and (found := self.content(root)) != self.wanted:
            raise MissingData(
                f"data.root={root}: these are other pictures ({found}) than the run's ({self.wanted}); it can be "
                "tested and gone on with by its own alone"
            )
        return super().load(root)

    def read(self, root: Path) -> dict[str, ImageSet]:
        return self.pack(root).sets

    def pack(self, root: Path) -> Packed:
        before = state(root)  # what changes while it is read is packed again
        try:
            tree = find_tree(root)
        except BadTree as fault:
            raise MissingData(f"data=folder: {fault}") from None
        made = _Packing(tree, self.size)
        sets = made.sets()
        made.tell()
        _report(tree, sets)
        if "test" not in sets:
            sets = _with_test(sets)
        return Packed(sets, f"{before} sha256-{made.digest.hexdigest()[:16]}")

    def is_of(self, packed: Packed, current: str) -> bool:
        """By the first half of the fingerprint; the second is of the content."""
        return packed.fingerprint.partition(" ")[0] == current


class _Packing:
    """Decodes a tree, and remembers what is odd about its files."""

    def __init__(self, tree: Tree, size: int) -> None:
        self.tree, self.size = tree, size
        self.left_out: list[str] = []
        self.kinds: dict[str, list[Path]] = {kind: [] for kind in KINDS}
        self.first: dict[str, Path] = {}  # by the digest of the file
        self.copies: list[tuple[Path, Path]] = []
        self.digest = hashlib.sha256()

    def sets(self) -> dict[str, ImageSet]:
        """The image sets of the tree.

        Raises:
            MissingData: no file of a class gave a picture.
        """
        with packing("folder", self.tree.total) as (pool, done):
            sets = {split: self._decoded(split, pool, done) for split in self.tree.files}
        for split, images in sets.items():
            self._refuse_a_class_without_pictures(split, images.labels)
        return sets

    def tell(self) -> None:
        """Say what was left out, and what was changed."""
        if self.left_out:
            more = f"\n  and {len(self.left_out) - NAMED} more" if len(self.left_out) > NAMED else ""
            shown = "".join(f"\n  {fault}" for fault in self.left_out[:NAMED])
            log.warning("%s: left out, as no picture (%d):%s%s", self.tree.root, len(self.left_out), shown, more)
        if self.copies:
            log.warning(
                "%s: copies of other files (%d), such as %s of %s; a copy that falls into another split tests nothing",
                *(self.tree.root, len(self.copies), *self.copies[0]),
            )
        for kind, files in self.kinds.items():
            if files:
                log.info("%s: %d %s (%s), such as %s", self.tree.root, len(files), kind, KINDS[kind], files[0])

    def _decoded(self, split: str, pool: Executor, done: Callable[[int], object]) -> ImageSet:
        files = [
            (path, place)
            for place, name in enumerate(self.tree.classes)
            for path in self.tree.files[split].get(name, ())
        ]
        handfuls = [[path for path, _ in files[start : start + HANDFUL]] for start in range(0, len(files), HANDFUL)]
        images = np.empty((len(files), self.size, self.size, 3), dtype=np.uint8)
        labels: list[int] = []
        remaining = iter(files)
        for handful in pool.map(functools.partial(read_files, size=self.size), handfuls):
            for (picture, text), (path, label) in zip(handful, remaining, strict=False):
                name = path.relative_to(self.tree.root)
                if picture is None:
                    self.left_out.append(f"{name}: {text}")
                    continue
                images[len(labels)] = picture.pixels
                labels.append(label)
                self._note(name, picture.kinds, text)
                self.digest.update(os.fsencode(f"{split}\0{self.tree.classes[label]}\0{text}\n"))
            done(len(handful))
        pixels = torch.from_numpy(images[: len(labels)]).permute(0, 3, 1, 2)
        return ImageSet(pixels, torch.tensor(labels, dtype=torch.int64), self.tree.classes)

    def _note(self, name: Path, kinds: tuple[str, ...], digest: str) -> None:
        for kind in kinds:
            self.kinds[kind].append(name)
        if (first := self.first.setdefault(digest, name)) != name:
            self.copies.append((name, first))

    def _refuse_a_class_without_pictures(self, split: str, labels: Tensor) -> None:
        counts = torch.bincount(labels, minlength=len(self.tree.classes))
        for place, name in enumerate(self.tree.classes):
            if name in self.tree.files[split] and not counts[place]:
                file = self.tree.files[split][name][0]
                fault = next(line for line in self.left_out if line.startswith(str(file.relative_to(self.tree.root))))
                raise MissingData(f"data=folder: {file.parent} holds no picture ({fault})")


def _with_test(sets: Mapping[str, ImageSet]) -> dict[str, ImageSet]:
    """The same, with a part of each class of train set aside as test."""
    train = sets["train"]
    kept, taken = cut(train.labels, 0, round(TEST_SHARE * len(train)), TEST_SEED)
    log.info("there is no test/: a fifth of each class is set aside as the test split, %s pictures", f"{len(taken):,}")
    return {**sets, "train": train.subset(kept), "test": train.subset(taken)}


def _report(tree: Tree, sets: Mapping[str, ImageSet]) -> None:
    """Say how many pictures there are, and how evenly the classes share them."""
    train = sets["train"]
    height, width = train.image_size
    sizes = ", ".join(f"{split} {len(images):,}" for split, images in sets.items())
    log.info("%s: %d classes, %dx%d pixels; %s", tree.root, train.num_classes, height, width, sizes)
    counts = torch.bincount(train.labels, minlength=train.num_classes)
    most, fewest = int(counts.argmax()), int(counts.argmin())
    ratio = counts[most].item() / counts[fewest].item()
    named = [f"{train.classes[place]} {counts[place]:,}" for place in (most, fewest)]
    level = logging.WARNING if ratio >= SKEWED else logging.INFO
    log.log(level, "training pictures by class: most %s, fewest %s (%.1f to 1)", *named, ratio)
    for split, images in sets.items():
        missing = [train.classes[place] for place in range(train.num_classes) if not (images.labels == place).any()]
        if missing:
            log.warning("%s has no picture of %s", split, ", ".join(missing[:NAMED]))


def moments(images: Tensor) -> tuple[Channels, Channels]:
    """Mean and deviation of each channel over all pixels, in [0, 1]; a deviation is at least 1/255, the smallest step.

    Args:
        images: uint8 ``(N, 3, H, W)``.
    """
    values = torch.arange(256, dtype=torch.float64)
    shares = [torch.bincount(images[:, place].reshape(-1), minlength=256).double() for place in range(3)]
    mean = [float(share @ values / share.sum()) for share in shares]
    variance = [float(share @ (values - m).square() / share.sum()) for share, m in zip(shares, mean, strict=True)]
    red, green, blue = (max(each**0.5, 1.0) / 255 for each in variance)
    return (mean[0] / 255, mean[1] / 255, mean[2] / 255), (red, green, blue)
