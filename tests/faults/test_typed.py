"""What was typed is done or refused, by its key; it is never passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cifarlab.job.configure import ConfigError
from cifarlab.sweeps.grid import Grid
from cifarlab.verbs import evaluate as evaluate_verb
from cifarlab.verbs.commands import evaluate

TrainPy = Callable[..., Any]
TINY = ("data=digits", "model=tiny_vgg", "width=4", "limit=60", "trainer.accelerator=cpu", "logger=none")


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("plan=true", "plan"),
        ("fresh=true", "fresh"),
        ("sweep=x", "sweep"),
        ("skip_invalid=true", "skip_invalid"),
        ("zip=[lr,dropout]", "zip"),
        ("exclude={lr:1}", "exclude"),
        ("search=tpe", "search"),
        ("search.trials=3", "search"),
        ("figures=[curves,heatmap_blocks_lr]", "figures=heatmap_blocks_lr"),
        ("hydra/launcher=local", "hydra/launcher=local"),
        ("+hydra.sweeper.params.seed=1", "hydra.sweeper.params.seed=1"),
        ("hydra.sweep.dir=x", "hydra.sweep.dir=x"),
    ],
)
def test_a_single_run_refuses_what_is_a_sweep_s(train_py: TrainPy, tmp_path: Path, argument: str, named: str) -> None:
    """Case 28."""
    ended = train_py(*TINY, argument)
    assert ended == (2, "", f"{named}: this is a single run; add -m for a sweep\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("seed=range(0)", "seed=range(0): an axis without a value; allowed: at least one"),
        ("seed=range(5,1)", "seed=range(5,1): an axis without a value"),
        ("model=glob(nothing*)", "model=glob(nothing*): an axis without a value"),
        ("seed=range(0,9,0)", "seed=range(0,9,0): a range needs a start, a stop and a step other than 0"),
        ("sweep=x,y", "sweep: a sweep has one value of it; give one"),
        ("plan=true,false", "plan: a sweep has one value of it; give one"),
        ("search.trials=3,4", "search.trials: a sweep has one value of it; give one"),
        ("search.trials=3", "search.trials=3: search=none runs every cell of a grid; choose a search"),
        ("hydra.run.dir=here", "hydra.run.dir=here: a sweep lies in multirun/NAME, which sweep=NAME chooses"),
        ("hydra.job.chdir=true", "hydra.job.chdir=true: nothing reads it in a sweep"),
        ("seed=range(100000000)", "seed=range(100000000): 100,000,000 values; allowed: at most 100,000"),
        ("lr=range(0,1e9,1)", "lr=range(0,1e9,1): 1,000,000,000 values; allowed: at most 100,000"),
        ("seed=shuffle(range(0,99999999))", "seed=shuffle(range(0,99999999)): 99,999,999 values"),
    ],
)
def test_a_sweep_refuses_what_it_would_pass_over(train_py: TrainPy, tmp_path: Path, argument: str, said: str) -> None:
    ended = train_py("-m", *TINY, "dropout=0,0.1", argument)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(said)
    assert not list(tmp_path.iterdir())


def test_a_grid_beyond_count_is_refused_before_a_cell_is_composed() -> None:
    grid = Grid.parse(["seed=range(10000)", "++lr=range(0,1,0.0001)", "++blocks=1,2"]).combined([], [])
    with pytest.raises(
        ConfigError, match=r"200,000,000 cells \(10,000 of seed x 10,000 of lr x 2 of blocks\); allowed: "
    ):
        grid.overrides()
    largest = Grid.parse(["seed=range(50000)", "++blocks=1,2"])
    assert len(largest.overrides()) == 100_000


def test_a_search_may_have_more_settings_than_a_grid() -> None:
    grid = Grid.parse([f"++knob{number}=range(10)" for number in range(12)])
    assert grid.combined([], [{"knob1": 3, "knob2": 4}]).size == 10**12
    assert grid.combined([], []).left_out == 0


def test_settings_that_no_search_reads_are_refused(train_py: TrainPy) -> None:
    command = ("-m", *TINY, "lr=0.1,0.2", "plan=true")
    ended = train_py(*command, "search=random", "search.startup_trials=3", "search.warmup_epochs=2")
    assert (ended.code, ended.err.splitlines()) == (
        2,
        [
            "search.warmup_epochs=2: search.pruner=none stops no run",
            "search.startup_trials=3: search=random begins with none",
        ],
    )
    assert train_py(*command, "search=random", "search.startup_trials=3", "search.pruner=median").code == 0


def test_two_runs_cannot_be_resumed_at_once(train_py: TrainPy) -> None:
    ended = train_py("resume=a", "resume=b")
    assert ended.code == 2
    assert ended.err.startswith("resume=a resume=b: resume=RUN_DIR takes no other override")


def test_evaluate_makes_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["evaluate.py", "-m", "run=a,b"])
    monkeypatch.setattr(evaluate_verb, "_evaluate", lambda options: pytest.fail("evaluated"))
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    assert capsys.readouterr().err == "evaluate.py takes no -m: run=SWEEP_DIR tests all runs of a sweep\n"
    assert not list(tmp_path.iterdir())


def test_the_user_s_own_folder_of_configs_may_lie_at_home(
    train_py: TrainPy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the shell leaves it, where it does not expand what stands behind ``=`` or in quotation marks."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text("# @package _global_\n# What: Mine.\nlr: 0.0625\n")
    for flag in (["--config-dir=~/own"], ["--config-dir", "~/own"], ["-cd", "~/own"]):
        assert "lr: 0.0625" in train_py(*flag, *TINY, "experiment=mine", "--cfg", "job").out.splitlines()
    assert "  mine " in train_py("--help", "--config-dir=~/own", "experiment=mine").out
    assert "not a run directory" in train_py("resume=~nobody-here/run").err
