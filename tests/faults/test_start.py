"""What a verb prints stops nothing, and it can be stopped before anything has begun."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cifarlab.training.records.faults import Occupied, UnusableCheckpoint
from cifarlab.verbs.leaving import leaving
from cifarlab.verbs.start import Stopped, harmless, stoppable

ROOT = Path(__file__).resolve().parents[2]


def opened(descriptor: int, encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(descriptor, "w"), encoding=encoding, write_through=True)


def test_a_closed_pipe_takes_what_it_is_given() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")
    stream = harmless(opened(writer))
    for _ in range(3):
        print("a line", file=stream)
    stream.close()


def test_a_full_disk_does() -> None:
    with pytest.raises(OSError, match="No space left"):
        Path("/dev/full").write_text("x")
    with Path("/dev/full").open("w") as full:
        stream = harmless(full)
        print("x" * 100_000, file=stream)
        stream.flush()


@pytest.mark.parametrize(
    ("encoding", "shown"), [("latin-1", b"3 ? 4 \xe9\n"), ("ascii", b"3 ? 4 ?\n"), ("utf-8", None)]
)
def test_what_a_terminal_cannot_show_is_a_question_mark(encoding: str, shown: bytes | None) -> None:
    reader, writer = os.pipe()
    plain = opened(writer, encoding)  # as `sys.__stdout__` is kept
    print("3 … 4 é", file=harmless(plain))
    assert os.read(reader, 100) == (shown or "3 … 4 é\n".encode())
    os.close(reader)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Occupied("another process is at work in outputs/a"), 1, "another process is at work in outputs/a"),
        (UnusableCheckpoint("last.ckpt is damaged"), 1, "last.ckpt is damaged"),
        (ValueError("lr=-1: allowed: a number above 0"), 2, "lr=-1: allowed: a number above 0"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a/result.json"),
            1,
            "a/result.json: No space left on device",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "outputs"), 1, "outputs: Permission denied"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "multirun/aaa"), 2, "multirun/aaa: File name too long"),
        (OSError("the page could not be written"), 1, "the page could not be written"),
        (Stopped(signal.SIGTERM), 143, "stopped by SIGTERM before a run had begun"),
        (Stopped(signal.SIGINT), 130, "stopped by SIGINT before a run had begun"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_end_is_one_line_and_its_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, leaving():
        raise error
    assert (end.value.code, capsys.readouterr().err) == (code, f"{said}\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_run_raises_once_and_leaves_the_handlers_as_they_were(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped), stoppable():  # noqa: PT012 - the signal comes between the two
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert signal.getsignal(number) is before


def test_a_signal_during_the_imports_is_one_line(tmp_path: Path) -> None:
    """The imports take seconds: the script says that it listens by what it prints, then it is stopped."""
    for number in (signal.SIGINT, signal.SIGTERM):
        code = "from cifarlab.verbs.start import begin; begin(); print('here', flush=True); import time; time.sleep(20)"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (128 + number, f"stopped by {number.name} before anything had begun\n")
