"""A run directory is one process's, and what the user has put into a folder stays."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from cifarlab.job.configure import ConfigError
from cifarlab.summary import write
from cifarlab.sweeps.ledger import in_use
from cifarlab.training.records.claim import claim, is_occupied
from cifarlab.training.records.faults import Occupied

TINY = (
    "data=digits", "limit=60", "width=4", "blocks=1", "epochs=1", "batch_size=32", "precision=32", "logger=none",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "figures=[]",
)  # fmt: skip


def hold(directory: Path, pipe: Any) -> None:
    with claim(directory):
        pipe.send("held")
        pipe.poll(30)


@contextmanager
def held_by_another_process(directory: Path) -> Iterator[int]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(directory, theirs))
    process.start()
    assert ours.recv() == "held"
    try:
        yield process.pid or 0
    finally:
        process.kill()
        process.join()


def test_one_process_holds_a_run_directory(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert not is_occupied(run)
    with claim(run), claim(run):  # within a process as often as it likes
        assert is_occupied(run)
    assert not is_occupied(run)
    with held_by_another_process(run) as pid:
        assert is_occupied(run)
        with pytest.raises(Occupied, match=f"another process is at work in {run}"), claim(run):
            pass
        os.kill(pid, 9)
    with claim(run):  # the kernel has freed it
        pass


def test_a_directory_at_work_is_refused_to_a_second_run_and_to_resume(
    train_py: Callable[..., Any], tmp_path: Path
) -> None:
    assert train_py(*TINY, "hydra.run.dir=run", "checkpoints=all").code == 0
    record = (tmp_path / "run" / "result.json").read_bytes()
    (tmp_path / "run" / "result.json").unlink()  # as if it were at work
    with held_by_another_process(tmp_path / "run"):
        for arguments in (("resume=run",), (*TINY, "hydra.run.dir=run")):
            ended = train_py(*arguments)
            assert ended.code == 1
            assert ended.err.startswith("another process is at work in ")
            assert ended.err.count("\n") == 1
    assert not (tmp_path / "run" / "result.json").exists()
    (tmp_path / "run" / "result.json").write_bytes(record)


def test_a_job_is_not_executed_where_another_process_is_at_work(tiny_job: Callable[..., Any], tmp_path: Path) -> None:
    with held_by_another_process(tmp_path / "run"), pytest.raises(Occupied):
        tiny_job().execute(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")] == []


def test_a_cell_that_resume_is_at_is_left_to_it(train_py: Callable[..., Any], tmp_path: Path) -> None:
    command = ("-m", *TINY, "seed=0,1", "sweep=s")
    assert train_py(*command).code == 0
    cell = tmp_path / "multirun" / "s" / "seed-1"
    (cell / "result.json").unlink()  # as if it were at work
    with held_by_another_process(cell):
        ended = train_py(*command)
    assert ended.code == 0
    assert "another process is at it" in ended.out
    assert not (cell / "result.json").exists()
    assert train_py(*command).code == 0
    assert (cell / "result.json").exists()


def test_fresh_renames_no_folder_that_another_process_uses(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    with in_use(sweep, fresh=False):
        with pytest.raises(ConfigError, match="another process is at work"), in_use(sweep, fresh=True):
            pass
        with in_use(sweep, fresh=False):  # others may take part
            pass
    with (
        held_by_another_process(sweep / "cell"),
        pytest.raises(ConfigError, match="at work"),
        in_use(sweep, fresh=True),
    ):
        pass
    (sweep / "mark").touch()
    with in_use(sweep, fresh=True):
        assert not (sweep / "mark").exists()
        assert [path.name.startswith("sweep.") for path in tmp_path.iterdir()].count(True) == 1


def test_a_refused_run_removes_only_what_it_has_made(train_py: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for place in ("mine", "new", "a/b/c"):
        assert train_py(*TINY, "kernel_size=0", f"hydra.run.dir={place}").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("content", ["notes.txt", "result.json", "checkpoints/last.ckpt", ".hydra/other.yaml"])
def test_a_folder_that_is_no_run_is_left_as_it_is(content: str, train_py: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "folder" / content
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    ended = train_py(*TINY, "hydra.run.dir=folder")
    assert ended.code == 2
    assert ended.err == (
        f"hydra.run.dir=folder: the folder holds {content.partition('/')[0]} and is no run; "
        "give one that is empty or new\n"
    )
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]
    assert path.read_text() == "precious"


def test_a_run_that_was_killed_while_it_wrote_its_job_is_begun_anew(
    train_py: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    for name in (".claim.lock", ".hydra/overrides.yaml", ".hydra/.hydra.yaml.abcd1234"):
        (tmp_path / "run" / name).touch()
    ended = train_py(*TINY, "hydra.run.dir=run")
    assert (ended.code, ended.err) == (0, "")


def test_a_file_is_no_run_directory(train_py: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    ended = train_py(*TINY, "hydra.run.dir=file")
    assert (ended.code, ended.err) == (
        2,
        "hydra.run.dir=file: this is a file; a folder that is empty or new is needed\n",
    )
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_torn_checkpoint_is_named_and_the_record_stays(
    name: str, train_py: Callable[..., Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train_py(*TINY, "epochs=2", "hydra.run.dir=run", "checkpoints=all").code == 0
    (run / "result.json").unlink()
    checkpoint = run / "checkpoints" / name
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    ended = train_py("resume=run")
    assert ended.code == 1
    assert str(Path("run", "checkpoints", name)) in ended.err
    assert "remove the folder" in ended.err
    assert ended.err.count("\n") == 1
    assert "weights_only" not in ended.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_cell_whose_checkpoint_is_torn_begins_anew_and_says_so(
    name: str, train_py: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "draw", lambda *given: 1 / 0)  # pictures take most of the time
    command = ("-m", *TINY, "seed=0", "sweep=s", "checkpoints=all")
    assert train_py(*command).code == 0
    cell = tmp_path / "multirun" / "s" / "resnet"
    before = json.loads((cell / "result.json").read_text())
    (cell / "result.json").unlink()  # as if it had been stopped
    torn = cell / "checkpoints" / name
    torn.write_bytes(torn.read_bytes()[:100])
    ended = train_py(*command)
    assert ended.code == 0
    (aside,) = cell.glob("checkpoints.damaged-*")
    assert f"resnet begins anew: {torn.relative_to(tmp_path)} is damaged, or no checkpoint of a run" in ended.out
    assert f"what there is of it is {aside.relative_to(tmp_path)} now" in ended.out
    assert json.loads((cell / "result.json").read_text())["metrics"] == before["metrics"]
    # Another run's is not touched, and is named with the way out.
    content = torch.load(cell / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save({**content, "key": "f" * 16}, cell / "checkpoints" / "last.ckpt")
    (cell / "result.json").unlink()
    ended = train_py(*command)
    assert ended.code == 1
    assert "last.ckpt is of another run (ffffffffffffffff)" in ended.out
    assert "remove the folder" in ended.out
    assert len([*cell.glob("checkpoints*")]) == 2
