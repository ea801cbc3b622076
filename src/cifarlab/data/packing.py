"""Many pictures decoded at a time, with a bar for who waits."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

HANDFUL = 256  # pictures a task
WORTH_PROCESSES = 20_000  # pictures: a thread decodes 8,000 a second, starting the processes takes about two seconds


@contextmanager
def packing(name: str, total: int) -> Iterator[tuple[Executor, Callable[[int], object]]]:
    """Workers for so many pictures, and what is told how many have been decoded."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
        _workers(total) as pool,
    ):
        task = progress.add_task(f"packing {name}", total=total)
        yield pool, lambda count: progress.advance(task, count)


def _workers(total: int) -> Executor:
    """Processes, since Pillow holds Python's lock for most of a small picture; threads for a few pictures."""
    if total < WORTH_PROCESSES:
        return ThreadPoolExecutor()
    return ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))  # A fork would inherit torch's threads.
