"""Packed data sets: one file each, written in one atomic step and read by memory map."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import sys
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from cifarlab.data.disk import room_for, writable
from cifarlab.data.images import ImageSet

log = logging.getLogger(__name__)

FORMAT = 1  # Part of the file's name: a new layout gets a new name, so versions can live side by side.

_believed: set[tuple[str, int, int, int]] = set()


@dataclass(frozen=True)
class Packed:
    """What a cache file holds: image sets by split, and the state of the originals they were read from."""

    sets: dict[str, ImageSet]
    fingerprint: str


def user_folder() -> Path:
    """The user's cache folder: ``$XDG_CACHE_HOME``, else what the platform has for it."""
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "cifarlab"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "cifarlab" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cifarlab"
    return Path.home() / ".cache" / "cifarlab"


def folders(root: Path) -> tuple[Path, Path]:
    """Where the caches of ``root`` may lie: beside the data, or in a folder of the user's that is named after it."""
    digest = hashlib.sha256(os.fsencode(root.expanduser().resolve())).hexdigest()[:12]
    return root, user_folder() / digest


def home(root: Path) -> Path:
    """The first of the two folders that can be written.

    Raises:
        ValueError: neither can.
    """
    candidates = folders(root)
    for folder in candidates:
        if writable(folder):
            return folder
    raise ValueError(f"neither {candidates[0]} nor {candidates[1]} can be written; name another folder with data.root=")


def file_name(name: str) -> str:
    return f"{name}-v{FORMAT}.pt"


def write(path: Path, packed: Packed) -> None:
    """Writes ``path`` whole or not at all; other processes go on reading the file that was there.

    Raises:
        DiskFull: the folder has no room for it.
    """
    content = {
        "format": FORMAT,
        "name": path.name,
        "checksum": checksum(packed.sets),
        "fingerprint": packed.fingerprint,
        "sets": {
            split: {
                # As Batches gathers them, so that it needs no second copy.
                "images": images.images.contiguous(memory_format=torch.channels_last),
                "labels": images.labels.contiguous(),
                "classes": list(images.classes),
                "extra": {name: values.contiguous() for name, values in images.extra.items()},
            }
            for split, images in packed.sets.items()
        },
    }
    size = sum(images.images.nbytes + images.labels.nbytes * (1 + len(images.extra)) for images in packed.sets.values())
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with room_for(size, path.parent, f"the packed data set {path.name}"), partial.open("wb") as file:
            _save(content, file)
            file.flush()
            # Else a power cut after the rename can leave a file of the right size and no content.
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _save(content: dict, file: IO[bytes]) -> None:
    """``torch.save``, with the disk's error where it stands in the way: torch reports its own confusion after it."""
    try:
        torch.save(content, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def checksum(sets: Mapping[str, ImageSet]) -> int:
    """CRC-32 of all numbers, pictures by rows: it finds every change of up to 32 bits in a row."""
    value = 0
    for split in sorted(sets):
        pictures = sets[split].images.permute(0, 2, 3, 1)
        for tensor in (pictures, sets[split].labels, *(sets[split].extra[name] for name in sorted(sets[split].extra))):
            value = zlib.crc32(tensor.contiguous().numpy().data.cast("B") if tensor.numel() else b"", value)
    return value


def read(path: Path, splits: Collection[str] = ("train", "test")) -> Packed | None:
    """The sets in ``path`` as memory maps, or None where the file is missing, damaged or another data set's, or lacks a
    split.

    It is believed once it has passed: name, splits, shapes, labels and checksum are looked at when a process first
    opens it, and again when the file has changed.
    """
    if not path.is_file():
        return None
    about = path.stat()
    known = (str(path), about.st_ino, about.st_size, about.st_mtime_ns)
    try:
        content: Mapping = torch.load(path, mmap=True, weights_only=True, map_location="cpu")
        sets = {
            split: ImageSet(part["images"], part["labels"], tuple(part["classes"]), dict(part["extra"]))
            for split, part in content["sets"].items()
        }
        if known not in _believed:
            _check(content, sets, path, splits)
            _believed.add(known)
        return Packed(sets, content["fingerprint"])
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        log.warning("%s is damaged and will be packed again (%s)", path, str(error).splitlines()[0])
        return None


def _check(content: Mapping, sets: Mapping[str, ImageSet], path: Path, splits: Collection[str]) -> None:
    """Raise a ValueError where the file is not what `write` has written for this data set."""
    if content.get("name") != path.name:
        raise ValueError(f"it holds {content.get('name', 'a set packed by an earlier version')}")
    if not set(splits) <= sets.keys():
        raise ValueError(f"it has the splits {', '.join(sets)}; wanted are {', '.join(splits)}")
    for split, images in sets.items():
        pictures, labels = images.images, images.labels
        if pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[1] != 3:
            raise ValueError(f"its {split} pictures are {pictures.dtype} {tuple(pictures.shape)}")
        if any(len(values) != len(pictures) for values in (labels, *images.extra.values())):
            raise ValueError(f"its {split} split has {len(pictures)} pictures and {len(labels)} labels")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < images.num_classes:
            raise ValueError(f"its {split} labels are not below {images.num_classes}")
    if content.get("checksum") != checksum(sets):
        raise ValueError("its checksum is another one")
