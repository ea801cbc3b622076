"""Paths as they are typed."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str) -> Path:
    """The path with the home folder for a leading ``~``; as it stands where there is no user of that name."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for a name that is no user's
