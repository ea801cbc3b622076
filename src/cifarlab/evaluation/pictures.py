"""What a net says about pictures that are no data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cifarlab.data.images import ImageSet
from cifarlab.data.pictures import read_files
from cifarlab.job.configure import ConfigError
from cifarlab.job.trained import Trained


@dataclass(frozen=True)
class Classified:
    """One entry a picture.

    Attributes:
        paths: of the files.
        pictures: uint8 ``(N, H, W, 3)``, as the net was shown them.
        probabilities: float32 ``(N, C)``.
        classes: C names.
        skipped: files that give no picture, and why.
    """

    paths: list[Path]
    pictures: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    skipped: list[tuple[Path, str]]

    def best(self, place: int, guesses: int = 3) -> list[tuple[str, float]]:
        """The likeliest classes of a picture with their probabilities."""
        row = self.probabilities[place]
        return [(self.classes[label], float(row[label])) for label in np.argsort(-row, kind="stable")[:guesses]]


def files_in(path: Path) -> list[Path]:
    """The file itself, or all in a folder and its folders in the order of their names, hidden ones left out.

    Raises:
        ConfigError: there is no such file or folder, or no file in it.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ConfigError([f"images={path}: there is no such file or folder"])
    inside = (found.relative_to(path) for found in path.rglob("*") if found.is_file())
    files = sorted(path / found for found in inside if not any(part.startswith(".") for part in found.parts))
    if not files:
        raise ConfigError([f"images={path}: the folder holds no file"])
    return files


def classify(trained: Trained, files: Sequence[Path]) -> Classified:
    """Ask the net about picture files, with the size and normalisation of its training.

    Raises:
        ConfigError: no file gives a picture.
    """
    data = trained.data
    height, width = data.image_size
    if height != width:
        raise ConfigError([f"images=: pictures are read as squares, and this net knows {height}x{width} pixels"])
    read = list(zip(files, read_files(files, height), strict=True))
    skipped = [(path, why) for path, (picture, why) in read if picture is None]
    kept = [(path, picture.pixels) for path, (picture, _) in read if picture is not None]
    if not kept:
        raise ConfigError([f"images=: none of {len(files)} files gives a picture", *map(_line, skipped[:10])])
    pictures = np.stack([pixels for _, pixels in kept])
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    nobody_knows = torch.zeros(len(kept), dtype=torch.int64)
    logits, _ = trained.logits(data.pass_over(ImageSet(images, nobody_knows, data.classes)))
    probabilities = logits.softmax(dim=1).numpy()
    return Classified([path for path, _ in kept], pictures, probabilities, data.classes, skipped)


def _line(skipped: tuple[Path, str]) -> str:
    return f"{skipped[0]}: {skipped[1]}"
