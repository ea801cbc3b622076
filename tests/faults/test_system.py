"""What the system refuses is one line that names the file; it costs what it must and nothing besides."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cifarlab import result as results
from cifarlab.data.augment import Augment
from cifarlab.data.digits import Digits
from cifarlab.data.module import ImageData
from cifarlab.data.seeds import Seeds
from cifarlab.result import Identity, Result, write_json
from cifarlab.summary import summarize, write
from cifarlab.summary.write import write_summary
from cifarlab.sweeps import running as loop
from cifarlab.sweeps.launchers import processes, worker
from cifarlab.sweeps.launchers.launching import CellRun
from cifarlab.training.hardware.trainer import TrainerSettings
from cifarlab.training.recipe import Recipe
from cifarlab.training.records.checkpoints import remove_half_written
from cifarlab.training.run import run
from cifarlab.verbs import summarize as summarize_verb

TrainPy = Callable[..., Any]


def refusing(*given: Any, **named: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stored(directory: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return values


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Sets the largest size of a file of this process in bytes, as ``ulimit -f`` does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def small_run(directory: Path, make_net: Callable[[int], nn.Module], **given: Any) -> Result:
    """Two epochs on 90 digits."""
    data = ImageData(Augment(), Seeds.same(0), source=Digits(), batch_size=50, limit=100)
    settings: dict[str, Any] = {
        "identity": Identity(key="0" * 16, group="1" * 16),
        "seeds": Seeds.same(0),
        "recipe": Recipe(epochs=2),
        "net": make_net,
        "data": data,
        "optimizer": lambda net: torch.optim.SGD(net.parameters(), lr=0.01),
        "schedule": lambda optimizer, budget: {
            "scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer), "interval": "step", "frequency": 1,
        },
        "trainer": TrainerSettings(precision=32, accelerator="cpu", progress_bar=False),
        "figures": (),
    } | given  # fmt: skip
    return run(directory, **settings)


def wide(num_classes: int) -> nn.Module:
    """Digits averaged to 2x2 pixels -> logits, by way of 250,000 weights: a megabyte."""
    return nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(12, 20_000), nn.Linear(20_000, num_classes))


def test_a_limit_on_the_size_of_files_names_the_checkpoint_and_leaves_nothing_behind(
    tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    """Case 11."""
    small_files(500 * 1024)
    result = small_run(tmp_path, wide)
    path = tmp_path / "checkpoints" / "best.ckpt"
    assert (result.status, result.error) == ("failed", f"OSError: [Errno 27] File too large: '{path}'")
    assert stored(tmp_path)["error"] == result.error
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_value_that_this_package_refuses_within_a_run_is_its_message(tmp_path: Path) -> None:
    result = small_run(tmp_path / "a", wide, recipe=Recipe(epochs=2, early_stopping=1), data=without_validation())
    assert result.error == "early_stopping needs a validation split; set data.val_fraction above 0"
    # Of an error from elsewhere the traceback says where it was raised.
    result = small_run(tmp_path / "b", lambda num_classes: nn.Linear(int("nine"), num_classes))
    assert (result.error or "").startswith("Traceback")
    assert (result.error or "").endswith("ValueError: invalid literal for int() with base 10: 'nine'\n")


def without_validation() -> ImageData:
    return ImageData(Augment(), Seeds.same(0), source=Digits(), batch_size=50, limit=100, val_fraction=0)


def test_a_sitting_removes_what_a_killed_one_was_writing_and_nothing_else(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    left = [
        ".result.json.abcd_123",
        ".history.csv.00000000",
        ".environment.json.zzzzzzzz",
        ".report.txt.a1b2c3d4",
        ".progress.json.hpmmclxt",
    ]
    left_there = [".best.ckpt.0123456789abcdef", ".last.ckpt.fedcba9876543210"]
    kept = [".claim.lock", ".mine.txt", "result.json.bak", ".notes.about.this", ".best.ckpt.mine", ".result.json.bak"]
    for name in (*left, *kept):
        (tmp_path / name).touch()
    for name in (*left_there, "best.ckpt"):
        (checkpoints / name).touch()
    remove_half_written(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "checkpoints"])
    assert [path.name for path in checkpoints.iterdir()] == ["best.ckpt"]
    (tmp_path / left[0]).touch()
    (checkpoints / "best.ckpt").unlink()
    small_run(tmp_path, wide)
    assert not (tmp_path / left[0]).exists()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    monkeypatch.setattr(results.os, "fsync", refusing)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_json(path, {})
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError) as caught:
        write_json(tmp_path / "absent" / "result.json", {})
    assert caught.value.filename == str(tmp_path / "absent" / "result.json")
    assert not list(tmp_path.iterdir())


# --- sweeps -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """Two finished runs."""
    for seed in (0, 1):
        directory = tmp_path / "multirun" / "s" / f"seed-{seed}"
        directory.mkdir(parents=True)
        record = Result.begun(Identity(key=f"{seed:016}", group="1" * 16, knobs={"lr": 0.1}, seed=seed))
        record.status, record.metrics = results.Status.FINISHED, {"val/acc": 0.5 + seed / 10, "test/acc": 0.5}
        record.write(directory)
    return tmp_path / "multirun" / "s"


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures of summaries take most of their time."""
    monkeypatch.setattr(write, "draw", refusing)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_a_sweep_that_cannot_be_written_is_summed_up_on_the_terminal(
    swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    """A colleague's, on a disk that takes nothing: the tables are printed, and why there is no page."""

    def mkdir(path: Path, *given: Any, **named: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert summarize_verb.main([str(swept)]) == 1
    out, err = capsys.readouterr()
    assert "2 runs: 2 finished" in out
    assert "0.55" in out
    said = f"[Errno {number}] {os.strerror(number)}: '{swept / 'summary'}'"
    assert f"Warning: The summary could not be written: {said}" in out.replace("\n", "")
    assert err == ""
    assert write_summary(swept, None, ())[0] is None
    with pytest.raises(OSError, match=os.strerror(number)):
        summarize(swept)


@pytest.mark.usefixtures("no_pictures")
def test_a_cell_whose_folder_takes_nothing_has_failed_and_the_others_run(
    train_py: TrainPy, tmp_path: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.write_job

    def write_job(job: Any, directory: Path) -> None:
        if directory.name == "seed-0":
            raise PermissionError(errno.EACCES, "Permission denied", str(directory))
        real(job, directory)

    monkeypatch.setattr(loop, "write_job", write_job)
    ended = train_py("-m", "sweep=s", *tiny, "figures=[]", "seed=0,1")
    folder = tmp_path / "multirun" / "s" / "seed-0"
    assert f"seed-0  failed: [Errno 13] Permission denied: '{folder}'" in ended.out
    assert (ended.code, "Traceback" in ended.err) == (1, False)
    assert stored(folder.with_name("seed-1"))["status"] == "finished"
    monkeypatch.undo()


@pytest.mark.usefixtures("no_pictures")
def test_a_full_disk_ends_a_sweep_in_lines_and_with_room_it_goes_on(
    train_py: TrainPy, tmp_path: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 24."""
    command = ("-m", "sweep=s", *tiny, "figures=[]", "seed=0,1")
    with monkeypatch.context() as patch:
        patch.setattr(Result, "write", refusing)  # the disk fills while the first cell runs
        ended = train_py(*command)
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    assert [line for line in ended.out.splitlines() if "failed" in line] == [
        f"[{number + 1}/2] seed-{number}  failed: [Errno 28] No space left on device" for number in (0, 1)
    ]
    assert train_py(*command).code == 0
    assert [stored(tmp_path / "multirun/s" / f"seed-{seed}")["status"] for seed in (0, 1)] == ["finished", "finished"]


def test_a_worker_says_in_a_line_that_its_cell_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "_printing_to", refusing)
    with pytest.raises(SystemExit) as ended:
        worker.run_cell(CellRun(tmp_path, "seed-0", Identity("0" * 16, "1" * 16), ("train.py",), tmp_path))
    assert ended.value.code == 1
    assert capfd.readouterr().err == "seed-0: [Errno 28] No space left on device\n"


@pytest.mark.parametrize(("length", "is_kept"), [(71, True), (72, False), (100, False)])
def test_the_socket_of_the_workers_server_has_a_path_that_the_kernel_takes(
    monkeypatch: pytest.MonkeyPatch, length: int, is_kept: bool
) -> None:
    """Case 7."""
    long, seen = "/tmp/".ljust(length, "x"), []
    monkeypatch.setattr(tempfile, "tempdir", long)
    monkeypatch.setattr(processes.forkserver, "ensure_running", lambda: seen.append(tempfile.gettempdir()))
    processes.start_server(1)
    assert tempfile.gettempdir() == long
    assert (seen == [long]) is is_kept
    assert len(f"{seen[0]}/pymp-01234567/listener-01234567") <= 103


def test_a_user_who_does_not_exist_has_no_data() -> None:
    with pytest.raises(ValueError, match=r"data\.root=~nobody-here/x: there is no user of this name"):
        ImageData(Augment(), Seeds.same(0), source=Digits(), root="~nobody-here/x")


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("multirun", ("-m", "seed=0,1", "sweep=s"), "multirun: Not a directory"),
        ("multirun/s", ("-m", "seed=0,1", "sweep=s"), "multirun/s: Not a directory"),
        ("multirun/s/.locks", ("-m", "seed=0,1", "sweep=s"), "multirun/s/.locks: File exists"),
        ("outputs", (), "outputs: File exists"),
    ],
)
def test_a_file_in_the_place_of_a_folder_is_a_line(
    name: str, typed: tuple[str, ...], said: str, train_py: TrainPy, tmp_path: Path, tiny: tuple[str, ...]
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("precious")
    assert train_py(*typed, *tiny) == (1, "", f"{said}\n")
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("key", ["hydra.run.dir", "resume", "continue_from"])
def test_a_name_that_is_too_long_is_a_line(key: str, train_py: TrainPy, tmp_path: Path, tiny: tuple[str, ...]) -> None:
    ended = train_py(f"{key}={'x' * 300}", *(() if key == "resume" else tiny))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("x: File name too long\n") or ended.err.endswith("config.yaml: File name too long\n")
    assert ended.err.count("\n") == 1
