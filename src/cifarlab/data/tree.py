"""Class folders: which files are whose, before anything of them is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What a split's folder may be called.
CHEAP = 64 * 2**20  # bytes: SHA-256 takes 0.05 to 0.2 s for them
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


class BadTree(ValueError):
    """Folders that are no classes; the message names what is wrong and what is wanted."""


@dataclass(frozen=True)
class Tree:
    """The files of each class in each split, in alphabetical order.

    Attributes:
        root: the folder.
        classes: names of the classes of train, in alphabetical order.
        files: split -> class -> files. ``train`` alone where ``root`` holds the class folders itself.
    """

    root: Path
    classes: tuple[str, ...]
    files: Mapping[str, Mapping[str, tuple[Path, ...]]]

    @property
    def total(self) -> int:
        return sum(len(files) for by_class in self.files.values() for files in by_class.values())


def find_tree(root: Path) -> Tree:
    """The class folders in ``root``, or in its ``train``, ``val`` and ``test``.

    Raises:
        BadTree: there are none, or one alone, or the splits do not fit together.
    """
    folders = _split_folders(root)
    files = {
        split: {place.name: tuple(walk(place)) for place in subfolders(folder)} for split, folder in folders.items()
    }
    classes = tuple(files["train"])
    if len(classes) < 2:
        found = f"one class folder ({classes[0]})" if classes else "no class folder"
        raise BadTree(f"{folders['train']} holds {found}: wanted is a folder of pictures for each class, two at least")
    for split, by_class in files.items():
        if strange := [name for name in by_class if name not in classes]:
            raise BadTree(
                f"{folders[split] / strange[0]}: train has no class {strange[0]}; a class that is validated or tested "
                f"needs training pictures{_and_more(len(strange) - 1)}"
            )
        if empty := [name for name, own in by_class.items() if not own]:
            more = _and_more(len(empty) - 1)
            raise BadTree(f"{folders[split] / empty[0]} holds no file: give it pictures, or take it away{more}")
    return Tree(root, classes, files)


def state(root: Path) -> str:
    """A text that changes with the name, size or time of any file in the folders of ``root``; empty without any."""
    digest = hashlib.sha256()
    files = [path for folder in subfolders(root) for path in walk(folder)] if root.is_dir() else []
    for path in files:
        about = path.stat()
        # With the inode's own time, which a copy that keeps the time of the original changes too.
        line = f"{path.relative_to(root)}\0{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}\n"
        digest.update(os.fsencode(line))
    return digest.hexdigest() if files else ""


def state_of_files(root: Path, patterns: Sequence[str]) -> str:
    """A text that changes with the files that match one of the patterns below ``root``; empty where there is none.

    It is the digest of names and content up to `CHEAP` bytes, beyond of names, sizes and times. Hidden files, packed
    sets and parts of downloads do not count.
    """
    found = {path for pattern in patterns for path in root.glob(pattern)} if root.is_dir() else set()
    names = {path.relative_to(root): path for path in found if path.is_file() and not path.match("*-v[0-9].pt")}
    files = {
        name: path for name, path in names.items() if path.suffix != ".part" and not any(map(_passed_over, name.parts))
    }
    about = {name: path.stat() for name, path in files.items()}
    is_cheap = sum(each.st_size for each in about.values()) <= CHEAP
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        times = f"{about[name].st_mtime_ns} {about[name].st_ctime_ns}"
        own = hashlib.sha256(path.read_bytes()).hexdigest() if is_cheap else times
        digest.update(os.fsencode(f"{name}\0{about[name].st_size} {own}\n"))
    return digest.hexdigest() if files else ""


def subfolders(folder: Path) -> list[Path]:
    """Those that are not hidden, in alphabetical order."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _passed_over(path.name))


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder that are not hidden, in alphabetical order; links are followed, in no circle."""
    seen: set[str] = set()
    for place, names, files in os.walk(folder, followlinks=True):
        here = os.path.realpath(place)
        names[:] = [] if here in seen else sorted(name for name in names if not _passed_over(name))
        if here in seen:
            continue
        seen.add(here)
        yield from (path for name in sorted(files) if not _passed_over(name) and (path := Path(place, name)).is_file())


def _split_folders(root: Path) -> dict[str, Path]:
    """Split -> folder; ``{"train": root}`` where ``root`` holds the classes."""
    there = {place.name: place for place in subfolders(root)}
    named = {split: [there[name] for name in names if name in there] for split, names in SPLITS.items()}
    if not named["train"]:
        if others := [place for places in named.values() for place in places]:
            raise BadTree(
                f"{others[0]}: there is no {root / 'train'} beside it, with a folder of pictures for each class"
            )
        return {"train": root}
    if len(named["val"]) > 1:
        raise BadTree(f"{' and '.join(map(str, named['val']))}: both would be the validation split, keep one of them")
    return {split: places[0] for split, places in named.items() if places}


def _passed_over(name: str) -> bool:
    """Hidden files, and what macOS leaves in an archive."""
    return name.startswith(".") or name == "__MACOSX"


def _and_more(count: int) -> str:
    return f" ({count} more are so)" if count else ""
