"""Packed data sets: one file each, written in one atomic step and read by memory map."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from cifarlab.data.disk import room_for, writable
from cifarlab.data.images import ImageSet

log = logging.getLogger(__name__)

FORMAT = 1  # Part of the file's name: a new layout gets a new name, so versions can live side by side.


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


def read(path: Path) -> Packed | None:
    """The sets in ``path`` as memory maps, or None where the file is missing or damaged."""
    if not path.is_file():
        return None
    try:
        content: Mapping = torch.load(path, mmap=True, weights_only=True, map_location="cpu")
        sets = {
            split: ImageSet(part["images"], part["labels"], tuple(part["classes"]), dict(part["extra"]))
            for split, part in content["sets"].items()
        }
        return Packed(sets, content["fingerprint"])
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        log.warning("%s is damaged and will be packed again (%s)", path, str(error).splitlines()[0])
        return None
