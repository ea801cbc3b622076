"""NVIDIA's multi-process service, which lets processes share a GPU at the same time instead of in turns."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
USUAL_PIPES = Path("/tmp/nvidia-mps")  # where the daemon listens unless CUDA_MPS_PIPE_DIRECTORY says otherwise
PATIENCE = 60.0  # seconds for a start, and for the first context under it


@contextmanager
def shared_gpus(wanted: bool) -> Iterator[Mapping[str, str]]:
    """Within, processes with the variables it gives use the service; none where it is not wanted, here, or working.

    A service that runs already is used as it is, and left running.
    """
    if not wanted or shutil.which(CONTROL) is None or is_running():
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        variables = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        try:
            yield variables if _start(variables) else {}
        finally:
            _control(["quit"], variables)


def is_running() -> bool:
    """Whether somebody has started the service for this process's environment."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", USUAL_PIPES)) / "control").exists()


def _start(variables: Mapping[str, str]) -> bool:
    """Start the service, and see whether a process can use a GPU through it."""
    try:
        subprocess.run([CONTROL, "-d"], env={**os.environ, **variables}, check=True, timeout=PATIENCE)
        program = "import torch; torch.zeros(1, device='cuda').item()"
        tried = [sys.executable, "-c", program]
        subprocess.run(tried, env={**os.environ, **variables}, check=True, timeout=PATIENCE, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"hydra.launcher.mps: not used, {CONTROL} does not work here ({type(error).__name__})", file=sys.stderr)
        return False
    return True


def _control(words: list[str], variables: Mapping[str, str]) -> None:
    """Tell the daemon something; one that is not there has nothing to be told."""
    given = {"env": {**os.environ, **variables}, "input": "\n".join([*words, ""]), "text": True}
    try:
        subprocess.run([CONTROL], check=False, timeout=PATIENCE, capture_output=True, **given)  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError) as error:
        print(f"hydra.launcher.mps: {CONTROL} may still run ({type(error).__name__})", file=sys.stderr)
