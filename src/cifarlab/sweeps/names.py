"""Names for folders, made of overrides."""

from __future__ import annotations

import re

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_NAME = 200  # file systems end at 255 bytes; a key's digits and the names of temporary files want some


def bare(key: str) -> str:
    """A key without Hydra's ``+`` and ``~``."""
    return key.lstrip("+~")


def assignment(key: str, value: str) -> str:
    """``key=value``; a deletion (``~key``) has no value."""
    return key if key.startswith("~") and not value else f"{key}={value}"


def safe(text: str) -> str:
    """Letters, digits and ``. _ -`` only, so that a name passes through a shell, a URL and Hydra."""
    return UNSAFE.sub("_", bare(text)).strip("_") or "none"


def fitting(name: str, digits: str) -> str:
    """The name, cut where a file system would refuse it, with six digits that tell it from others cut alike."""
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}.{digits[:6]}"
