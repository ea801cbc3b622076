"""Inside the process of one cell, whatever engine has started it."""

from __future__ import annotations

import io
import os
import runpy
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

from cifarlab.result import FILE, Result, Status
from cifarlab.sweeps.launchers.launching import CellRun
from cifarlab.sweeps.ledger import DONE, claimed, status_of
from cifarlab.training.records.claim import is_occupied
from cifarlab.training.records.interruption import Interrupted, raising_on_signals

LOG = "job.log"
RULE = "======"  # begins the line that begins a sitting


def run_cell(cell: CellRun) -> None:
    """Run a cell as ``python train.py`` would, unless it is done or another process is at it.

    Its result is written however it ends; what it prints is appended to ``job.log`` in its folder.

    Raises:
        SystemExit: with the code of the script, if that is not 0.
    """
    os.chdir(cell.cwd)
    with claimed(cell.sweep, cell.key) as mine:
        if not mine or is_occupied(cell.directory) or status_of(cell.directory, cell.key) in DONE:
            return
        try:
            cell.directory.mkdir(parents=True, exist_ok=True)
            with _printing_to(cell.directory / LOG):
                code = _recorded(cell)
        except OSError as error:  # neither log nor result can be written
            print(f"{cell.name}: {error}", file=sys.stderr)
            code = 1
    if code:
        sys.exit(code)


def last_words(directory: Path, lines: int = 20) -> str:
    """The end of what the last sitting at a cell has printed; empty where there is no log."""
    try:
        text = (directory / LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    sitting = text.rpartition(RULE)[2].partition("\n")[2]
    return "\n".join(sitting.strip().splitlines()[-lines:])


def _recorded(cell: CellRun) -> int:
    """Run the script; where it ends without a result, write one. The exit code."""
    before = _stamp(cell.directory)
    status = Status.FAILED
    try:
        with raising_on_signals():
            code = _run_script(cell.argv)
        error = last_words(cell.directory) or f"the script ended with exit code {code}"
    except Interrupted as reason:
        status, code, error = Status.INTERRUPTED, 1, f"stopped by {reason}"
    except BaseException:
        code, error = 1, traceback.format_exc()
        print(error, file=sys.stderr)
    if _stamp(cell.directory) == before:
        record = Result.begun(cell.identity, error=error)
        record.status = status
        record.write(cell.directory)
    return code


def _run_script(argv: tuple[str, ...]) -> int:
    """Run a script as ``__main__``, so that Lightning starts it anew for the other devices of the run."""
    sys.argv[:] = argv
    folder = str(Path(argv[0]).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as Python does for a script, but `runpy` does not
    GlobalHydra.instance().clear()
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        GlobalHydra.instance().clear()
        _flush()
    return 0


@contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    """Append standard output and error, those of C libraries and of child processes too, to a file.

    Its first line says when and who, so that it is never an empty log that a refused run takes away with its folder.
    """
    _flush()
    kept = os.dup(1), os.dup(2)
    with log.open("ab", buffering=0) as file:
        file.write(f"{RULE} {datetime.now():%Y-%m-%d %H:%M:%S} process {os.getpid()}\n".encode())
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a process that is killed takes its buffers with it
    try:
        yield
    finally:
        _flush()
        for saved, number in zip(kept, (1, 2), strict=True):
            os.dup2(saved, number)
            os.close(saved)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _stamp(directory: Path) -> tuple[int, int] | None:
    """Tells whether the result was written anew: every write makes a new file."""
    try:
        found = (directory / FILE).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
