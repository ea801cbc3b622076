"""JSON that may come from anybody: read within limits, or named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 256 * 2**20  # a ledger of 100,000 cells has 60 MB
MOST_DIGITS = 40  # of a number; what is longer is none that a run could have measured


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a file.

    Args:
        path: of the file.

    Raises:
        OSError: there is no file, or it cannot be read.
        ValueError: it is no JSON, no mapping, too large, too deep, or has a number of too many digits; the message
            names the file.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path} is damaged: {size} bytes, at most {MOST_BYTES} are read")
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"), parse_int=_integer, parse_float=_number)
    except RecursionError:
        raise ValueError(f"{path} is damaged: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} is damaged: a mapping is needed, it holds a {type(values).__name__}")
    return values


def _integer(digits: str) -> int:
    return int(_checked(digits))


def _number(digits: str) -> float:
    return float(_checked(digits))


def _checked(digits: str) -> str:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return digits
