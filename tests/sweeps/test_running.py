"""The loop of a sweep, with a launcher that only pretends."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from cifarlab.job.preflight import Planned
from cifarlab.result import Identity, Result
from cifarlab.sweeps import progress as progress_module
from cifarlab.sweeps import running as running_module
from cifarlab.sweeps.launchers.launching import CellLauncher, CellRun
from cifarlab.sweeps.ledger import Cell, claimed
from cifarlab.sweeps.progress import Progress, looking
from cifarlab.sweeps.running import ELSEWHERE, Running

Work = tuple[Cell, Planned]


def cell(number: int) -> Cell:
    return Cell(f"seed-{number}", f"{number:016}", "g", (f"seed={number}",))


def write(directory: Path, number: int, status: str, **known: object) -> None:
    """A cell's result."""
    folder = directory / f"seed-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    result = Result.begun(Identity(f"{number:016}", "g"), **known)
    result.status = status  # type: ignore[assignment]
    result.write(folder)


class Pretending(CellLauncher):
    """Runs nothing: cells end as they are told to, two at once.

    Args:
        fates: cell's number -> how it ends: a status, ``nothing`` at all, or the cause of its death after ``!``.
    """

    def __init__(self, fates: dict[int, str]) -> None:
        super().__init__()
        self.fates = fates
        self.taken: list[str] = []

    def slots(self) -> int:
        return 2

    def run(self, cells: Iterator[CellRun]) -> Iterator[tuple[CellRun, str | None]]:
        at_work: list[CellRun] = []
        while True:
            while len(at_work) < 2 and (taken := next(cells, None)):
                at_work.append(taken)
                self.taken.append(taken.name)
            if not at_work:
                return
            ended = at_work.pop(0)
            fate = self.fates.get(int(ended.key), "finished")
            if fate == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            elif fate.startswith("!"):
                ended.directory.mkdir(parents=True, exist_ok=True)
                (ended.directory / "job.log").write_text("====== old\nold words\n====== new\nlast words\n")
            elif fate != "nothing":
                write(ended.sweep, int(ended.key), fate)
            yield ended, fate[1:] if fate.startswith("!") else None


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Running]:
    """Fates -> a sweep's loop over as many cells as one likes."""

    def cell_run(sweep: Path, cell: Cell, planned: Planned, command: object) -> CellRun:
        return CellRun(sweep, cell.name, Identity(cell.key, "g", seed=7), ("train.py",), sweep)

    monkeypatch.setattr(running_module, "cell_run", cell_run)

    def make(fates: dict[int, str] | None = None, total: int = 4, **options: object) -> Running:
        progress = Progress(total, Console(file=io.StringIO(), width=200))
        launcher = Pretending(fates or {})
        return Running(tmp_path, (), launcher, progress, **options)  # type: ignore[arg-type]

    return make


def work(count: int) -> list[Work]:
    """So many cells; what is planned for them is of no account here."""
    return [(cell(number), None) for number in range(count)]  # type: ignore[misc]


def printed(running: Running) -> str:
    return running.progress.console.file.getvalue()  # type: ignore[attr-defined]


def result_of(directory: Path, number: int) -> Result:
    return Result.read(directory / f"seed-{number}")


def test_every_end_is_noted_and_a_death_is_written_down(make: Callable[..., Running], tmp_path: Path) -> None:
    running = make({1: "!killed by signal 9 (SIGKILL)", 2: "diverged", 3: "nothing"})
    running.run(work(4))
    assert running.outcomes == {
        cell(number).key: status for number, status in enumerate(("finished", "failed", "diverged", "failed"))
    }
    died, silent = result_of(tmp_path, 1), result_of(tmp_path, 3)
    assert (died.status, died.error, died.seed) == ("failed", "last words\nkilled by signal 9 (SIGKILL)", 7)
    assert (silent.status, silent.error) == ("failed", "its process ended without a result")
    assert "killed by signal 9" in printed(running)


def test_a_process_that_died_after_its_result_was_written_has_ended_well(
    make: Callable[..., Running], tmp_path: Path
) -> None:
    running = make()
    launched = running.launcher.run

    def run(cells: Iterator[CellRun]) -> Iterator[tuple[CellRun, str | None]]:
        for ended, _ in launched(cells):
            yield ended, "killed by signal 9 (SIGKILL)"

    running.launcher.run = run  # type: ignore[method-assign]
    running.run(work(2))
    assert set(running.outcomes.values()) == {"finished"}
    assert result_of(tmp_path, 0).error is None


def test_an_old_failure_does_not_pass_for_the_new_end(make: Callable[..., Running], tmp_path: Path) -> None:
    write(tmp_path, 0, "failed", error="of yesterday")
    running = make({0: "!killed by signal 9 (SIGKILL)"})
    running.run(work(1))
    assert result_of(tmp_path, 0).error == "last words\nkilled by signal 9 (SIGKILL)"


def test_what_is_done_is_skipped_and_what_failed_is_tried_again(make: Callable[..., Running], tmp_path: Path) -> None:
    for number, status in enumerate(("finished", "diverged", "failed", "interrupted")):
        write(tmp_path, number, status)
    running = make(total=5)
    running.run(work(5))
    assert running.launcher.taken == ["seed-2", "seed-3", "seed-4"]  # type: ignore[attr-defined]
    assert [*running.outcomes.values()].count("diverged") == 1
    assert "[1/5] seed-0  finished" in printed(running)


def test_the_next_cell_is_asked_for_when_the_end_of_the_one_before_is_known(make: Callable[..., Running]) -> None:
    """A search can do nothing else: two are at work at once, each end is told before the next cell is drawn."""
    events: list[str] = []

    def drawn() -> Iterator[Work]:
        for each in work(4):
            events.append(f"asked {each[0].name[-1]}")
            yield each

    running = make({1: "failed"}, on_end=lambda cell, status: events.append(f"{cell.name[-1]} {status}"))
    running.run(drawn())
    assert events == [
        "asked 0", "asked 1", "0 finished", "asked 2", "1 failed", "asked 3", "2 finished", "3 finished",
    ]  # fmt: skip


def test_a_signal_ends_the_sweep_and_starts_no_more(make: Callable[..., Running], tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    write(tmp_path, 1, "interrupted", error="earlier")
    running = make({0: "signal", 1: "nothing"})
    with running.heeding_signals():
        running.run(work(4))
    assert running.stopped
    assert running.launcher.taken == ["seed-0", "seed-1"]  # type: ignore[attr-defined]
    # Those that were taken and had nothing to say were withdrawn, as they stood.
    assert running.outcomes == {cell(0).key: "missing", cell(1).key: "interrupted"}
    assert result_of(tmp_path, 1).error == "earlier"
    assert not (tmp_path / "seed-0").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_cell_killed_while_the_sweep_stops_was_interrupted(make: Callable[..., Running], tmp_path: Path) -> None:
    running = make({0: "!killed by signal 15 (SIGTERM)"})
    running.launcher.stop_requests = 1
    running.run(work(1))
    assert result_of(tmp_path, 0).status == "interrupted"


@pytest.mark.parametrize("left", ["nothing", "interrupted", "finished", "failed"])
def test_what_another_process_holds_is_left_to_it_unless_it_dies(
    make: Callable[..., Running], tmp_path: Path, left: str
) -> None:
    """The other one lets go of its cell while ours are at work."""
    holding = claimed(tmp_path, cell(0).key)
    assert holding.__enter__()

    def let_go(ended: Cell, status: str) -> None:
        if ended == cell(1):
            if left != "nothing":
                write(tmp_path, 0, left)
            holding.__exit__(None, None, None)

    running = make(on_end=let_go)
    running.run(work(3))
    taken = running.launcher.taken  # type: ignore[attr-defined]
    assert taken == ["seed-1", "seed-2", *(["seed-0"] if left in ("nothing", "interrupted") else [])]
    assert running.outcomes[cell(0).key] == ("finished" if "seed-0" in taken else ELSEWHERE)


def test_a_cell_that_is_held_to_the_end_is_elsewhere(make: Callable[..., Running], tmp_path: Path) -> None:
    running = make()
    with claimed(tmp_path, cell(1).key):
        running.run(work(2))
    assert running.outcomes == {cell(0).key: "finished", cell(1).key: ELSEWHERE}
    assert not (tmp_path / "seed-1").exists()


@pytest.mark.parametrize(
    ("slots", "begun", "ended", "total", "left"),
    [
        (1, 1, 1, 12, 11.0),  # one after another: eleven to come
        (2, 3, 1, 13, 5.5),  # ten to come and two at work, each half done, on two places
        (4, 4, 3, 4, 0.5),  # the last one
        (4, 12, 4, 12, 1.5),  # a queue has them all: four at work, four behind them
        (2, 2, 2, 2, 0.0),
    ],
)
def test_the_time_left_counts_the_places(
    monkeypatch: pytest.MonkeyPatch, slots: int, begun: int, ended: int, total: int, left: float
) -> None:
    """In units of the time of a cell, which is 10 s here."""
    progress = Progress(total, Console(file=io.StringIO()))
    clock = [0.0]
    monkeypatch.setattr("cifarlab.sweeps.progress.time.perf_counter", lambda: clock[0])
    for number in range(begun):
        progress.started(cell(number), slots)
    clock[0] = 10.0
    for number in range(ended):
        progress.ended(cell(number), {"status": "finished", "seconds": {"total": 10.0}})
    assert progress.seconds_left() / 10 == pytest.approx(left)


def test_a_look_at_many_cells_says_how_far_it_is(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 10_000, 3))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(seconds)))
    assert list(looking(range(1200), "reading")) == list(range(1200))
    lines = capfd.readouterr().err.splitlines()
    assert lines[:2] == ["reading cells: 1 of 1,200", "reading cells: 3 of 1,200"]
    assert list(looking(range(99), "reading")) == list(range(99))
    assert capfd.readouterr().err == ""
