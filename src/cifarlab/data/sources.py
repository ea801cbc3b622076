"""What exists and where it comes from: the base of every data set."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from filelock import FileLock, Timeout

from cifarlab.data import cache
from cifarlab.data.images import ImageSet
from cifarlab.data.tree import state_of_files

log = logging.getLogger(__name__)

Channels = tuple[float, float, float]


class MissingData(ValueError):
    """The originals of a data set are not there and could not be fetched; the message says what to put where."""


class Source(ABC):
    """A data set that is read once from its original files, packed into one file, and memory-mapped from then on.

    Attributes:
        name: what the data set is called in configs and results.
        mean: red, green and blue mean of the training pictures, pixels in [0, 1].
        std: their standard deviation over all pixels of a channel, pixels in [0, 1].
        has_val: whether it comes with a validation split of its own.
        originals: patterns below ``root`` of the files that it is read from: all, unless a set says which.
        origins: names of where its pictures come from, if from several places; ``extra["origin"]`` has their numbers.
    """

    name: ClassVar[str]
    mean: ClassVar[Channels]
    std: ClassVar[Channels]
    has_val: ClassVar[bool] = False
    originals: ClassVar[tuple[str, ...]] = ("**/*",)
    origins: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def read(self, root: Path) -> dict[str, ImageSet]:
        """The image sets by split, from the original files under ``root``, which are fetched where they are missing.

        Runs under the data set's lock, at most once at a time on a machine.

        Raises:
            MissingData: the originals are neither there nor to be had.
        """

    def sized(self, size: int) -> Source:
        """The same data set with pictures of so many pixels a side.

        Raises:
            ValueError: its pictures have the size that they have.
        """
        if size != 32:
            raise ValueError(f"data.image_size={size}: the pictures of {self.name} are not resized; data=folder's are")
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """What a packed file must hold."""
        return ("train", "val", "test") if self.has_val else ("train", "test")

    @property
    def file(self) -> str:
        """What the packed file is called, without the ending."""
        return self.name

    def statistics(self, root: Path) -> tuple[Channels, Channels]:
        """Mean and deviation of each channel of the training pictures, in [0, 1]."""
        return self.mean, self.std

    def fingerprint(self, root: Path) -> str:
        """A text that changes when the originals under ``root`` do; empty where they cannot, or are not there.

        Of all `originals` together: their content, where they are small, else names, sizes and times.
        """
        return state_of_files(root, self.originals)

    def content(self, root: Path) -> str | None:
        """A digest of the pictures under ``root`` where they are whatever lies there; None where the name says which.

        Raises:
            MissingData, DiskFull: as in `prepare`, which is called first.
        """
        return None

    def pack(self, root: Path) -> cache.Packed:
        """What goes into the packed file.

        Raises:
            MissingData: as in ``read``.
        """
        sets = self.read(root)
        return cache.Packed(sets, self.fingerprint(root))

    def prepare(self, root: Path) -> None:
        """Makes sure that the packed file exists and is whole; does nothing where it is.

        Jobs that come at the same time wait for the first one. Once packed it only opens the file, in milliseconds.

        Raises:
            MissingData: the originals are neither there nor to be had.
            DiskFull: there is no room for the download or the packed file.
        """
        root = root.expanduser()
        if self._open(root) is not None:
            return
        folder = cache.home(root)
        with _waiting(FileLock(folder / f".{self.file}.lock"), self.name):
            if self._open(root) is not None:
                return
            cache.write(folder / cache.file_name(self.file), self.pack(root))

    def load(self, root: Path) -> dict[str, ImageSet]:
        """``{"train": ..., "test": ...}``, and ``"val"`` where the data set has its own, memory-mapped.

        Raises:
            MissingData, DiskFull: as in ``prepare``, which is called where there is no packed file.
        """
        root = root.expanduser()
        packed = self._open(root)
        if packed is None:
            self.prepare(root)
            packed = self._open(root)
        if packed is None:
            raise MissingData(f"the packed file of {self.name} for {root} vanished or broke while it was opened")
        return packed.sets

    def _open(self, root: Path) -> cache.Packed | None:
        """The packed file, if there is one that is whole and as old as the originals (or they are gone)."""
        current = self.fingerprint(root)
        for folder in cache.folders(root):
            packed = cache.read(folder / cache.file_name(self.file), self.splits)
            if packed is not None and (not current or self.is_of(packed, current)):
                return packed
        return None

    def is_of(self, packed: cache.Packed, current: str) -> bool:
        """Whether the packed file was made of the originals as they are."""
        return packed.fingerprint == current


@contextmanager
def _waiting(lock: FileLock, name: str) -> Iterator[None]:
    """Holds the lock, and says so if another job has it first."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another job is preparing %s: waiting for it", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
