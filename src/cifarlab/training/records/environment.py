"""Where a run came from: code, versions, hardware, command line."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from cifarlab.result import write_json
from cifarlab.training.hardware.device import device_name

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "timm", "hydra-core", "omegaconf", "numpy")


def write_environment(directory: Path, device: torch.device) -> None:
    """Put ``environment.json`` into a run directory."""
    write_json(directory / "environment.json", describe_environment(device))


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


@functools.cache
def _git_state() -> tuple[str | None, bool | None]:
    root = Path(__file__).resolve().parent
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
