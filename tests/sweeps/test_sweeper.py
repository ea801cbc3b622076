"""The sweep as a whole: it names, checks, skips, survives, stops and goes on."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cifarlab.job.preflight import Checked
from cifarlab.sweeps import sweeper
from cifarlab.sweeps.ledger import claimed
from cifarlab.training.divergence import StopWhenDiverged

TrainPy = Callable[..., Any]
TRAIN = Path(__file__).resolve().parents[2] / "train.py"
TINY = (
    "data=digits", "limit=60", "width=4", "blocks=1", "epochs=1", "batch_size=32", "precision=32", "logger=none",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "figures=[]",
)  # fmt: skip
OF_ANY_MODEL = tuple(argument for argument in TINY if not argument.startswith(("width", "blocks")))


def outcome(directory: Path) -> dict[str, Any]:
    """A cell's result."""
    return json.loads((directory / "result.json").read_text())


def statuses(sweep: Path) -> dict[str, str]:
    """How each cell of a sweep stands."""
    cells = json.loads((sweep / "sweep.json").read_text())["cells"]
    return {cell["name"]: outcome(sweep / cell["name"])["status"] for cell in cells}


def digits(directory: Path) -> tuple[Any, ...]:
    """A cell's numbers, all of them and to the last digit."""
    rows = list(csv.DictReader((directory / "history.csv").open()))
    return outcome(directory)["metrics"], [{name: row[name] for name in row if name != "seconds"} for row in rows]


def tree(folder: Path) -> set[Path]:
    """Everything below a folder."""
    return set(folder.rglob("*"))


def test_a_sweep_names_its_folders_by_what_is_swept_and_sums_up(train_py: TrainPy, tmp_path: Path) -> None:
    ended = train_py("-m", *TINY[1:], "data=digits", "kernel_size=2,3", "seed=0,1")
    sweep = tmp_path / "multirun" / "resnet+batch_size-32+blocks-1+data-digits+epochs-1+limit-60+precision-32+width-4"
    assert (ended.code, ended.err) == (0, "")
    names = [f"kernel_size-{kernel_size}+seed-{seed}" for kernel_size in (2, 3) for seed in (0, 1)]
    assert statuses(sweep) == dict.fromkeys(names, "finished")
    assert ended.out.rstrip().endswith(f"{sweep.relative_to(tmp_path)}/summary/index.html")
    for name in names:
        assert (sweep / name / ".hydra" / "config.yaml").is_file()
        assert (sweep / name / "checkpoints" / "best.ckpt").is_file()
        assert not (sweep / name / "checkpoints" / "last.ckpt").exists()
    rows = list(csv.DictReader((sweep / "summary" / "runs.csv").open()))
    assert len(rows) == 4
    ledger = json.loads((sweep / "sweep.json").read_text())
    assert ledger["axes"] == {"kernel_size": ["2", "3"], "seed": ["0", "1"]}
    assert ledger["commands"][0].startswith("python train.py -m limit=60")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["multirun"]


@pytest.mark.usefixtures("summaries")
def test_the_same_command_trains_nothing_twice_and_more_seeds_are_added(
    train_py: TrainPy, tmp_path: Path, trained: list[str]
) -> None:
    command = ("-m", "sweep=s", *TINY, "kernel_size=2,3")
    assert train_py(*command).code == 0
    assert trained == ["kernel_size-2", "kernel_size-3"]
    before = {name: (tmp_path / "multirun/s" / name / "result.json").read_bytes() for name in trained}
    trained.clear()
    assert train_py(*command).code == 0
    assert trained == []
    # Seed 0 is the seed these cells have: they are found by their key, whatever they are called.
    assert train_py(*command, "seed=0,1").code == 0
    assert trained == ["kernel_size-2+seed-1", "kernel_size-3+seed-1"]
    after = {name: (tmp_path / "multirun/s" / name / "result.json").read_bytes() for name in before}
    assert after == before
    # A default written out, and the long way to say a short name, are the same cells once more.
    trained.clear()
    assert train_py(*command[:-1], "model.kernel_size=2,3", "model.downsample=stride").code == 0
    assert trained == []
    assert len(statuses(tmp_path / "multirun/s")) == 4


@pytest.mark.usefixtures("summaries")
def test_what_is_finished_is_not_built_again(
    train_py: TrainPy, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("-m", "sweep=s", *TINY, "seed=0,1")
    assert train_py(*command).code == 0
    trained.clear()
    counted: list[int] = []
    real = Checked.cost
    monkeypatch.setattr(Checked, "cost", lambda self, job: counted.append(job.settings.seed) or real(self, job))
    plan = train_py(*command, "plan=true")
    assert (plan.code, counted, trained) == (0, [], [])
    assert re.search(r"seed-0 +470 +0\.8 +finished", plan.out), plan.out
    # A new cell is looked at, a refused one is told, and one whose record is lost is looked at again.
    assert "seed=-1" in train_py(*command[:-1], "seed=0,1,-1").err
    (tmp_path / "multirun/s/seed-1/result.json").unlink()
    assert train_py(*command[:-1], "seed=0,1,2").code == 0
    assert (counted, trained) == ([1, 2], ["seed-1", "seed-2"])


@pytest.mark.usefixtures("summaries")
def test_cells_of_one_name_and_two_keys_lie_side_by_side(train_py: TrainPy, tmp_path: Path, trained: list[str]) -> None:
    assert train_py("-m", "sweep=s", *TINY, "seed=0,1").code == 0
    assert train_py("-m", "sweep=s", *TINY, "lr=0.5", "seed=0,1").code == 0
    keys = {cell["name"]: cell["key"] for cell in json.loads((tmp_path / "multirun/s/sweep.json").read_text())["cells"]}
    assert trained == ["seed-0", "seed-1", *[name for name in keys if "." in name]]
    assert {name for name in keys if "." in name} == {
        f"seed-{outcome(tmp_path / 'multirun/s' / name)['seed']}.{key[:6]}" for name, key in keys.items() if "." in name
    }
    assert len(set(keys.values())) == 4


@pytest.mark.usefixtures("summaries")
def test_two_ways_to_write_one_setting_are_one_cell(train_py: TrainPy, tmp_path: Path, trained: list[str]) -> None:
    assert train_py("-m", "sweep=s", *TINY, "augment=[crop,flip],[flip,crop]").code == 0
    assert trained == ["augment-crop_flip"]


@pytest.mark.usefixtures("summaries")
@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("kernel_size=3,abc", "model.kernel_size=abc: allowed: an integer from 1 to 11  (1 of 2 cells)"),
        ("kernel_size=3,-1", "model.kernel_size=-1: allowed: an integer from 1 to 11  (1 of 2 cells)"),
        ("+model.kernal_size=4,5", "model.kernal_size=4: there is no key kernal_size. Did you mean model.kernel_size?"),
        ("model=resnet,resnt", "model=resnt: there is no such model. Did you mean model=resnet? Allowed: "),
        ("model=resnt,resnet", "model=resnt: there is no such model. Did you mean model=resnet? Allowed: "),
        ("model=resnet,vgg19", "vgg19 has no blocks"),
        ("optimizer.momentum=0,0.9", "nesterov=true needs momentum above 0"),
        ("activation=relu,rleu", "model.activation=rleu: allowed: one of "),
        ("kernel_size=3,${nothing}", "nothing"),
    ],
)
def test_one_bad_cell_refuses_the_sweep_before_anything_starts(
    train_py: TrainPy, tmp_path: Path, trained: list[str], bad: str, fault: str
) -> None:
    ended = train_py("-m", "sweep=s", *TINY, bad)
    assert ended.code == 2
    assert fault in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert trained == []
    assert tree(tmp_path) == set()


def test_skip_invalid_runs_the_rest(
    train_py: TrainPy, tmp_path: Path, trained: list[str], summaries: list[Path]
) -> None:
    ended = train_py("-m", "sweep=s", *TINY, "kernel_size=99,3", "skip_invalid=true")
    assert (ended.code, trained) == (0, ["kernel_size-3"])
    assert "left out" in ended.out
    assert "model.kernel_size=99" in ended.out
    assert summaries == [Path("multirun/s")]
    ended = train_py("-m", "sweep=t", *TINY, "kernel_size=98,99", "skip_invalid=true")
    assert ended.code == 2
    assert not (tmp_path / "multirun" / "t").exists()


def test_a_plan_leaves_no_trace(train_py: TrainPy, tmp_path: Path, trained: list[str], summaries: list[Path]) -> None:
    ended = train_py("-m", "sweep=s", *TINY, "kernel_size=2,3", "plan=true")
    assert ended.code == 0
    assert "kernel_size-2" in ended.out
    assert "parameters" in ended.out
    assert tree(tmp_path) == set()
    assert train_py("-m", "sweep=s", *TINY, "kernel_size=2").code == 0
    before = {path: path.stat().st_mtime_ns for path in tree(tmp_path)}
    ended = train_py("-m", "sweep=s", *TINY, "kernel_size=2,3", "plan=true", "fresh=true")
    assert {path: path.stat().st_mtime_ns for path in tree(tmp_path)} == before
    assert len(trained) == len(summaries) == 1


@pytest.mark.usefixtures("summaries")
def test_fresh_sets_the_old_folder_aside(train_py: TrainPy, tmp_path: Path, trained: list[str]) -> None:
    command = ("-m", "sweep=s", *TINY, "seed=0,1")
    assert train_py(*command).code == 0
    assert train_py(*command, "fresh=true").code == 0
    assert trained == ["seed-0", "seed-1"] * 2
    folders = sorted(path.name for path in (tmp_path / "multirun").iterdir())
    assert folders[0] == "s"
    assert folders[1].startswith("s.")
    for folder in folders:
        assert statuses(tmp_path / "multirun" / folder) == {"seed-0": "finished", "seed-1": "finished"}


def test_a_failing_job_stops_no_other_and_every_end_is_recorded(
    train_py: TrainPy, tmp_path: Path, trained: list[str], summaries: list[Path], fated: tuple[str, ...]
) -> None:
    command = (*fated, "sweep=s", *OF_ANY_MODEL, "model.fate=raise,exit,diverge,well")
    sweep = tmp_path / "multirun" / "s"
    ended = train_py(*command)
    assert ended.code == 1
    assert statuses(sweep) == {
        "model.fate-raise": "failed",
        "model.fate-exit": "failed",
        "model.fate-diverge": "diverged",
        "model.fate-well": "finished",
    }
    assert "broken on purpose" in outcome(sweep / "model.fate-raise")["error"]
    assert "SystemExit: 3" in outcome(sweep / "model.fate-exit")["error"]
    assert "between steps" in outcome(sweep / "model.fate-diverge")["error"]
    assert summaries == [Path("multirun/s")]
    # Failed cells are tried again, diverged and finished ones are not; the exit code stays what the sweep is.
    trained.clear()
    assert train_py(*command).code == 1
    assert trained == ["model.fate-raise", "model.fate-exit"]
    (tmp_path / "own" / "fated_nets.py").write_text(
        (tmp_path / "own" / "fated_nets.py")
        .read_text()
        .replace("raise RuntimeError", "print")
        .replace("sys.exit", "print")
    )
    sys.modules.pop("fated_nets")
    assert train_py(*command).code == 1  # the diverged cell is still one
    assert sorted(statuses(sweep).values()) == ["diverged", "finished", "finished", "finished"]
    assert train_py(*command[:-1], "model.fate=raise,exit,well").code == 0


@pytest.mark.usefixtures("summaries")
@pytest.mark.parametrize("error", [OSError("disk on fire"), SystemExit(3)])
def test_a_job_that_cannot_even_begin_is_a_failed_one(
    train_py: TrainPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """What breaks outside of `run` must be recorded as well, and must not take the others with it."""
    real = sweeper.Job.execute

    def execute(self: Any, directory: Path, **options: Any) -> Any:
        if self.settings.seed == 0:
            raise error
        return real(self, directory, **options)

    monkeypatch.setattr(sweeper.Job, "execute", execute)
    assert train_py("-m", "sweep=s", *TINY, "seed=0,1").code == 1
    assert statuses(tmp_path / "multirun/s") == {"seed-0": "failed", "seed-1": "finished"}
    assert type(error).__name__ in outcome(tmp_path / "multirun/s/seed-0")["error"]
    monkeypatch.undo()


@pytest.mark.usefixtures("summaries")
def test_a_cell_that_another_process_holds_is_left_to_it(train_py: TrainPy, tmp_path: Path, trained: list[str]) -> None:
    command = ("-m", "sweep=s", *TINY, "seed=0,1")
    assert train_py(*command, "plan=true").code == 0
    assert train_py("-m", "sweep=t", *TINY, "seed=0").code == 0
    key = outcome(tmp_path / "multirun/t/resnet")["key"]
    trained.clear()
    with claimed(Path("multirun/s"), key) as mine:
        assert mine
        ended = train_py(*command)
    assert trained == ["seed-1"]
    assert "another process is at it" in ended.out
    assert ended.code == 0  # its end is the other process's to report
    assert train_py(*command).code == 0
    assert trained == ["seed-1", "seed-0"]


@pytest.fixture
def undisturbed(train_py: TrainPy, tmp_path: Path, summaries: list[Path]) -> Iterator[Path]:
    """A sweep of three longer cells that nobody stopped."""
    assert train_py("-m", "sweep=undisturbed", *TINY, "epochs=6", "seed=0,1,2").code == 0
    summaries.clear()
    return tmp_path / "multirun" / "undisturbed"


def wait_for(path: Path, seconds: float = 120) -> None:
    """Until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_sweep_goes_on_to_the_same_digits(
    train_py: TrainPy,
    tmp_path: Path,
    summaries: list[Path],
    undisturbed: Path,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ("-m", "sweep=s", *TINY, "epochs=6", "seed=0,1,2")
    sweep = tmp_path / "multirun" / "s"
    real = StopWhenDiverged.on_train_batch_end

    def stop(self: StopWhenDiverged, trainer: Any, *given: Any) -> None:
        """In the middle of the third epoch of the second cell."""
        real(self, trainer, *given)
        if trainer.current_epoch == 2 and trainer.default_root_dir.endswith("seed-1"):
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(StopWhenDiverged, "on_train_batch_end", stop)
        assert train_py(*command).code == 1
    assert outcome(sweep / "seed-0")["status"] == "finished"
    stopped = outcome(sweep / "seed-1")
    assert (stopped["status"], stopped["error"]) == ("interrupted", f"stopped by {number.name}")
    assert stopped["epochs"] == 2
    assert (sweep / "seed-1" / "checkpoints" / "last.ckpt").is_file()
    assert not (sweep / "seed-2").exists()
    assert summaries == [Path("multirun/s")]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert train_py(*command).code == 0
    for name in ("seed-0", "seed-1", "seed-2"):
        assert digits(sweep / name) == digits(undisturbed / name)


def test_processes_share_a_sweep_and_one_that_is_killed_is_made_up_for(
    train_py: TrainPy, tmp_path: Path, undisturbed: Path
) -> None:
    """Two start at once; one is killed at work. The other does the rest, the next start what the dead one left."""
    command = ("-m", "sweep=s", *TINY, "epochs=6", "seed=0,1,2")
    sweep = tmp_path / "multirun" / "s"
    processes = [
        subprocess.Popen([sys.executable, TRAIN, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    wait_for(sweep / "seed-0" / "environment.json")
    first = json.loads((sweep / "seed-0" / "environment.json").read_text())["process"]
    os.kill(first, signal.SIGKILL)
    (survivor,) = [process for process in processes if process.pid != first]
    out, _ = survivor.communicate(timeout=120)
    for process in processes:
        process.wait()
    assert survivor.returncode == 0
    begun = [line for line in out.splitlines() if line.endswith("…")]
    assert len(begun) == len(set(begun)) >= 2
    assert train_py(*command).code == 0
    assert statuses(sweep) == dict.fromkeys(("seed-0", "seed-1", "seed-2"), "finished")
    for name in ("seed-0", "seed-1", "seed-2"):
        assert digits(sweep / name) == digits(undisturbed / name)
    assert sorted(path.name for path in sweep.iterdir() if path.name.startswith("seed")) == [
        "seed-0",
        "seed-1",
        "seed-2",
    ]


@pytest.mark.usefixtures("summaries")
def test_axes_of_an_experiment_and_what_is_typed_over_them(
    train_py: TrainPy, tmp_path: Path, trained: list[str]
) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "grid.yaml").write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
        "      model: resnet,tiny_vgg\n      model.dropout: 0.0,0.1\n      data.drop_last: true\n      seed: 0,1\n"
    )
    command = ("--config-dir", str(tmp_path / "own"), "experiment=grid", *OF_ANY_MODEL, "width=4")
    assert train_py(*command, "seed=3", "model.dropout=0").code == 0
    assert trained == ["model-resnet", "model-tiny_vgg"]
    (sweep,) = (tmp_path / "multirun").iterdir()
    assert sweep.name.startswith("grid+batch_size-32+data-digits+data.drop_last-true+")
    assert outcome(sweep / "model-resnet")["knobs"]["drop_last"] is True
    assert outcome(sweep / "model-resnet")["seed"] == 3


@pytest.mark.usefixtures("summaries")
@pytest.mark.parametrize("name", ["../up", "a/b", "a b", "..", ""])
def test_the_name_of_a_sweep_is_a_name(train_py: TrainPy, tmp_path: Path, name: str) -> None:
    ended = train_py("-m", *TINY, "seed=0,1", f"sweep='{name}'")
    assert ended.code == 2
    assert ended.err.startswith("sweep=")
    assert tree(tmp_path) == set()


@pytest.mark.usefixtures("summaries")
def test_a_search_range_is_refused_with_what_to_write_instead(train_py: TrainPy) -> None:
    ended = train_py("-m", *TINY, "lr=interval(0.1,1)")
    assert ended.code == 2
    assert "lr: an interval has no end of values; give a list, such as lr=1,2,3, or search it: search=tpe" in ended.err


@pytest.mark.usefixtures("summaries")
def test_a_glob_stands_for_the_options_it_fits(train_py: TrainPy) -> None:
    ended = train_py("-m", "sweep=s", *OF_ANY_MODEL, "model=glob(tiny_*)", "plan=true")
    assert (ended.code, ended.err) == (0, "")
    assert "model-tiny_resnet" in ended.out
    assert "model-tiny_vgg" in ended.out


def test_a_figure_over_a_knob_that_is_not_swept_is_refused_before_anything_starts(train_py, tmp_path: Path) -> None:
    done = train_py("-m", *TINY, "width=4,5", "figures=[heatmap_width_depth]")
    assert done.code == 2
    assert "figures=heatmap_width_depth" in done.err
    assert "marginal_width" in done.err
    assert not list((tmp_path / "multirun").glob("*/*"))


def test_a_folder_of_ones_own_is_refused_with_the_key_that_names_the_sweep(train_py, tmp_path: Path) -> None:
    done = train_py("-m", *TINY, "width=4,5", f"hydra.sweep.dir={tmp_path}/mine")
    assert done.code == 2
    assert f"hydra.sweep.dir={tmp_path}/mine: a sweep lies in multirun/NAME, which sweep=NAME chooses" in done.err
    assert not list((tmp_path / "multirun").glob("*/*"))


def test_a_folder_of_ones_own_in_a_yaml_file_is_refused_too(train_py, tmp_path: Path) -> None:
    mine = tmp_path / "conf" / "experiment" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# @package _global_\nhydra:\n  sweep:\n    dir: elsewhere\n    subdir: cell\n")
    done = train_py("-m", *TINY, "width=4,5", "experiment=mine", f"hydra.searchpath=[file://{tmp_path}/conf]")
    assert done.code == 2
    assert "hydra.sweep.dir=elsewhere: " in done.err
    assert "hydra.sweep.subdir=cell: " in done.err
    assert not (tmp_path / "multirun").exists()
