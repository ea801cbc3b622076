"""CINIC-10 (Darlow et al. 2018, arXiv 1810.03505): CIFAR-10 with ImageNet pictures of the same classes, packed once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from cifarlab.data import packing
from cifarlab.data.download import Archive, DownloadFailed, obtain
from cifarlab.data.images import ImageSet
from cifarlab.data.png import decode
from cifarlab.data.sources import MissingData, Source

log = logging.getLogger(__name__)

FOLDERS = {"train": "train", "val": "valid", "test": "test"}
FROM_CIFAR, FROM_IMAGENET = 0, 1  # their places in CINIC10.origins


class CINIC10(Source):
    """CINIC-10: 90,000 pictures of 32x32 each for training, validation and test in ten classes; or any tree like it.

    The tree ``{train,valid,test}/CLASS/NAME.png`` lies in ``root/CINIC-10`` or is ``root`` itself; the pictures come in
    the order of class and name. ``extra["origin"]`` is 0 for pictures of CIFAR-10 (``cifar10-*``) and 1 for ImageNet's.
    Its test split contains CIFAR-10's and its other two contain CIFAR-10 training pictures, so training on one of the
    data sets and testing on the other leaks. Mean and deviation are the data set's own README's.
    """

    name: ClassVar[str] = "cinic10"
    mean: ClassVar[tuple[float, float, float]] = (0.47889522, 0.47227842, 0.43047404)
    std: ClassVar[tuple[float, float, float]] = (0.24205776, 0.23828046, 0.25874835)
    has_val: ClassVar[bool] = True
    origins: ClassVar[tuple[str, ...]] = ("cifar", "imagenet")
    pictures: ClassVar[int] = 270_000
    archive: ClassVar[Archive] = Archive(
        name="CINIC-10.tar.gz",
        md5="6ee4d0c996905fe93221de577967a372",
        size=687_544_992,
        # 270,000 files of about 2.2 kB, each in whole blocks of 4 kB.
        unpacked=1_200_000_000,
        mirrors=(
            "https://datashare.ed.ac.uk/bitstreams/e8e186cc-2688-48f1-aa5a-3fda1a43f8b6/download",
            "https://datashare.is.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz",
        ),
    )

    def fingerprint(self, root: Path) -> str:
        """Changes with the name, the size or a time of any picture.

        One of the times is the inode's own, which nobody sets back: a picture that has taken another's place under its
        name, with its size and its time, is seen. Reading the content of all 270,000 would take 4 s at each start where
        the disk's cache has them (two CPU cores, measured on 2,000 of them), looking at their times takes half a second
        to a second.
        """
        tree = find_tree(root)
        if tree is None:
            return ""
        digest = hashlib.sha256()
        for folder in FOLDERS.values():
            for place in sorted(path for path in (tree / folder).iterdir() if path.is_dir()):
                for name, size, *times in sorted(_about(place)):
                    digest.update(os.fsencode(f"{folder}/{place.name}/{name}\0{size} {times}\n"))
        return digest.hexdigest()

    def read(self, root: Path) -> dict[str, ImageSet]:
        tree = find_tree(root)
        if tree is None:
            try:
                obtain(self.archive, root, into=root / "CINIC-10")
            except DownloadFailed as failure:
                raise MissingData(self._explanation(root, str(failure))) from failure
            tree = find_tree(root)
        if tree is None:
            raise MissingData(self._explanation(root, f"  {self.archive.name} holds no tree of train, valid and test"))
        files = {split: _files(tree / folder) for split, folder in FOLDERS.items()}
        total = sum(len(paths) for by_class in files.values() for paths in by_class.values())
        if total != self.pictures:
            log.warning("%s holds %s pictures, the full data set has %s", tree, f"{total:,}", f"{self.pictures:,}")
        classes = tuple(files["train"])
        for split, by_class in files.items():
            if tuple(by_class) != classes:
                others = ", ".join(sorted(by_class.keys() ^ set(classes)))
                raise ValueError(
                    f"{tree}: train and {FOLDERS[split]} have not the same classes, they differ by {others}"
                )
        return pack(files, classes, total)

    def _explanation(self, root: Path, failure: str) -> str:
        root = root.absolute()
        return (
            f"cinic10 is not in {root} and could not be fetched.\nTried:\n{failure}\n"
            f"Wanted is the tree {{train,valid,test}}/CLASS/NAME.png in {root / 'CINIC-10'}, or the archive "
            f"{self.archive.name} (md5 {self.archive.md5}) in {root}, for example with\n"
            f"  curl -L -C - -o '{root / self.archive.name}' {self.archive.mirrors[0]}\n"
            "name the folder that has it with data.root= (the tree itself will do) or the environment variable "
            "CIFARLAB_DATA,\nor go on without: data=digits needs no download."
        )


def find_tree(root: Path) -> Path | None:
    """The folder with train, valid and test: ``root/CINIC-10``, the folder of that name in it, or ``root`` itself."""
    for tree in (root / "CINIC-10", root / "CINIC-10" / "CINIC-10", root):
        if all((tree / folder).is_dir() for folder in FOLDERS.values()):
            return tree
    return None


def _files(folder: Path) -> dict[str, list[Path]]:
    """The pictures by class, both in alphabetical order; hidden files are passed over."""
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return {name: sorted(path for path in (folder / name).glob("[!.]*.png")) for name in classes}


def pack(files: dict[str, dict[str, list[Path]]], classes: tuple[str, ...], total: int) -> dict[str, ImageSet]:
    """Decodes all pictures, many at a time.

    Raises:
        ValueError: a file is no picture, or of another size than the others; the message names it.
    """
    with packing.packing("cinic10", total) as (pool, done):
        sets = {}
        for split, by_class in files.items():
            paths = [path for name in classes for path in by_class[name]]
            if not paths:
                raise ValueError(f"the split {FOLDERS[split]} has no pictures (*.png)")
            images = _decode_all(paths, pool, done)
            labels = torch.repeat_interleave(torch.tensor([len(by_class[name]) for name in classes]))
            origin = [FROM_CIFAR if path.name.startswith("cifar10-") else FROM_IMAGENET for path in paths]
            sets[split] = ImageSet(images, labels, classes, {"origin": torch.tensor(origin)})
    if len({images.image_size for images in sets.values()}) > 1:
        sizes = ", ".join(f"{FOLDERS[split]} {images.image_size}" for split, images in sets.items())
        raise ValueError(f"the splits' pictures differ in size: {sizes}")
    return sets


def _decode_all(paths: list[Path], pool: Executor, done: Callable[[int], object]) -> Tensor:
    """uint8 ``(N, 3, H, W)``, channels last in memory; ``done`` is told of each handful."""
    starts = range(0, len(paths), packing.HANDFUL)
    handfuls = [paths[start : start + packing.HANDFUL] for start in starts]
    images = None
    for start, handful in zip(starts, pool.map(decode, handfuls), strict=True):
        if images is None:
            images = torch.empty((len(paths), *handful.shape[1:]), dtype=torch.uint8)
        if handful.shape[1:] != images.shape[1:]:
            raise ValueError(f"{paths[start]} is {handful.shape[1:3]} pixels, {paths[0]} is {tuple(images.shape[1:3])}")
        images[start : start + len(handful)] = torch.from_numpy(handful)
        done(len(handful))
    assert images is not None
    return images.permute(0, 3, 1, 2)


def _about(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    """Name, size in bytes, and in ns the times of each file and of its inode."""
    with os.scandir(folder) as entries:
        for entry in entries:
            about = entry.stat()
            yield entry.name, about.st_size, about.st_mtime_ns, about.st_ctime_ns
