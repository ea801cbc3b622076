"""Pictures of any format and size that Pillow opens, as squares of one size. Imports no torch, so that a process that
only decodes starts quickly."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

# Pillow's own limit, above which it warns and above twice of which it refuses. A square of 9,459 pixels a side.
MOST_PIXELS = 89_478_485
# What Pillow would hand to another program: Ghostscript runs the code that an EPS file is.
NOT_READ = ("EPS",)

# What a picture was before it became a square of three channels of 8 bits, and what that does to it.
KINDS = {
    "grey": "three equal channels",
    "16 bits": "scaled to 8",
    "transparent": "laid on white",
    "animated": "the first frame is taken",
    "small": "enlarged",
}


class Unreadable(ValueError):
    """A file that gives no picture; the message says why, and does not name it."""


class Picture(NamedTuple):
    """A picture as a net is shown it.

    Attributes:
        pixels: uint8 ``(size, size, 3)``.
        kinds: those of `KINDS` that it was of.
    """

    pixels: NDArray[np.uint8]
    kinds: tuple[str, ...]


def read_picture(file: Path | BinaryIO, size: int) -> Picture:
    """The largest square in the middle, resized by Pillow's bicubic filter, which averages what it shrinks.

    A picture that is ``size`` high and wide comes as it is, to the pixel. One that a camera has turned (EXIF) is turned
    back. Only headers are read of a picture with more than `MOST_PIXELS`.

    Args:
        file: of any format that Pillow reads, but those of `NOT_READ`.
        size: side in pixels.

    Raises:
        Unreadable: it holds no picture, a damaged one, one that is too large, or pixels without a known white.
    """
    try:
        with Image.open(file, formats=_formats()) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise Unreadable(f"{opened.width}x{opened.height} pixels, allowed are {MOST_PIXELS:,} in all")
            animated = getattr(opened, "is_animated", False)
            # A camera's JPEG of twelve megapixels comes at a quarter of its size, or less, in a third of the time.
            opened.draft(None, (4 * size, 4 * size))
            picture, kinds = _in_rgb(ImageOps.exif_transpose(opened))
            small = min(opened.size) < size
    except Unreadable:
        raise
    except Exception as error:  # which one a damaged file is depends on the decoder that gave up
        raise Unreadable(_reason(error)) from None
    found = (*kinds, *(["animated"] if animated else []), *(["small"] if small else []))
    return Picture(np.asarray(_square(picture, size)), found)


def read_files(paths: Sequence[Path], size: int) -> list[tuple[Picture | None, str]]:
    """Each file's picture with the SHA-256 of the file, or None and why there is none."""
    found: list[tuple[Picture | None, str]] = []
    for path in paths:
        try:
            picture = read_picture(path, size)
            with path.open("rb") as file:
                found.append((picture, hashlib.file_digest(file, "sha256").hexdigest()))
        except (Unreadable, OSError) as error:
            found.append((None, str(error)))
    return found


def _in_rgb(picture: Image.Image) -> tuple[Image.Image, list[str]]:
    """The picture in three channels of 8 bits, and the kinds that it was of."""
    if picture.mode == "F":
        raise Unreadable("its pixels are fractions without a known white")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65_535:
            raise Unreadable("its pixels have 32 bits and no known white")
        return Image.fromarray(np.round(values / 257).astype(np.uint8)).convert("RGB"), ["grey", "16 bits"]
    kinds = ["grey"] if picture.mode in ("1", "L", "LA", "La") else []
    if picture.has_transparency_data:
        above = picture.convert("RGBA")
        white = Image.new("RGBA", above.size, "white")
        return Image.alpha_composite(white, above).convert("RGB"), [*kinds, "transparent"]
    return picture.convert("RGB"), kinds


def _square(picture: Image.Image, size: int) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return square if side == size else square.resize((size, size), Image.Resampling.BICUBIC)


@functools.cache
def _formats() -> tuple[str, ...]:
    """All that Pillow has a reader for, without those that start other programs."""
    Image.init()
    return tuple(name for name in Image.ID if name not in NOT_READ)


def _reason(error: Exception) -> str:
    """What a reader has against a file, without the name that Pillow puts into some of its messages."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "no picture of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MOST_PIXELS:,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damaged ({next(iter(str(error).splitlines()), type(error).__name__)})"
