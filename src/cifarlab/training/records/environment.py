"""Where a run came from: code, versions, hardware, command line."""

from __future__ import annotations

import functools
import os
import platform
import secrets
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from cifarlab.reading import read_as
from cifarlab.result import MOST_BYTES, write_bytes, write_json
from cifarlab.training.hardware.device import device_name

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "timm", "hydra-core", "omegaconf", "numpy")


log = getLogger(__name__)

DIFF = "uncommitted.diff"
LONGEST_DIFF = 1_000_000  # bytes


@dataclass(frozen=True)
class Sittings:
    """How often a run was sat at, this time included, and when it began the first time (ISO 8601, UTC)."""

    count: int
    started: str | None


def write_environment(
    directory: Path, device: torch.device, *, started: str, goes_on: bool, processes: int = 1
) -> Sittings:
    """Put ``environment.json`` into a run directory, and what was not committed beside it.

    A run that is gone on with keeps what the file says of its first sitting; the later ones are listed in it, under
    ``sittings``.

    Args:
        directory: the run directory.
        device: that it runs on.
        started: when this sitting began.
        goes_on: whether it goes on with an earlier one.
        processes: that share the run, each with a device of this kind.
    """
    path = directory / "environment.json"
    first = _earlier(path) if goes_on else None
    number = 2 + len(first.get("sittings", [])) if first is not None else 1
    here = {"started": started, **describe_environment(device), "processes": processes}
    changes = _uncommitted()
    if changes:
        here["git"]["diff"] = DIFF if number == 1 else f"uncommitted-{number}.diff"
        write_bytes(directory / here["git"]["diff"], changes)
    if first is None:
        write_json(path, here | {"sittings": []})
        return Sittings(1, started)
    write_json(path, {**first, "sittings": [*first.get("sittings", []), here]})
    return Sittings(number, first.get("started"))


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Git commit and dirty flag (null outside a checkout), package versions, device, command line."""
    commit, dirty = _git_state()
    return {
        "git": {"commit": commit, "dirty": dirty},
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "process": os.getpid(),
    }


class Sat(TypedDict, total=False):
    """What must be right in the file to add a sitting to it; the rest is kept as it is."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    started: str | None
    sittings: list[dict[str, Any]]


def _earlier(path: Path) -> Sat | None:
    """What the file says; None where there is none.

    One that cannot be read is set aside: it may be all that is known of how the run began.
    """
    try:
        return read_as(TypeAdapter(Sat), path, MOST_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as fault:
        aside = path.with_name(f"environment.damaged-{secrets.token_hex(4)}.json")
        path.rename(aside)
        log.warning(f"{fault}; it is {aside.name} now, and the count of sittings begins anew")
        return None


@functools.cache
def _git_state() -> tuple[str | None, bool | None]:
    try:
        _git("ls-files", "--error-unmatch", __file__)  # installed inside somebody else's checkout, it is not of that
        commit = _git("rev-parse", "HEAD").decode().strip()
        return commit, bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


@functools.cache
def _uncommitted() -> bytes:
    """The changes to tracked files since the commit, as a patch; cut where it is longer than is worth keeping."""
    if not _git_state()[1]:
        return b""
    try:
        diff = _git("diff", "--no-ext-diff", "--no-textconv", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return b""
    if len(diff) <= LONGEST_DIFF:
        return diff
    end = f"\n[cut here: the first {LONGEST_DIFF:,} of {len(diff):,} bytes]\n"
    return diff[:LONGEST_DIFF] + end.encode()


def _git(*arguments: str) -> bytes:
    # A checkout of another owner (a mounted folder, a container) is only read here; nothing of its config is run.
    harmless = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
    command = ["git", "-C", str(Path(__file__).resolve().parent), *harmless, *arguments]
    return subprocess.run(command, capture_output=True, timeout=10, check=True).stdout


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
