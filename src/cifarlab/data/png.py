"""PNG files to arrays. Imports no torch, so that a process that only decodes starts quickly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image


def decode(paths: Sequence[Path | BinaryIO]) -> np.ndarray:
    """uint8 ``(N, H, W, 3)``; a grey picture gets three equal channels.

    Raises:
        ValueError: a file is no PNG picture, or its size is not the first one's; the message names it.
    """
    pictures = []
    for path in paths:
        try:
            with Image.open(path, formats=("PNG",)) as picture:
                pictures.append(np.asarray(picture.convert("RGB")))
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{path} is no PNG picture: {error}") from error
        if pictures[-1].shape != pictures[0].shape:
            here, first = pictures[-1].shape[:2], pictures[0].shape[:2]
            raise ValueError(f"{path} is {here} pixels, {paths[0]} is {first}")
    return np.stack(pictures)
