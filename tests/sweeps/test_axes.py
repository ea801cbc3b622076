"""Axes that tell no cells apart, that come out empty or come out wrong; and what only looks like the first cell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cifarlab.job.configure import ConfigError
from cifarlab.sweeps.grid import Grid
from cifarlab.sweeps.ledger import Ledger

TrainPy = Callable[..., Any]
TINY = (
    "data=digits", "limit=60", "epochs=1", "batch_size=32", "precision=32", "logger=none", "model=resnet", "width=4",
    "blocks=1", "trainer.progress_bar=false", "trainer.accelerator=cpu", "figures=[]",
)  # fmt: skip


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        (("trainer.channels_last=true,false", "checkpoints=all,none"), ("trainer.channels_last", "checkpoints")),
        (("trainer.compile=true,false", "seed=0,1"), ("trainer.compile",)),
        (("trainer.accelerator=cpu,auto",), ("trainer.accelerator",)),
        (("logger=csv,tensorboard",), ("logger",)),
        (("figures=[curves],[confusion]",), ("figures",)),
        (("search.seed=0,1",), ("search.seed",)),
        (("sweep=x,y",), ("sweep",)),
        (("plan=true,false",), ("plan",)),
        (("skip_invalid=true,false", "seed=0,1"), ("skip_invalid",)),
    ],
)
def test_an_axis_that_tells_no_cells_apart_is_refused_by_name(
    train_py: TrainPy, tmp_path: Path, axes: tuple[str, ...], named: tuple[str, ...]
) -> None:
    """Case 2."""
    ended = train_py("-m", *TINY, *axes)
    assert ended.code == 2
    said = ended.err.strip().splitlines()[-1]
    assert all(name in said.partition(":")[0] for name in named), said
    assert "seed" not in said.partition(":")[0].replace("search.seed", "")
    assert not (tmp_path / "multirun").exists()


@pytest.mark.usefixtures("summaries")
def test_a_value_written_in_two_ways_is_one_cell(train_py: TrainPy, tmp_path: Path, trained: list[str]) -> None:
    assert train_py("-m", *TINY, "sweep=s", "lr=1e-2,0.01,0.02").code == 0
    assert trained == ["lr-0.01", "lr-0.02"]


@pytest.mark.usefixtures("summaries")
@pytest.mark.parametrize("models", ["bogus,tiny_vgg", "tiny_vgg,bogus"])
def test_what_is_left_out_may_stand_first(train_py: TrainPy, tmp_path: Path, trained: list[str], models: str) -> None:
    """Case 3."""
    given = [each for each in TINY if not each.startswith("model=")]
    ended = train_py("-m", *given, "sweep=s", f"model={models}", "skip_invalid=true")
    assert (ended.code, trained) == (0, ["model-tiny_vgg"])
    assert "left out" in ended.out
    assert "model=bogus: there is no such model" in ended.out


def test_where_no_cell_can_be_composed_nothing_starts(train_py: TrainPy) -> None:
    ended = train_py("-m", *TINY, "model=bogus,nonsense", "skip_invalid=true")
    assert ended.code == 2
    assert "model=bogus: there is no such model" in ended.err


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("seed=sort(range(1,6,2),reverse=true)", ("5", "3", "1")),  # case 14; Hydra says 4, 2, 0
        ("seed=sort(range(6,1,-2))", ("2", "4", "6")),
        ("seed=sort(range(0,4))", ("0", "1", "2", "3")),
        ("seed=sort( range(0, 4), reverse = true )", ("3", "2", "1", "0")),
        ("seed=sort(3,1,2,reverse=true)", ("3", "2", "1")),
        ("lr=range(0.1,0.4,0.1)", ("0.1", "0.2", "0.3")),  # case 15; Hydra says 0.30000000000000004, and 0.4
        ("lr=range(1e-5,3.5e-5,1e-5)", ("1e-05", "2e-05", "3e-05")),
        ("lr=range(0.5,0.2,-0.1)", ("0.5", "0.4", "0.3")),
        ("seed=range(5)", ("0", "1", "2", "3", "4")),
        ("seed=range(4,0,-3)", ("4", "1")),
        ("nesterov=true,false", ("true", "false")),
    ],
)
def test_the_values_of_an_axis(typed: str, values: tuple[str, ...]) -> None:
    grid = Grid.parse([typed])
    assert dict(grid.axes) == {typed.partition("=")[0]: values}


@pytest.mark.parametrize("typed", ["seed=range(0)", "lr=range(0.3,0.1,0.1)", "seed=range(5,5)"])
def test_an_axis_without_a_value_is_refused(typed: str) -> None:
    with pytest.raises(ConfigError, match="without a value"):
        Grid.parse([typed])


def test_a_sorted_range_in_disguise_is_refused() -> None:
    with pytest.raises(ConfigError, match="list its values"):
        Grid.parse(["seed=sort(tag(x,range(1,6,2)),reverse=true)"])


@pytest.mark.usefixtures("summaries")
def test_a_ledger_holds_what_each_cell_is(train_py: TrainPy, tmp_path: Path) -> None:
    """Cells that were never run too, so that a summary need not parse what was typed."""
    assert train_py("-m", *TINY, "sweep=s", "lr=0.01,0.02", "seed=3,4").code == 0
    cells = Ledger.open(tmp_path / "multirun" / "s").cells.values()
    assert {(cell.knobs["lr"], cell.seed) for cell in cells} == {(0.01, 3), (0.01, 4), (0.02, 3), (0.02, 4)}
    assert all(cell.knobs["model"] == "resnet" for cell in cells)
    config = yaml.safe_load((tmp_path / "multirun" / "s" / "lr-0.01+seed-3" / ".hydra" / "config.yaml").read_text())
    assert (config["lr"], config["seed"], config["checkpoints"]) == (0.01, 3, "best")
    assert not {"sweep", "plan", "hydra"} & set(config)


@pytest.mark.parametrize(
    "arguments",
    [("plan=true",), ("sweep=x",), ("fresh=true",), ("skip_invalid=true",), ("zip=[lr,seed]",), ("search=tpe",)],
)
def test_a_single_run_refuses_what_a_sweep_reads(train_py: TrainPy, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Case 28."""
    ended = train_py(*TINY, *arguments)
    assert ended.code == 2
    assert ended.err.startswith(f"{arguments[0].partition('=')[0]}: this is a single run; add -m")
    assert not [path for path in tmp_path.rglob("*") if path.name != "outputs"]


@pytest.mark.usefixtures("summaries")
@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"", b"[1]", b'{"metrics": [1]}', b'{"schema": 2, "metrics": {"val/acc": "x"}}', b"[" * 50_000],
)
def test_a_damaged_record_costs_its_own_cell_and_is_never_written_over(
    train_py: TrainPy, tmp_path: Path, trained: list[str], content: bytes
) -> None:
    """Case 6: it may have been a finished run, and may be readable tomorrow."""
    assert train_py("-m", *TINY, "sweep=s", "seed=0,1").code == 0
    record = tmp_path / "multirun" / "s" / "seed-0" / "result.json"
    record.write_bytes(content)
    trained.clear()
    ended = train_py("-m", *TINY, "sweep=s", "seed=0,1,2")
    assert (ended.code, trained) == (1, ["seed-2"])
    assert f"{record.relative_to(tmp_path)} " in " ".join(ended.out.split())
    assert "move it away" in " ".join(ended.out.split())
    assert record.read_bytes() == content
